//! Writes the filters that a function's processes are under to standard output, as the kernel takes them: of each
//! program the number of its instructions, 32 bits, and the instructions. `tests/stress-ng.sh` installs them.

use std::io::{self, Write};

use hairtrigger_sandbox::policy::compile::Programs;

fn main() -> io::Result<()> {
    let programs = Programs::compile()?;
    let mut bytes = Vec::new();
    for program in [&programs.numbers, &programs.refusals, &programs.allowed, &programs.after_init] {
        let length = u32::try_from(program.len()).map_err(io::Error::other)?;
        bytes.extend(length.to_ne_bytes());
        for instruction in program {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
    }
    io::stdout().write_all(&bytes)
}
