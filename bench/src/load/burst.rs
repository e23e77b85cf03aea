//! Many requests at once: one connection each, all sent before the first answer is waited for.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};

use super::closed::{EVENTS, MAX_CONNECTIONS, PATIENCE, new_epoll, wait, watch};
use super::response::frame;
use super::single::Answered;
use super::{MAX_SINGLE, Target};
use crate::{clock, interrupt};

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    input: Vec<u8>,
    sent: u64,
    answer: Option<Answered>,
}

/// Connections with a request each.
pub(crate) struct Burst {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

impl Burst {
    /// Opens a connection for each target. A server takes them over before it is asked for anything.
    ///
    /// # Errors
    /// If there are none or too many, or one is refused.
    pub(crate) fn connect(targets: Vec<Target>) -> Result<Self> {
        ensure!(
            (1..=MAX_CONNECTIONS).contains(&targets.len()),
            "{} connections were asked for: between 1 and {MAX_CONNECTIONS} are possible",
            targets.len()
        );
        let epoll = new_epoll().context("epoll_create1")?;
        let mut connections = Vec::with_capacity(targets.len());
        for (token, target) in targets.into_iter().enumerate() {
            let stream = TcpStream::connect_timeout(&target.address, PATIENCE)
                .with_context(|| format!("connecting to {}", target.address))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            watch(&epoll, &stream, token).context("epoll_ctl")?;
            let (request, input) = (target.request, Vec::new());
            connections.push(Connection { stream, request, input, sent: 0, answer: None });
        }
        Ok(Self { epoll, connections })
    }

    /// Sends every request, then waits for all answers; they come in the order of the targets.
    ///
    /// # Errors
    /// If a connection ends, an answer cannot be made out, none comes for 5 s, or Ctrl-C was pressed.
    pub(crate) fn run(mut self) -> Result<Vec<Answered>> {
        for connection in &mut self.connections {
            connection.sent = clock::now_ns();
            // A socket's buffer is empty, so a request fits at once.
            let written = connection.stream.write(&connection.request).context("sending a request")?;
            ensure!(written == connection.request.len(), "a socket took only {written} bytes of a request");
        }
        let mut missing = self.connections.len();
        // SAFETY: an all-zero `epoll_event` is a valid value: two integers.
        let mut events: [libc::epoll_event; EVENTS] = unsafe { std::mem::zeroed() };
        while missing > 0 {
            for event in wait(&self.epoll, &mut events)? {
                let token = usize::try_from(event.u64).context("an event without a connection")?;
                missing -= usize::from(self.connections[token].receive()?);
            }
            ensure!(!interrupt::requested(), "interrupted");
        }
        let answers = self.connections.into_iter().map(|connection| connection.answer);
        answers.collect::<Option<_>>().context("an answer from each")
    }
}

impl Connection {
    /// Reads once; true if that completes the answer.
    fn receive(&mut self) -> Result<bool> {
        let mut piece = [0; 4096];
        let read = match self.stream.read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(error).context("reading an answer"),
        };
        let answered = clock::now_ns();
        ensure!(self.answer.is_none(), "the server sent something that nobody asked for");
        self.input.extend_from_slice(&piece[..read]);
        ensure!(self.input.len() <= MAX_SINGLE, "an answer longer than {MAX_SINGLE} bytes");
        let Some(frame) = frame(&self.input)? else { return Ok(false) };
        let body = self.input[frame.body].to_vec();
        self.answer = Some(Answered { sent: self.sent, answered, status: frame.status, body });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn all_is_sent_before_the_first_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let mut asked: Vec<_> = (0..3)
                .map(|_| {
                    let (mut stream, _) = listener.accept().expect("a client");
                    let mut request = [0; 512];
                    let length = stream.read(&mut request).expect("a request");
                    (stream, request[..length].to_vec())
                })
                .collect();
            for (stream, request) in asked.iter_mut().rev() {
                let body = &request[5..6];
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
                stream.write_all(&[head, body].concat()).expect("the client reads");
            }
        });
        let target = |path| Target::get(address, path).expect("loopback");
        let burst = Burst::connect(vec![target("/a"), target("/b"), target("/c")]).expect("connects");
        let answers = burst.run().expect("three answers");
        server.join().expect("no panic");
        let bodies: Vec<&[u8]> = answers.iter().map(|answer| answer.body.as_slice()).collect();
        assert_eq!(bodies, [b"a", b"b", b"c"]);
        assert!(answers[0].sent <= answers[1].sent && answers[2].sent <= answers[2].answered);
    }

    #[test]
    fn a_burst_has_bounds() {
        assert!(Burst::connect(Vec::new()).is_err());
    }
}
