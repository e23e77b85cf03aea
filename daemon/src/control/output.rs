//! What functions write to their standard output and error, line by line. All of it is hostile.

use std::os::fd::OwnedFd;

use hairtrigger_sandbox::limits::MAX_LOG_LINE;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::UnboundedSender;

/// One line of a function.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) function: String,
    pub(crate) text: String,
}

/// Passes lines on until the last writer is gone.
pub(crate) fn follow(function: String, pipe: OwnedFd, lines: UnboundedSender<Line>) {
    tokio_uring::spawn(async move {
        let Ok(pipe) = Receiver::from_owned_fd(pipe) else { return };
        let mut pipe = BufReader::new(pipe);
        let mut line = Line::gather();
        loop {
            match pipe.read_u8().await {
                Ok(byte) => {
                    if let Some(text) = line.take(byte) {
                        let _ = lines.send(Line { function: function.clone(), text });
                    }
                }
                Err(_) => {
                    if let Some(text) = line.rest() {
                        let _ = lines.send(Line { function, text });
                    }
                    return;
                }
            }
        }
    });
}

impl Line {
    fn gather() -> Gather {
        Gather::default()
    }
}

/// A line that is being put together; what exceeds [`MAX_LOG_LINE`] is left out and counted.
#[derive(Debug, Default)]
struct Gather {
    bytes: Vec<u8>,
    dropped: usize,
}

impl Gather {
    /// Takes a byte; returns the line that it ends.
    fn take(&mut self, byte: u8) -> Option<String> {
        match byte {
            b'\n' => self.rest().or(Some(String::new())),
            _ if self.bytes.len() < MAX_LOG_LINE => {
                self.bytes.push(byte);
                None
            }
            _ => {
                self.dropped += 1;
                None
            }
        }
    }

    /// What is there, made harmless to a terminal.
    fn rest(&mut self) -> Option<String> {
        if self.bytes.is_empty() {
            return None;
        }
        let harmless = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        let mut text: String = String::from_utf8_lossy(&self.bytes).chars().map(harmless).collect();
        if self.dropped > 0 {
            text.push_str(&format!(" … ({} bytes more)", self.dropped));
        }
        self.bytes.clear();
        self.dropped = 0;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_harmless() {
        let mut gather = Gather::default();
        let mut lines: Vec<String> = b"one\n\x1b[2Jtwo\n".iter().filter_map(|b| gather.take(*b)).collect();
        let long = vec![b'x'; MAX_LOG_LINE + 3];
        assert!(long.iter().all(|byte| gather.take(*byte).is_none()));
        lines.extend(gather.take(b'\n'));
        assert_eq!(lines[0], "one");
        assert_eq!(lines[1], "\u{fffd}[2Jtwo");
        assert!(lines[2].ends_with("x … (3 bytes more)"));
        assert_eq!(gather.rest(), None);
    }
}
