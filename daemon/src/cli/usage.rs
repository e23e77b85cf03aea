//! `hairtrigger usage`: what the functions of a running daemon have used, from its administration's socket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use hyper::Request;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::exit::Exit;
use super::front::say;
use super::invoke::client::{self, Address, Failed};

/// Where the administration's socket is unless the configuration says something else.
const SOCKET: &str = "/run/hairtrigger/admin.sock";

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One function; without it, all.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print JSON, as the socket gives it.
    #[arg(long)]
    json: bool,
    /// The administration's socket.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
}

/// What the table says of a function.
#[derive(Debug, Deserialize)]
struct Usage {
    name: String,
    invocations: u64,
    outcomes: BTreeMap<String, u64>,
    starts: BTreeMap<String, u64>,
    wall_us: u64,
    cpu_us: u64,
    overhead_cpu_us: u64,
    group_cpu_us: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    workers: Workers,
}

#[derive(Debug, Deserialize)]
struct Workers {
    started: u64,
    ended: u64,
}

pub(super) fn run(options: &Options) -> Result<Exit> {
    let request = Request::get("/_/usage").body(Bytes::new()).context("there is no such request")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let addresses = [Address::Socket(options.socket.clone())];
    let answer = match runtime.block_on(client::exchange(&addresses, request)) {
        Ok(answer) => answer,
        Err(Failed::NoDaemon(nobody)) => {
            say(&format!("hairtrigger: {nobody}; name its administration's socket with --socket"));
            return Ok(Exit::NoDaemon);
        }
        Err(Failed::Exchange(error)) => return Err(error),
    };
    if answer.status != 200 {
        bail!("{} speaks, but is no administration's socket: status {}", addresses[0], answer.status);
    }
    let mut all: Value = serde_json::from_slice(&answer.body).context("the answer is no JSON")?;
    let functions = all.get_mut("functions").and_then(Value::as_array_mut);
    let functions = functions.ok_or_else(|| anyhow!("the answer lists no functions"))?;
    if let Some(name) = &options.name {
        functions.retain(|function| function["name"] == name.as_str());
        if functions.is_empty() {
            bail!("the daemon has no function {name}");
        }
    }
    let text = if options.json {
        format!("{all}\n")
    } else {
        table(&serde_json::from_value::<Vec<Usage>>(Value::Array(std::mem::take(functions)))?)
    };
    stdout().write_all(text.as_bytes()).context("cannot write the answer")?;
    Ok(Exit::Success)
}

/// A line for each function, and one of what was not completed.
fn table(functions: &[Usage]) -> String {
    let heading = [
        "FUNCTION", "CALLS", "WARM", "FORK", "LOAD", "WALL", "CPU", "OVERHEAD", "GROUP", "IN", "OUT",
        "WORKERS",
    ];
    let seconds = |us: u64| format!("{}.{:03}s", us / 1_000_000, us / 1000 % 1000);
    let row = |usage: &Usage| {
        let start = |kind| usage.starts.get(kind).copied().unwrap_or(0).to_string();
        let Workers { started, ended } = usage.workers;
        [
            usage.name.clone(),
            usage.invocations.to_string(),
            start("warm"),
            start("fork"),
            start("load"),
            seconds(usage.wall_us),
            seconds(usage.cpu_us),
            seconds(usage.overhead_cpu_us),
            usage.group_cpu_us.map_or_else(|| "-".to_owned(), seconds),
            format!("{}B", usage.bytes_in),
            format!("{}B", usage.bytes_out),
            format!("{} of {started}", started.saturating_sub(ended)),
        ]
    };
    let rows: Vec<_> =
        std::iter::once(heading.map(ToOwned::to_owned)).chain(functions.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
        let others = number.checked_sub(1).map(|number| &functions[number].outcomes).into_iter().flatten();
        let others: Vec<_> = others.filter(|(label, _)| *label != "completed").collect();
        let others: Vec<String> = others.iter().map(|(label, count)| format!("{count} {label}")).collect();
        if !others.is_empty() {
            let _ = writeln!(text, "    {}", others.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let outcomes = [("completed", 10), ("fault", 1), ("timeout", 1)];
        let usage = Usage {
            name: "greet".to_owned(),
            invocations: 12,
            outcomes: outcomes.map(|(label, count)| (label.to_owned(), count)).into(),
            starts: [("warm".to_owned(), 11), ("fork".to_owned(), 1)].into(),
            wall_us: 61_002_003,
            cpu_us: 2_999,
            overhead_cpu_us: 0,
            group_cpu_us: None,
            bytes_in: 0,
            bytes_out: 1234,
            workers: Workers { started: 3, ended: 2 },
        };
        assert_eq!(
            table(&[usage]),
            "FUNCTION  CALLS  WARM  FORK  LOAD     WALL     CPU  OVERHEAD  GROUP  IN    OUT  WORKERS\n\
             greet        12    11     1     0  61.002s  0.002s    0.000s      -  0B  1234B   1 of 3\n\
             \u{20}   1 fault, 1 timeout\n"
        );
    }
}
