//! What functions write to their standard output and error, line by line. All of it is hostile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hairtrigger_sandbox::limits::{
    LAST_OUTPUT_SLICES, LOG_LINE_COST, MAX_LOG_LINE, MAX_OUTPUT, OUTPUT_SLICE, OUTPUT_WINDOW, SLOW_OUTPUT,
};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use super::log::Log;

/// Passes the lines of a worker or a template on until the last writer is gone.
pub(super) fn follow(function: Arc<str>, pipe: OwnedFd, log: Log) {
    tokio_uring::spawn(async move {
        let Ok(pipe) = Receiver::from_owned_fd(pipe) else { return };
        let mut lines = Lines::new(function);
        let mut window = Instant::now() + OUTPUT_WINDOW;
        loop {
            if lines.dropped > 0 {
                tokio::time::sleep(SLOW_OUTPUT).await;
                // What was dropped is told even if nothing more comes.
                if let Ok(Err(_)) = tokio::time::timeout_at(window, pipe.readable()).await {
                    break;
                }
            } else if pipe.readable().await.is_err() {
                break;
            }
            if Instant::now() >= window {
                window = Instant::now() + OUTPUT_WINDOW;
                lines.renew(&log);
            }
            if !slice(|bytes| pipe.try_read(bytes), &mut lines, &log).unwrap_or(true) {
                break;
            }
            tokio::task::yield_now().await;
        }
        lines.finish(&log);
    });
}

/// Passes on at once what a template has left that has ended.
pub(super) fn exhaust(function: Arc<str>, pipe: OwnedFd, log: &Log) {
    let mut pipe = File::from(pipe);
    let mut lines = Lines::new(function);
    for _ in 0..LAST_OUTPUT_SLICES {
        if !slice(|bytes| pipe.read(bytes), &mut lines, log).unwrap_or(false) {
            break;
        }
    }
    lines.finish(log);
}

/// Reads once; `Some(false)` for the end, `None` if nothing is there.
fn slice(read: impl FnOnce(&mut [u8]) -> io::Result<usize>, lines: &mut Lines, log: &Log) -> Option<bool> {
    // On the stack, for there may be thousands of pipes.
    let mut bytes = [0; OUTPUT_SLICE];
    match read(&mut bytes) {
        Ok(0) => Some(false),
        Ok(length) => {
            lines.take(&bytes[..length], |function, text| log.output(function, text));
            Some(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_) => Some(false),
    }
}

/// Bytes that become lines, as many as one window allows.
#[derive(Debug)]
struct Lines {
    function: Arc<str>,
    line: Gather,
    /// In bytes, of this window.
    left: usize,
    /// In bytes, of this window.
    dropped: u64,
}

impl Lines {
    fn new(function: Arc<str>) -> Self {
        Self { function, line: Gather::default(), left: MAX_OUTPUT, dropped: 0 }
    }

    /// Takes what was read. Beyond the window's volume the rest is counted; a line costs [`LOG_LINE_COST`]
    /// beyond its bytes, so that many empty ones are no way around it.
    fn take(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&Arc<str>, String)) {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let cost = part.len() + if end.is_some() { LOG_LINE_COST } else { 0 };
            if self.dropped > 0 || cost > self.left {
                self.dropped += bytes.len() as u64;
                return;
            }
            self.left -= cost;
            self.line.take(part);
            let Some(end) = end else { return };
            emit(&self.function, self.line.end());
            bytes = &bytes[end + 1..];
        }
    }

    /// A new window begins.
    fn renew(&mut self, log: &Log) {
        self.left = MAX_OUTPUT;
        if self.dropped > 0 {
            // What follows is no part of the line that was cut.
            if !self.line.is_empty() {
                log.output(&self.function, self.line.end());
            }
            log.dropped(&self.function, std::mem::take(&mut self.dropped));
        }
    }

    fn finish(&mut self, log: &Log) {
        if !self.line.is_empty() {
            log.output(&self.function, self.line.end());
        }
        self.renew(log);
    }
}

/// A line that is being put together; what exceeds [`MAX_LOG_LINE`] is left out and counted.
#[derive(Debug, Default)]
struct Gather {
    bytes: Vec<u8>,
    dropped: usize,
}

impl Gather {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, part: &[u8]) {
        let fit = part.len().min(MAX_LOG_LINE - self.bytes.len());
        self.bytes.extend_from_slice(&part[..fit]);
        self.dropped += part.len() - fit;
    }

    /// The line, made harmless to a terminal; the next begins.
    fn end(&mut self) -> String {
        let harmless = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        let mut text: String = String::from_utf8_lossy(&self.bytes).chars().map(harmless).collect();
        if self.dropped > 0 {
            text.push_str(&format!(" … ({} bytes more)", self.dropped));
        }
        *self = Self::default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines, bytes: &[u8]) -> Vec<String> {
        let mut taken = Vec::new();
        lines.take(bytes, |_, text| taken.push(text));
        taken
    }

    #[test]
    fn lines_are_bounded_and_harmless_however_they_are_sliced() {
        let mut text = b"one\n\n\x1b[2Jtwo\n".to_vec();
        text.extend(vec![b'x'; MAX_LOG_LINE + 3]);
        text.extend(b"\nrest");
        for size in [1, 2, 7, 4096, text.len()] {
            let mut lines = Lines::new("f".into());
            let got: Vec<String> = text.chunks(size).flat_map(|part| taken(&mut lines, part)).collect();
            assert_eq!(got[..3], ["one", "", "\u{fffd}[2Jtwo"]);
            assert_eq!(got[3], format!("{} … (3 bytes more)", "x".repeat(MAX_LOG_LINE)));
            assert_eq!((got.len(), lines.line.end().as_str()), (4, "rest"));
            assert_eq!(lines.dropped, 0);
        }
    }

    #[test]
    fn a_window_bounds_the_volume_and_the_rest_is_counted() {
        let mut lines = Lines::new("f".into());
        let flood = vec![b'\n'; 10 * MAX_OUTPUT];
        let got = taken(&mut lines, &flood).len();
        assert_eq!(got, MAX_OUTPUT / LOG_LINE_COST);
        assert_eq!(lines.dropped, (flood.len() - got) as u64);
        lines.left = 2 * LOG_LINE_COST;
        assert!(taken(&mut lines, b"late\n").is_empty(), "nothing may slip through behind what was dropped");
        (lines.left, lines.dropped) = (MAX_OUTPUT, 0);
        assert_eq!(taken(&mut lines, b"next\n"), ["next"]);
    }

    #[test]
    fn a_line_without_an_end_is_bounded_too() {
        let mut lines = Lines::new("f".into());
        for _ in 0..100 {
            assert!(taken(&mut lines, &[b'x'; OUTPUT_SLICE]).is_empty());
        }
        assert!(lines.line.bytes.len() <= MAX_LOG_LINE);
        assert_eq!(lines.dropped, (100 * OUTPUT_SLICE - MAX_OUTPUT) as u64);
    }
}
