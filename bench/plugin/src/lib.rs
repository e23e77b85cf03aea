//! The function of the benches. What it does is said by the request: `?deed=NAME`.
//!
//! | deed | |
//! |---|---|
//! | none | answers [`HELLO`] |
//! | `nothing` | answers with an empty body |
//! | `sleep` | sleeps for `ms` milliseconds |
//! | `spin` | computes until `until`, in nanoseconds of `CLOCK_MONOTONIC` |
//! | `run-away` | computes and never ends |
//!
//! With a board (`BOARD` in its environment, a file that it may write) it stamps the row `row` of it, so that a bench
//! sees when it lived without asking the daemon.

pub mod board;

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use hairtrigger_abi::{Error, Function, Host, Request, Response};

use board::{Board, Row};

/// What is answered to a request without a deed: as the hello plugin does.
pub const HELLO: &str = "Hello from Hairtrigger\n";

/// The variable of the environment that names the board's file.
pub const BOARD: &str = "BOARD";

struct Bench {
    board: Option<Board>,
}

impl Function for Bench {
    fn init(host: &Host) -> Result<Self, Error> {
        // Workers inherit the mapping: a start costs no more for it.
        let open = |path| Board::open(path).map_err(|error| Error::new(format!("the board {path}: {error}")));
        Ok(Self { board: host.env(BOARD).map(open).transpose()? })
    }

    fn invoke(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
        let host = request.host();
        let row = self.row(request)?;
        if let Some(row) = row {
            row.deadline.store(nanoseconds(request.deadline()), Release);
            row.begun.store(nanoseconds(host.now()), Release);
        }
        match request.query_value("deed").as_deref() {
            None => response.text(HELLO)?,
            Some("nothing") => {}
            Some("sleep") => std::thread::sleep(Duration::from_millis(number(request, "ms")?)),
            Some("spin") => {
                let until = Duration::from_nanos(number(request, "until")?);
                while host.now() < until {}
            }
            Some("run-away") => loop {
                let now = nanoseconds(host.now());
                if let Some(row) = row {
                    row.tick.store(now, Release);
                    // No other process writes to this row.
                    row.ticks.store(row.ticks.load(Relaxed) + 1, Relaxed);
                }
            },
            Some(other) => return Err(Error::new(format!("there is no deed {other:?}"))),
        }
        if let Some(row) = row {
            row.ended.store(nanoseconds(host.now()), Release);
        }
        Ok(())
    }
}

impl Bench {
    fn row(&self, request: &Request<'_>) -> Result<Option<&Row>, Error> {
        let (Some(board), Some(_)) = (&self.board, request.query_value("row")) else { return Ok(None) };
        let row = usize::try_from(number(request, "row")?).ok().and_then(|row| board.rows().get(row));
        row.map(Some).ok_or_else(|| Error::new("the board has no such row"))
    }
}

fn number(request: &Request<'_>, name: &str) -> Result<u64, Error> {
    let value = request.query_value(name).and_then(|value| value.parse().ok());
    value.ok_or_else(|| Error::new(format!("{name} must be a number")))
}

/// Beyond 2⁶⁴ ns the machine has run for centuries.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

hairtrigger_abi::export!(Bench);
