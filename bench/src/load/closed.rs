//! The closed loop: every connection sends its next request when the last one is answered.
//!
//! It measures cost per request well and latency under overload badly: a slow server is simply asked less.
//! A latency here counts from the moment the answer before was read, so it holds the generator's own time
//! to send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::response::{self, Expected};
use super::{Target, new_histogram};
use crate::interrupt;

/// How long a connection, and the last answers of a window, are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Room for a response; a longer one than this is refused.
const BUFFER: usize = 32 * 1024;
/// Readiness events taken at once.
pub(super) const EVENTS: usize = 256;
/// Most connections of one generator: as many as may wait for a worker of a function.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// When a window ends; the requests in flight by then are still answered and counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests were sent.
    Requests(u64),
}

/// What one window saw.
#[derive(Debug)]
pub(crate) struct Window {
    /// Requests sent and answered.
    pub(crate) requests: u64,
    /// Of these, answered with another status or body than expected.
    pub(crate) wrong: u64,
    /// The first wrong answer, for the error message.
    pub(crate) first_wrong: Option<String>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Latencies in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Window {
    pub(super) fn empty() -> Self {
        Self { requests: 0, wrong: 0, first_wrong: None, elapsed: Duration::ZERO, latency: new_histogram() }
    }

    /// Counts an answer to a request that was, or should have been, sent at `sent`.
    pub(super) fn count(&mut self, answer: Answer, sent: Instant, now: Instant) {
        self.requests += 1;
        self.latency.saturating_record(nanoseconds(now - sent));
        if let Some(wrong) = answer.wrong {
            self.wrong += 1;
            self.first_wrong.get_or_insert(wrong);
        }
    }

    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        // Far below 2^52 requests.
        #[allow(clippy::cast_precision_loss)]
        let requests = self.requests as f64;
        requests / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// A keep-alive connection, with one request in flight at most.
pub(super) struct Connection {
    stream: TcpStream,
    input: Box<[u8]>,
    filled: usize,
    /// When the request was sent, or should have been.
    pub(super) sent: Instant,
    pub(super) in_flight: bool,
}

/// Keep-alive connections to one target, and the loop that drives them.
///
/// All of them are idle between two windows, so that a server's CPU time can be read without a request
/// half done.
pub(crate) struct ClosedLoop {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    request: Vec<u8>,
    expected: Expected,
}

impl ClosedLoop {
    /// Opens `count` connections to `target`.
    ///
    /// # Errors
    /// If `count` is out of bounds or a connection is refused.
    pub(crate) fn connect(target: &Target, expected: Expected, count: usize) -> Result<Self> {
        let (epoll, connections) = connect(target, count)?;
        Ok(Self { epoll, connections, request: target.request.clone(), expected })
    }

    /// Keeps every connection busy until `until`, then waits for the answers that are still due.
    ///
    /// # Errors
    /// If a connection ends, an answer cannot be made out, none comes for 5 s, or Ctrl-C was pressed. A
    /// whole answer with a wrong status or body is not an error here but counted in the window.
    pub(crate) fn run(&mut self, until: Until) -> Result<Window> {
        let mut window = Window::empty();
        let begin = Instant::now();
        let (deadline, mut allowance) = match until {
            Until::Elapsed(time) => (Some(begin + time), u64::MAX),
            Until::Requests(count) => (None, count),
        };
        let mut in_flight = 0_usize;
        for connection in &mut self.connections {
            if allowance == 0 {
                break;
            }
            connection.send(&self.request, Instant::now())?;
            allowance -= 1;
            in_flight += 1;
        }
        // SAFETY: an all-zero `epoll_event` is a valid value: two integers.
        let mut events: [libc::epoll_event; EVENTS] = unsafe { std::mem::zeroed() };
        while in_flight > 0 {
            for event in wait(&self.epoll, &mut events)? {
                let token = usize::try_from(event.u64).context("an event without a connection")?;
                let connection = &mut self.connections[token];
                let Some(answer) = connection.receive(&self.expected)? else { continue };
                let now = Instant::now();
                window.count(answer, connection.sent, now);
                if allowance > 0 && deadline.is_none_or(|deadline| now < deadline) {
                    connection.send(&self.request, now)?;
                    allowance -= 1;
                } else {
                    in_flight -= 1;
                }
            }
            ensure!(!interrupt::requested(), "interrupted");
        }
        window.elapsed = begin.elapsed();
        Ok(window)
    }
}

/// Opens `count` connections to `target`; their places in the list are their tokens.
pub(super) fn connect(target: &Target, count: usize) -> Result<(OwnedFd, Vec<Connection>)> {
    ensure!(
        (1..=MAX_CONNECTIONS).contains(&count),
        "{count} connections were asked for: between 1 and {MAX_CONNECTIONS} are possible"
    );
    let epoll = new_epoll().context("epoll_create1")?;
    let mut connections = Vec::with_capacity(count);
    for token in 0..count {
        let stream = TcpStream::connect_timeout(&target.address, PATIENCE)
            .with_context(|| format!("connecting to {}", target.address))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        watch(&epoll, &stream, token).context("epoll_ctl")?;
        connections.push(Connection {
            stream,
            input: vec![0; BUFFER].into_boxed_slice(),
            filled: 0,
            sent: Instant::now(),
            in_flight: false,
        });
    }
    Ok((epoll, connections))
}

/// A whole answer; `wrong` is its text if it is not the expected one.
pub(super) struct Answer {
    pub(super) wrong: Option<String>,
}

impl Connection {
    pub(super) fn send(&mut self, request: &[u8], now: Instant) -> Result<()> {
        self.sent = now;
        self.in_flight = true;
        // The socket's buffer is empty whenever this is called, so a request fits at once.
        let written = self.stream.write(request).context("sending a request")?;
        ensure!(written == request.len(), "a socket took only {written} bytes of a request");
        Ok(())
    }

    /// Reads once and gives the answer if it is complete.
    pub(super) fn receive(&mut self, expected: &Expected) -> Result<Option<Answer>> {
        let read = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the server closed a connection, or its answer is longer than {BUFFER} bytes"),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error).context("reading an answer"),
        };
        self.filled += read;
        ensure!(self.in_flight, "the server sent something that nobody asked for");
        let input = &self.input[..self.filled];
        let Some(checked) = response::check(input, expected)? else { return Ok(None) };
        ensure!(checked.len == self.filled, "the server sent more than one answer to one request");
        let wrong = (!checked.as_expected).then(|| String::from_utf8_lossy(input).into_owned());
        self.filled = 0;
        self.in_flight = false;
        Ok(Some(Answer { wrong }))
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn new_epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes a flag and touches no memory of ours.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn watch(epoll: &OwnedFd, stream: &TcpStream, token: usize) -> io::Result<()> {
    watch_fd(epoll, stream.as_raw_fd(), token)
}

pub(super) fn watch_fd(epoll: &OwnedFd, fd: RawFd, token: usize) -> io::Result<()> {
    let events = u32::try_from(libc::EPOLLIN).expect("a small constant");
    let mut event = libc::epoll_event { events, u64: token as u64 };
    // SAFETY: the kernel copies `event` before it returns; of a descriptor that is not open it says so.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until a connection can be read. A signal ends the wait with no events.
pub(super) fn wait<'a>(
    epoll: &OwnedFd,
    events: &'a mut [libc::epoll_event; EVENTS],
) -> Result<&'a [libc::epoll_event]> {
    let patience = i32::try_from(PATIENCE.as_millis()).expect("a few seconds");
    let room = i32::try_from(EVENTS).expect("a few hundred");
    // SAFETY: `events` has room for `room` events and is borrowed for the call; the kernel writes no more.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, patience) };
    match usize::try_from(count) {
        Ok(0) => bail!("no answer came for {} s", PATIENCE.as_secs()),
        Ok(count) => Ok(&events[..count]),
        Err(_) => {
            let error = io::Error::last_os_error();
            if error.kind() == ErrorKind::Interrupted { Ok(&[]) } else { Err(error).context("epoll_wait") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Answers every request of one connection with the next of `answers`, then closes it.
    fn serve(answers: &'static [&'static [u8]]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = Target::get(listener.local_addr().expect("bound"), "/").expect("loopback");
        let length = target.request.len();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for answer in answers {
                let mut request = vec![0; length];
                if stream.read_exact(&mut request).is_err() {
                    return;
                }
                // In two pieces, to be put together again.
                let (first, second) = answer.split_at(answer.len() / 2);
                stream.write_all(first).expect("the client reads");
                stream.write_all(second).expect("the client reads");
            }
        });
        target
    }

    fn hello() -> Expected {
        Expected { status: 200, body: b"hello".to_vec() }
    }

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const BAD: &[u8] = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno";

    #[test]
    fn every_answer_is_counted_and_checked() {
        let target = serve(&[GOOD, BAD, GOOD, GOOD]);
        let mut load = ClosedLoop::connect(&target, hello(), 1).expect("connects");
        let window = load.run(Until::Requests(3)).expect("three answers");
        assert_eq!((window.requests, window.wrong, window.latency.len()), (3, 1, 3));
        assert!(window.first_wrong.expect("the text").starts_with("HTTP/1.1 500"));
        let window = load.run(Until::Requests(1)).expect("one answer");
        assert_eq!((window.requests, window.wrong), (1, 0));
    }

    #[test]
    fn a_closed_connection_ends_the_run_with_an_error() {
        let target = serve(&[GOOD]);
        let mut load = ClosedLoop::connect(&target, hello(), 1).expect("connects");
        let error = load.run(Until::Requests(2)).expect_err("the second is not answered");
        assert!(
            format!("{error:#}").contains("closed") || format!("{error:#}").contains("reset"),
            "{error:#}"
        );
    }

    #[test]
    fn two_answers_to_one_request_are_an_error() {
        let target = serve(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloX"]);
        let mut load = ClosedLoop::connect(&target, hello(), 1).expect("connects");
        // Whether the surplus comes with the answer or behind it is up to the kernel.
        let error = load.run(Until::Requests(2)).expect_err("too much was sent");
        assert!(!format!("{error:#}").is_empty());
    }
}
