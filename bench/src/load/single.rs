//! One connection, one request at a time, each with its own path; its times on the clock that functions see.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::response::frame;
use super::{MAX_SINGLE, Target};
use crate::clock;

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Single {
    stream: TcpStream,
    input: Vec<u8>,
}

/// What was answered, and when: nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Before the request was written.
    pub(crate) sent: u64,
    /// After the answer was read.
    pub(crate) answered: u64,
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Single {
    /// Connects to where `target` is; an answer may take `patience`.
    ///
    /// # Errors
    /// If the connection is refused.
    pub(crate) fn connect(target: &Target, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&target.address, patience)
            .with_context(|| format!("connecting to {}", target.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Sends the request of `target` and waits for its answer.
    ///
    /// # Errors
    /// If the connection breaks, or the answer takes too long or cannot be made out.
    pub(crate) fn ask(&mut self, target: &Target) -> Result<Answered> {
        self.input.clear();
        let sent = clock::now_ns();
        self.stream.write_all(&target.request).context("sending a request")?;
        let mut piece = [0; 4096];
        loop {
            let read = self.stream.read(&mut piece).context("reading an answer")?;
            let answered = clock::now_ns();
            ensure!(read > 0, "the connection was closed within an answer");
            self.input.extend_from_slice(&piece[..read]);
            ensure!(self.input.len() <= MAX_SINGLE, "an answer longer than {MAX_SINGLE} bytes");
            if let Some(frame) = frame(&self.input)? {
                let body = self.input[frame.body].to_vec();
                return Ok(Answered { sent, answered, status: frame.status, body });
            }
        }
    }
}
