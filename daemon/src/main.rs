//! Hairtrigger's executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    hairtrigger_daemon::main()
}
