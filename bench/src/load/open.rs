//! The open loop: requests are sent when their time has come, whether or not those before are answered.
//!
//! Their times are those of events that do not know of each other (Poisson), and a latency counts from the time at which
//! its request should have been sent: what is late because the one before was slow, or the generator itself, is late.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, mem, ptr};

use anyhow::{Context, Result, ensure};

use super::Target;
use super::closed::{Connection, EVENTS, Window, connect, wait, watch_fd};
use super::response::Expected;
use crate::interrupt;
use crate::stats::SplitMix64;

/// The token of the timer, behind those of all connections.
const TIMER: usize = usize::MAX;

/// Keep-alive connections to one target, and when requests go out on them.
pub(crate) struct OpenLoop {
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Connections without a request in flight.
    free: Vec<usize>,
    request: Vec<u8>,
    expected: Expected,
}

impl OpenLoop {
    /// Opens `count` connections to `target`: as many requests can be in flight.
    ///
    /// # Errors
    /// If `count` is out of bounds or a connection is refused.
    pub(crate) fn connect(target: &Target, expected: Expected, count: usize) -> Result<Self> {
        let (epoll, connections) = connect(target, count)?;
        let timer = new_timer().context("timerfd_create")?;
        watch_fd(&epoll, timer.as_raw_fd(), TIMER).context("epoll_ctl")?;
        Ok(Self {
            epoll,
            timer,
            free: (0..connections.len()).collect(),
            connections,
            request: target.request.clone(),
            expected,
        })
    }

    /// Sends `rate` requests a second for `time`, then waits for the answers that are still due.
    ///
    /// # Errors
    /// As [`ClosedLoop::run`](super::ClosedLoop::run).
    pub(crate) fn run(&mut self, rate: f64, time: Duration, random: &mut SplitMix64) -> Result<Window> {
        let mut window = Window::empty();
        let begin = Instant::now();
        let end = begin + time;
        let mut gap = || Duration::from_secs_f64(random.exponential() / rate);
        let mut due = begin + gap();
        // SAFETY: an all-zero `epoll_event` is a valid value: two integers.
        let mut events: [libc::epoll_event; EVENTS] = unsafe { mem::zeroed() };
        loop {
            while due < end && due <= Instant::now() {
                let Some(free) = self.free.pop() else { break };
                self.connections[free].send(&self.request, due)?;
                due += gap();
            }
            if due >= end && self.free.len() == self.connections.len() {
                break;
            }
            // With no connection free, the next answer is what is waited for.
            let waits = due < end && !self.free.is_empty();
            set_timer(&self.timer, waits.then(|| due.saturating_duration_since(Instant::now())))
                .context("timerfd_settime")?;
            for event in wait(&self.epoll, &mut events)? {
                let token = usize::try_from(event.u64).context("an event without a connection")?;
                // Set anew, it is no longer ready.
                if token == TIMER {
                    continue;
                }
                let connection = &mut self.connections[token];
                if let Some(answer) = connection.receive(&self.expected)? {
                    window.count(answer, connection.sent, Instant::now());
                    self.free.push(token);
                }
            }
            ensure!(!interrupt::requested(), "interrupted");
        }
        window.elapsed = begin.elapsed();
        Ok(window)
    }
}

fn new_timer() -> io::Result<OwnedFd> {
    // SAFETY: takes integers and touches no memory of ours.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Fires once after this time; never without one.
fn set_timer(timer: &OwnedFd, after: Option<Duration>) -> io::Result<()> {
    // All zero would mean never.
    let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
    let value = libc::timespec {
        tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: after.subsec_nanos().into(),
    };
    let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    // SAFETY: the descriptor is borrowed and so open; the kernel reads `spec` before it returns, and a null pointer asks
    // for no old value.
    let result = unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers each request of one connection after `pause`.
    fn serve(pause: Duration) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = Target::get(listener.local_addr().expect("bound"), "/").expect("loopback");
        let length = target.request.len();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = vec![0; length];
            while stream.read_exact(&mut request).is_ok() {
                thread::sleep(pause);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .expect("the client reads");
            }
        });
        target
    }

    #[test]
    fn what_waits_for_a_slow_answer_counts_from_when_it_was_due() {
        let target = serve(Duration::from_millis(20));
        let expected = Expected { status: 200, body: b"ok".to_vec() };
        let mut load = OpenLoop::connect(&target, expected, 1).expect("connects");
        // Twice as many as one connection can have.
        let window = load.run(100.0, Duration::from_millis(500), &mut SplitMix64::new(3)).expect("answers");
        assert!((30..80).contains(&window.requests), "about 50: {}", window.requests);
        assert_eq!((window.wrong, window.latency.len()), (0, window.requests));
        let longest = Duration::from_nanos(window.latency.max());
        assert!(longest > Duration::from_millis(150), "the last ones waited for all before: {longest:?}");
    }
}
