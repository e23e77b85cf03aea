//! What the daemon says, where tests would say it over and over.

use hairtrigger_sandbox::policy::compile::HIGHEST_KNOWN_CALL;
use hairtrigger_sandbox::policy::denied::{advice, name};

/// Behind "Function NAME ": that it was killed for a system call, why, and what to do. The call as the daemon names it.
pub fn denied(call: &str) -> String {
    let named = (0..=HIGHEST_KNOWN_CALL).find(|number| name(*number) == Some(call));
    // Numbers that no call has are said as such.
    let number = named.or_else(|| call.strip_prefix("number ")?.parse().ok()).map(u32::cast_signed);
    format!("made the denied system call {call} and was killed: {}.", advice(number))
}
