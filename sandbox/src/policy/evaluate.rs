//! What the kernel answers a system call under a compiled program, worked out without the kernel: classic BPF as
//! seccomp runs it, as a pure function.
//!
//! It exists so that the policy can be examined after it was compiled, in the form in which it is enforced: tests ask
//! it about every number and every edge of a condition, and `sandbox/policy.txt`, which reviewers read, is made with
//! it. Nothing that confines depends on it. That it answers as the kernel does is itself tested, by giving both the
//! same programs.
//!
//! Terms: a *program* is a list of instructions that ends in returns; its *value* is what it returns; an *action* is
//! what the kernel does for a value, or for the values of several programs at once.

use std::fmt;

use seccompiler::sock_filter;

/// A system call, as a program sees it (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number; of the x32 ABI with that ABI's bit.
    pub number: u32,
    /// Which ABI it was made by, an `AUDIT_ARCH_…`.
    pub architecture: u32,
    /// Where it was made.
    pub instruction_pointer: u64,
    /// Its arguments, whole registers.
    pub arguments: [u64; 6],
}

/// Bytes of `struct seccomp_data`.
const CALL_SIZE: u32 = 64;
/// Words of a program's scratch memory, `BPF_MEMWORDS`.
const MEMORY_WORDS: usize = 16;
/// The highest `errno` of the kernel, `MAX_ERRNO`: greater ones in a program are taken for it.
const MAX_ERRNO: u16 = 4095;

impl Call {
    /// The 32-bit word at a byte offset of `struct seccomp_data`; `None` where there is none.
    #[expect(clippy::cast_possible_truncation, reason = "takes 64-bit values apart")]
    fn word(&self, offset: u32) -> Option<u32> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        let half = |value: u64| if offset.is_multiple_of(8) { value as u32 } else { (value >> 32) as u32 };
        match offset {
            0 => Some(self.number),
            4 => Some(self.architecture),
            8..16 => Some(half(self.instruction_pointer)),
            16..CALL_SIZE => Some(half(self.arguments[(offset as usize - 16) / 8])),
            _ => None,
        }
    }
}

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Kills the process by SIGSYS.
    KillProcess,
    /// Kills the calling thread by SIGSYS.
    KillThread,
    /// Sends SIGSYS, with this value.
    Trap(u16),
    /// Returns this `errno`.
    Errno(u16),
    /// Leaves it to the listener.
    Notify,
    /// Leaves it to a tracer, with this value.
    Trace(u16),
    /// Carries it out, and logs it.
    Log,
    /// Carries it out.
    Allow,
}

impl Action {
    /// What a program's value stands for. Values that the kernel does not know kill.
    pub fn from_value(value: u32) -> Self {
        let data = (value & libc::SECCOMP_RET_DATA) as u16;
        match value & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_KILL_THREAD => Self::KillThread,
            libc::SECCOMP_RET_TRAP => Self::Trap(data),
            libc::SECCOMP_RET_ERRNO => Self::Errno(data.min(MAX_ERRNO)),
            libc::SECCOMP_RET_USER_NOTIF => Self::Notify,
            libc::SECCOMP_RET_TRACE => Self::Trace(data),
            libc::SECCOMP_RET_LOG => Self::Log,
            libc::SECCOMP_RET_ALLOW => Self::Allow,
            _ => Self::KillProcess,
        }
    }
}

/// Why a program has no value: the kernel would not have installed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No instruction that seccomp knows, or with an operand that it refuses: a division by a constant 0, a shift by
    /// more than 31, a load from beyond the call or the scratch memory.
    Instruction {
        /// Index in the program.
        at: usize,
    },
    /// It reads a word of the scratch memory that it has not written.
    Unwritten {
        /// Index in the program.
        at: usize,
    },
    /// It comes to its end, or jumps beyond, without having returned.
    NoReturn,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction { at } => write!(f, "instruction {at} is none that seccomp allows"),
            Self::Unwritten { at } => write!(f, "instruction {at} reads memory that nothing has written"),
            Self::NoReturn => f.write_str("the program ends without a return"),
        }
    }
}

impl std::error::Error for Fault {}

const LOAD_CALL: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_SIZE: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
const LOAD_CONSTANT: u32 = libc::BPF_LD | libc::BPF_IMM;
const LOAD_MEMORY: u32 = libc::BPF_LD | libc::BPF_MEM;
const LOAD_X_SIZE: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_LEN;
const LOAD_X_CONSTANT: u32 = libc::BPF_LDX | libc::BPF_IMM;
const LOAD_X_MEMORY: u32 = libc::BPF_LDX | libc::BPF_MEM;
const A_TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
const X_TO_A: u32 = libc::BPF_MISC | libc::BPF_TXA;
const RETURN_CONSTANT: u32 = libc::BPF_RET | libc::BPF_K;
const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const NEGATE: u32 = libc::BPF_ALU | libc::BPF_NEG;

/// The value of a program for a call. Ends, and without a panic, for any program: jumps lead forward only.
pub fn value(program: &[sock_filter], call: &Call) -> Result<u32, Fault> {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [None::<u32>; MEMORY_WORDS];
    let mut at = 0_usize;
    loop {
        let instruction = program.get(at).ok_or(Fault::NoReturn)?;
        let (code, k) = (u32::from(instruction.code), instruction.k);
        let refused = Fault::Instruction { at };
        let word = usize::try_from(k).ok().filter(|word| *word < MEMORY_WORDS).ok_or(refused);
        let mut jump = 0_u32;
        match code {
            LOAD_CALL => a = call.word(k).ok_or(refused)?,
            LOAD_SIZE => a = CALL_SIZE,
            LOAD_CONSTANT => a = k,
            LOAD_MEMORY => a = memory[word?].ok_or(Fault::Unwritten { at })?,
            LOAD_X_SIZE => x = CALL_SIZE,
            LOAD_X_CONSTANT => x = k,
            LOAD_X_MEMORY => x = memory[word?].ok_or(Fault::Unwritten { at })?,
            libc::BPF_ST => memory[word?] = Some(a),
            libc::BPF_STX => memory[word?] = Some(x),
            A_TO_X => x = a,
            X_TO_A => a = x,
            RETURN_CONSTANT => return Ok(k),
            RETURN_A => return Ok(a),
            NEGATE => a = a.wrapping_neg(),
            JUMP => jump = k,
            // Of class, operation and source nothing may be left over.
            _ if code & !0xff != 0 => return Err(refused),
            _ => {
                let constant = code & libc::BPF_X == 0;
                let operand = if constant { k } else { x };
                let operation = code & 0xf0;
                match code & 0x07 {
                    libc::BPF_ALU => match calculate(operation, a, operand, constant).ok_or(refused)? {
                        Some(result) => a = result,
                        // The kernel ends a program that divides by zero with the value 0.
                        None => return Ok(0),
                    },
                    libc::BPF_JMP => {
                        let holds = compare(operation, a, operand).ok_or(refused)?;
                        jump = u32::from(if holds { instruction.jt } else { instruction.jf });
                    }
                    _ => return Err(refused),
                }
            }
        }
        let next = usize::try_from(jump).ok().and_then(|jump| jump.checked_add(at)?.checked_add(1));
        at = next.ok_or(Fault::NoReturn)?;
    }
}

/// The outer `None` is an operation or operand that seccomp refuses, the inner one a division by zero.
fn calculate(operation: u32, a: u32, operand: u32, constant: bool) -> Option<Option<u32>> {
    Some(match operation {
        libc::BPF_ADD => Some(a.wrapping_add(operand)),
        libc::BPF_SUB => Some(a.wrapping_sub(operand)),
        libc::BPF_MUL => Some(a.wrapping_mul(operand)),
        libc::BPF_DIV if constant && operand == 0 => return None,
        libc::BPF_DIV => a.checked_div(operand),
        libc::BPF_AND => Some(a & operand),
        libc::BPF_OR => Some(a | operand),
        libc::BPF_XOR => Some(a ^ operand),
        libc::BPF_LSH | libc::BPF_RSH if constant && operand > 31 => return None,
        // By a register the processor takes the lower five bits.
        libc::BPF_LSH => Some(a.wrapping_shl(operand)),
        libc::BPF_RSH => Some(a.wrapping_shr(operand)),
        _ => return None,
    })
}

fn compare(operation: u32, a: u32, operand: u32) -> Option<bool> {
    Some(match operation {
        libc::BPF_JEQ => a == operand,
        libc::BPF_JGT => a > operand,
        libc::BPF_JGE => a >= operand,
        libc::BPF_JSET => a & operand != 0,
        _ => return None,
    })
}

/// What the kernel does with a call under several programs, given in the order in which they were installed: the most
/// restrictive of their actions; of equal ones, the data of the program that was installed last. Without a program it
/// is carried out.
pub fn action(programs: &[&[sock_filter]], call: &Call) -> Result<Action, Fault> {
    let mut chosen = libc::SECCOMP_RET_ALLOW;
    // In the order in which the kernel runs them.
    for program in programs.iter().rev() {
        let value = value(program, call)?;
        // Compared as signed numbers: so the kill of the process is the least.
        let rank = |value: u32| (value & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
        if rank(value) < rank(chosen) {
            chosen = value;
        }
    }
    Ok(Action::from_value(chosen))
}
