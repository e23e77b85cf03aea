//! `concurrency.rate` and `concurrency.burst`: how many requests a function takes in which time.

use hairtrigger_sandbox::limits::{MAX_BURST, MAX_RATE, MIN_RATE};

use crate::settings::{BadSettings, Mistakes, Section, Setting};
use crate::shard::admission::Rate;

/// The rate of `[concurrency]`, if it says one.
pub(super) fn rate(section: &Section<'_>, bad: &mut Mistakes) -> Option<Rate> {
    let burst = bad.read(section, "burst", |burst| burst.count(1, MAX_BURST.into(), ""));
    let Some(rate) = section.get("rate") else {
        if let Some(burst) = section.get("burst") {
            bad.note::<()>(Err(burst.refuse("left out where there is no rate")));
        }
        return None;
    };
    let per_second = bad.note(per_second(&rate))?;
    Some(Rate::new(per_second, burst.unwrap_or_else(|| Rate::of_a_second(per_second))))
}

fn per_second(setting: &Setting<'_>) -> Result<f64, BadSettings> {
    let value = setting.as_f64().filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate));
    value.ok_or_else(|| {
        setting.refuse(format_args!("a number of requests a second from {MIN_RATE} to {MAX_RATE}"))
    })
}
