//! The load generator: connections, what drives them, and what comes back.
//!
//! It loads nothing but this host's loopback addresses, and every run is bounded in time.

mod burst;
mod closed;
mod open;
mod response;
mod single;

pub(crate) use burst::Burst;
pub(crate) use closed::{ClosedLoop, Until, Window};
pub(crate) use open::OpenLoop;
pub(crate) use response::{Expected, Frame, frame};
pub(crate) use single::{Answered, Single};

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::process::pin_to;
use crate::{HELLO, Output};

/// Longest latency that is told apart, in nanoseconds; anything beyond is recorded as this.
const MAX_LATENCY_NS: u64 = 60_000_000_000;
/// Longest answer to a single request, in bytes.
const MAX_SINGLE: usize = 1 << 20;

/// Load one server on this host, and check and time its answers.
///
/// A closed loop: every connection sends its next request when the last one is answered.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Loopback address of the server
    #[arg(value_name = "ADDRESS")]
    address: SocketAddr,
    /// Path to ask for
    #[arg(long, value_name = "PATH", default_value = "/hello")]
    path: String,
    /// Body that every answer must have [default: the hello plugin's]
    #[arg(long, value_name = "TEXT", default_value = HELLO, hide_default_value = true)]
    body: String,
    /// Keep-alive connections, each with one request in flight
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    connections: usize,
    /// Seconds to run for [default: 5; with --smoke 0.2]
    #[arg(long, value_name = "SECONDS", conflicts_with = "requests")]
    seconds: Option<f64>,
    /// Requests to send, instead of a time
    #[arg(long, value_name = "COUNT")]
    requests: Option<u64>,
    /// Core to run on [default: any]
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// Longest run, in seconds.
const MAX_SECONDS: f64 = 3600.0;

/// Runs the load and prints what came of it. Gives whether every answer was right.
///
/// # Errors
/// If the server cannot be loaded, or breaks a connection.
pub(crate) fn run(args: &LoadArgs) -> Result<bool> {
    let seconds = args.seconds.unwrap_or(if args.output.smoke { 0.2 } else { 5.0 });
    ensure!((0.0..=MAX_SECONDS).contains(&seconds), "a run takes between 0 and {MAX_SECONDS} s");
    let until = args.requests.map_or(Until::Elapsed(Duration::from_secs_f64(seconds)), Until::Requests);
    if let Some(core) = args.core {
        pin_to(core).with_context(|| format!("pinning the client to core {core}"))?;
    }
    let target = Target::get(args.address, &args.path)?;
    let expected = Expected { status: 200, body: args.body.clone().into_bytes() };
    let window = ClosedLoop::connect(&target, expected, args.connections)?.run(until)?;
    let (p50, p99) = (quantile_us(&window.latency, 0.5), quantile_us(&window.latency, 0.99));
    let report = json!({
        "bench": "load", "connections": args.connections, "requests": window.requests,
        "wrong": window.wrong, "elapsed_s": window.elapsed.as_secs_f64(),
        "requests_per_s": window.rate(), "p50_us": p50, "p99_us": p99,
    });
    args.output.print(&report, |_| {
        format!(
            "{} answers in {:.2} s, {} of them wrong: {:.0} requests/s, p50 {p50:.1} µs, p99 {p99:.1} µs",
            window.requests,
            window.elapsed.as_secs_f64(),
            window.wrong,
            window.rate()
        )
    })?;
    if let Some(wrong) = &window.first_wrong {
        eprintln!("error: {} wrong answers, the first: {wrong:?}", window.wrong);
    }
    Ok(window.wrong == 0)
}

/// Where requests go to, and which.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    request: Vec<u8>,
}

impl Target {
    /// `GET path` at `address`.
    ///
    /// # Errors
    /// If `address` is not a loopback address, or `path` could not stand in a request line.
    pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Self> {
        ensure!(
            address.ip().is_loopback(),
            "{address} is not on this host: only loopback addresses are ever loaded"
        );
        ensure!(
            path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
            "the path {path:?} does not begin with a slash, or holds a space or a control character"
        );
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        Ok(Self { address, request })
    }
}

/// A histogram of latencies in nanoseconds, with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3).expect("constant bounds that are in order")
}

/// The latency below which `share` (0 to 1) of those in `histogram` lie, in microseconds.
pub(crate) fn quantile_us(histogram: &Histogram<u64>, share: f64) -> f64 {
    // A latency is below 2^36 ns, so the conversion is exact.
    #[allow(clippy::cast_precision_loss)]
    let ns = histogram.value_at_quantile(share) as f64;
    ns / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_loopback_is_loaded() {
        let far = Target::get("192.0.2.1:80".parse().expect("an address"), "/").expect_err("refused");
        assert!(far.to_string().contains("loopback"), "{far}");
        assert!(Target::get("127.0.0.1:80".parse().expect("an address"), "/hello").is_ok());
        assert!(Target::get("[::1]:80".parse().expect("an address"), "/hello").is_ok());
    }

    #[test]
    fn a_path_cannot_smuggle_a_second_request() {
        for path in ["hello", "/a b", "/a\r\nHost: b", ""] {
            assert!(Target::get("127.0.0.1:80".parse().expect("an address"), path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn quantiles_come_back_within_three_digits_and_clamped() {
        let mut histogram = new_histogram();
        for us in 1..=1_000_u64 {
            histogram.saturating_record(us * 1_000);
        }
        assert!((quantile_us(&histogram, 0.5) - 500.0).abs() < 1.0);
        assert!((quantile_us(&histogram, 0.99) - 990.0).abs() < 2.0);
        histogram.saturating_record(u64::MAX);
        assert!(quantile_us(&histogram, 1.0) >= 60_000_000.0);
    }
}
