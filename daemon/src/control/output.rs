//! What functions write to their standard output and error, line by line. All of it is hostile.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use hairtrigger_sandbox::limits::{
    LAST_OUTPUT_SLICES, LOG_LINE_COST, MAX_LOG_LINE, MAX_MARKS, MAX_OUTPUT, OUTPUT_SLICE, OUTPUT_WINDOW,
    SLOW_OUTPUT,
};
use hairtrigger_sandbox::mark;
use hairtrigger_sandbox::text::harmless;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use super::log::Log;
use crate::shard::record::Short;
use crate::shard::reply::InvocationId;

/// Output that is followed, for whoever must have all that there is of it before he says something himself.
pub(super) struct Followed {
    pipe: Rc<Receiver>,
    lines: Rc<RefCell<Lines>>,
}

/// Passes the lines of a worker or a template on until the last writer is gone. If they are `marked`, each with
/// the invocation that it belongs to. `None` if the pipe cannot be waited for: then nobody reads it.
pub(super) fn follow(function: Arc<str>, pipe: OwnedFd, marked: bool, log: &Log) -> Option<Followed> {
    let pipe = Rc::new(Receiver::from_owned_fd(pipe).ok()?);
    let lines = Rc::new(RefCell::new(Lines::new(function, marked)));
    let followed = Followed { pipe: Rc::clone(&pipe), lines: Rc::clone(&lines) };
    let log = log.clone();
    tokio_uring::spawn(async move {
        let mut window = Instant::now() + OUTPUT_WINDOW;
        loop {
            if lines.borrow().dropped > 0 {
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
                lines.borrow_mut().renew(&log);
            }
            if !slice(|bytes| pipe.try_read(bytes), &mut lines.borrow_mut(), &log).unwrap_or(true) {
                break;
            }
            tokio::task::yield_now().await;
        }
        lines.borrow_mut().finish(&log);
    });
    Some(followed)
}

impl Followed {
    /// Passes on at once what a template has left that has ended.
    pub(super) fn exhaust(self, log: &Log) {
        // Asked of the kernel: whether the pipe can be read is not looked at in between.
        let Ok(mut pipe) = self.pipe.as_fd().try_clone_to_owned().map(File::from) else { return };
        let mut lines = self.lines.borrow_mut();
        for _ in 0..LAST_OUTPUT_SLICES {
            if !slice(|bytes| pipe.read(bytes), &mut lines, log).unwrap_or(false) {
                break;
            }
        }
        lines.finish(log);
    }
}

/// Reads once; `Some(false)` for the end, `None` if nothing is there.
fn slice(read: impl FnOnce(&mut [u8]) -> io::Result<usize>, lines: &mut Lines, log: &Log) -> Option<bool> {
    // On the stack, for there may be thousands of pipes.
    let mut bytes = [0; OUTPUT_SLICE];
    match read(&mut bytes) {
        Ok(0) => Some(false),
        Ok(length) => {
            lines.take(&bytes[..length], |function, invocation, text| log.output(function, invocation, text));
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
    /// Whether there are marks in it.
    marked: bool,
    /// Marks that cost nothing, of this window.
    marks: usize,
    /// Of the last mark.
    invocation: Option<Short>,
}

impl Lines {
    fn new(function: Arc<str>, marked: bool) -> Self {
        Self {
            function,
            line: Gather::default(),
            left: MAX_OUTPUT,
            dropped: 0,
            marked,
            marks: MAX_MARKS,
            invocation: None,
        }
    }

    /// Takes what was read. Beyond the window's volume the rest is counted; a line costs [`LOG_LINE_COST`]
    /// beyond its bytes, so that many empty ones are no way around it.
    fn take(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&Arc<str>, Option<Short>, String)) {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let cost = part.len() + if end.is_some() { LOG_LINE_COST } else { 0 };
            if self.dropped > 0 || cost > self.left {
                self.dropped += bytes.len() as u64;
                // The next mark may be among it.
                self.invocation = None;
                return;
            }
            self.left -= cost;
            self.line.take(part);
            let Some(end) = end else { return };
            self.end_line(&mut emit);
            bytes = &bytes[end + 1..];
        }
    }

    /// A line is complete: it is passed on, or it is a mark.
    fn end_line(&mut self, emit: &mut impl FnMut(&Arc<str>, Option<Short>, String)) {
        let mark = if self.marked { self.line.take_mark() } else { None };
        let Some(id) = mark else {
            return emit(&self.function, self.invocation, self.line.end());
        };
        // What its worker writes does not take a function's own room; a flood of forged ones does.
        if self.marks > 0 {
            self.marks -= 1;
            self.left += mark::MARK - 1;
            if self.line.is_empty() {
                self.left += LOG_LINE_COST;
            }
        }
        if !self.line.is_empty() {
            emit(&self.function, self.invocation, self.line.end());
        }
        self.invocation = Some(Short(id));
    }

    /// A new window begins.
    fn renew(&mut self, log: &Log) {
        (self.left, self.marks) = (MAX_OUTPUT, MAX_MARKS);
        if self.dropped > 0 {
            // What follows is no part of the line that was cut.
            if !self.line.is_empty() {
                log.output(&self.function, self.invocation, self.line.end());
            }
            log.dropped(&self.function, std::mem::take(&mut self.dropped));
        }
    }

    fn finish(&mut self, log: &Log) {
        if !self.line.is_empty() {
            log.output(&self.function, self.invocation, self.line.end());
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

    /// Takes a mark off the end. One behind what was left out is left out with it.
    fn take_mark(&mut self) -> Option<InvocationId> {
        let (before, id) = mark::split(&self.bytes);
        let before = before.len();
        if id.is_some() {
            self.bytes.truncate(before);
        }
        id
    }

    /// The line, made harmless to a terminal; the next begins.
    fn end(&mut self) -> String {
        let harmless = |c: char| if c == '\t' { c } else { harmless(c) };
        let mut text: String = String::from_utf8_lossy(&self.bytes).chars().map(harmless).collect();
        if self.dropped > 0 {
            text.push_str(&format!(" … ({} bytes more)", self.dropped));
        }
        *self = Self::default();
        text
    }
}

/// What must hold of any output: its lines are the same however it was read, harmless and bounded, and what a window
/// keeps is bounded too. The first byte says whether there are marks, and in how large pieces it is read.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&how, text)) = data.split_first() else { return };
    let (marked, size) = (how & 1 != 0, usize::from(how >> 1) + 1);
    let read = |size: usize| {
        let mut lines = Lines::new("f".into(), marked);
        let mut taken = Vec::new();
        for piece in text.chunks(size) {
            lines.take(piece, |_, invocation, line| taken.push((invocation.map(|Short(id)| id), line)));
            assert!(lines.line.bytes.len() <= MAX_LOG_LINE && lines.left <= MAX_OUTPUT);
        }
        (taken, lines.line.end(), lines.dropped, lines.invocation.map(|Short(id)| id))
    };
    let whole = read(OUTPUT_SLICE);
    let (taken, unfinished, dropped, _) = &whole;
    if *dropped == 0 {
        assert_eq!(read(size), whole, "lines depend on how they were read");
    }
    let mut kept = 0;
    for line in taken.iter().map(|(_, line)| line).chain([unfinished]) {
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
        // A byte that is no text becomes three.
        assert!(line.len() <= 3 * MAX_LOG_LINE + 40);
        kept += line.len();
    }
    assert!(kept <= 3 * MAX_OUTPUT && taken.len() <= MAX_OUTPUT / LOG_LINE_COST);
    if !marked {
        assert!(taken.iter().all(|(invocation, _)| invocation.is_none()));
        let ended = text.iter().filter(|&&byte| byte == b'\n').count();
        assert!(*dropped > 0 || taken.len() == ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines, bytes: &[u8]) -> Vec<String> {
        let mut taken = Vec::new();
        lines.take(bytes, |_, invocation, text| {
            taken.push(match invocation {
                Some(invocation) => format!("{invocation} {text}"),
                None => text,
            });
        });
        taken
    }

    /// A mark, and how its id is shown.
    fn marked(number: u16) -> (Vec<u8>, String) {
        let digits = format!("{number:04x}");
        (format!("\x1e{digits}{}{digits}\n", "0".repeat(24)).into_bytes(), format!("{digits}…{digits}"))
    }

    #[test]
    fn lines_belong_to_the_invocation_of_the_last_mark_however_they_are_sliced() {
        let ((one, shown), (two, shown_two)) = (marked(1), marked(2));
        let text = [b"init\n", &one[..], b"a\nb\nunfinished", &two[..], &one[..], &two[..], b"c\n"].concat();
        let expected = [
            "init".to_owned(),
            format!("{shown} a"),
            format!("{shown} b"),
            format!("{shown} unfinished"),
            format!("{shown_two} c"),
        ];
        for size in 1..text.len() {
            let mut lines = Lines::new("f".into(), true);
            let got: Vec<String> = text.chunks(size).flat_map(|part| taken(&mut lines, part)).collect();
            assert_eq!(got, expected, "{size}");
        }
        // Where there are none, what looks like one is a line.
        let mut lines = Lines::new("f".into(), false);
        assert_eq!(taken(&mut lines, &one), [format!("\u{fffd}0001{}0001", "0".repeat(24))]);
    }

    #[test]
    fn marks_take_no_room_but_a_flood_of_them_does() {
        let (mark, _) = marked(7);
        let mut lines = Lines::new("f".into(), true);
        for _ in 0..MAX_MARKS {
            assert!(taken(&mut lines, &mark).is_empty());
        }
        assert_eq!((lines.left, lines.dropped), (MAX_OUTPUT, 0));
        for _ in 0..MAX_OUTPUT {
            assert!(taken(&mut lines, &mark).is_empty());
        }
        assert!(lines.dropped > 0);
        assert_eq!(lines.invocation, None, "after what was dropped, nobody knows whose a line is");
    }

    #[test]
    fn lines_are_bounded_and_harmless_however_they_are_sliced() {
        let mut text = b"one\n\n\x1b[2Jtwo\n".to_vec();
        text.extend(vec![b'x'; MAX_LOG_LINE + 3]);
        text.extend(b"\nrest");
        for size in [1, 2, 7, 4096, text.len()] {
            let mut lines = Lines::new("f".into(), false);
            let got: Vec<String> = text.chunks(size).flat_map(|part| taken(&mut lines, part)).collect();
            assert_eq!(got[..3], ["one", "", "\u{fffd}[2Jtwo"]);
            assert_eq!(got[3], format!("{} … (3 bytes more)", "x".repeat(MAX_LOG_LINE)));
            assert_eq!((got.len(), lines.line.end().as_str()), (4, "rest"));
            assert_eq!(lines.dropped, 0);
        }
    }

    #[test]
    fn a_window_bounds_the_volume_and_the_rest_is_counted() {
        let mut lines = Lines::new("f".into(), false);
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
        let mut lines = Lines::new("f".into(), false);
        for _ in 0..100 {
            assert!(taken(&mut lines, &[b'x'; OUTPUT_SLICE]).is_empty());
        }
        assert!(lines.line.bytes.len() <= MAX_LOG_LINE);
        assert_eq!(lines.dropped, (100 * OUTPUT_SLICE - MAX_OUTPUT) as u64);
    }
}
