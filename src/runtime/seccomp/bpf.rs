//! Classic BPF as far as system call filters need it: instructions, argument checks, and the
//! balanced tree over call numbers.
//!
//! A tree over ranges costs the kernel a tenth of a linear list to load, and loading is on the way
//! of every start (kernel.md 3.1). Jumps go forward only, so every program ends.

use super::Instruction;

/// Offsets in `struct seccomp_data`.
pub(super) const NR: u32 = 0;
pub(super) const ARCH: u32 = 4;
const ARGS: u32 = 16;

const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JA: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JGT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RET: u16 = 0x06; // BPF_RET | BPF_K

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Loads a word of the call's data.
pub(super) fn load(offset: u32) -> Instruction {
    plain(LD, offset)
}

/// Ends the program.
pub(super) fn ret(value: u32) -> Instruction {
    plain(RET, value)
}

/// `if accumulator OP k { yes } else { no }`; both ends must end the program.
pub(super) fn branch(
    op: u16,
    k: u32,
    yes: &[Instruction],
    no: &[Instruction],
    out: &mut Vec<Instruction>,
) {
    // The distance of a conditional jump has eight bits; a plain jump has thirty-two.
    if let Ok(over) = u8::try_from(no.len()) {
        out.push(Instruction {
            code: op,
            jt: over,
            jf: 0,
            k,
        });
    } else {
        out.push(Instruction {
            code: op,
            jt: 0,
            jf: 1,
            k,
        });
        out.push(plain(JA, no.len() as u32));
    }
    out.extend_from_slice(no);
    out.extend_from_slice(yes);
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `(argument & value) == value_two`.
    MaskedEq,
}

/// One condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub index: u32,
    pub op: Op,
    pub value: u64,
    pub value_two: u64,
}

/// Where a jump inside a rule's checks goes.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    Next,
    /// The end of this condition: it holds.
    Holds,
    /// The end of the rule: it does not match.
    Fails,
}

/// The checks of one rule and its verdict. When a condition fails, control goes to the first
/// instruction after the result. `wide` says of an argument whether the kernel looks at 64 bits.
pub(super) fn rule(
    conditions: &[Condition],
    wide: impl Fn(u32) -> bool,
    verdict: u32,
) -> Vec<Instruction> {
    let mut code: Vec<(u16, u32, To, To)> = Vec::new();
    // (instruction, whether it is the true branch) whose target is the end of its condition.
    let mut ends: Vec<usize> = Vec::new();
    for condition in conditions {
        compare(condition, wide(condition.index), &mut code);
        ends.resize(code.len(), code.len());
    }
    let end = code.len() + 1;
    let mut out = Vec::with_capacity(end);
    for (at, (op, k, yes, no)) in code.into_iter().enumerate() {
        let distance = |to: To| {
            let target = match to {
                To::Next => at + 1,
                To::Holds => ends[at],
                To::Fails => end,
            };
            (target - at - 1) as u8
        };
        out.push(Instruction {
            code: op,
            jt: distance(yes),
            jf: distance(no),
            k,
        });
    }
    out.push(ret(verdict));
    out
}

/// Adds one comparison, of 64 bits or of the low 32.
fn compare(condition: &Condition, wide: bool, code: &mut Vec<(u16, u32, To, To)>) {
    use To::{Fails, Holds, Next};
    let Condition {
        index,
        op,
        value,
        value_two,
    } = *condition;
    // Little endian: the low word first.
    let low_at = ARGS + 8 * index;
    let (low, high) = (value as u32, (value >> 32) as u32);
    let (low_two, high_two) = (value_two as u32, (value_two >> 32) as u32);
    if wide {
        match op {
            Op::Eq => {
                code.push((LD, low_at + 4, Next, Next));
                code.push((JEQ, high, Next, Fails));
            }
            Op::Ne => {
                code.push((LD, low_at + 4, Next, Next));
                code.push((JEQ, high, Next, Holds));
            }
            Op::Gt | Op::Ge => {
                code.push((LD, low_at + 4, Next, Next));
                code.push((JGT, high, Holds, Next));
                code.push((JEQ, high, Next, Fails));
            }
            Op::Lt | Op::Le => {
                code.push((LD, low_at + 4, Next, Next));
                code.push((JGT, high, Fails, Next));
                code.push((JEQ, high, Next, Holds));
            }
            // A mask without high bits asks nothing of them.
            Op::MaskedEq if high == 0 && high_two == 0 => {}
            Op::MaskedEq => {
                code.push((LD, low_at + 4, Next, Next));
                code.push((AND, high, Next, Next));
                code.push((JEQ, high_two, Next, Fails));
            }
        }
    }
    code.push((LD, low_at, Next, Next));
    match op {
        Op::Eq => code.push((JEQ, low, Next, Fails)),
        Op::Ne => code.push((JEQ, low, Fails, Next)),
        Op::Gt => code.push((JGT, low, Next, Fails)),
        Op::Ge => code.push((JGE, low, Next, Fails)),
        Op::Lt => code.push((JGE, low, Fails, Next)),
        Op::Le => code.push((JGT, low, Fails, Next)),
        Op::MaskedEq => {
            code.push((AND, low, Next, Next));
            code.push((JEQ, low_two, Next, Fails));
        }
    }
}

/// The balanced tree over `ranges`: (first number, code that ends the program), ascending, the
/// first at 0. The number must be in the accumulator.
pub(super) fn tree(ranges: &[(u32, &[Instruction])]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, code)] => code.to_vec(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let mut out = Vec::new();
            branch(JGE, high[0].0, &tree(high), &tree(low), &mut out);
            out
        }
    }
}
