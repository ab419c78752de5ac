//! Device rules of a configuration -> a program of the kernel's virtual machine. Pure.
//!
//! The last rule that speaks of an access decides; where none does, it is allowed. An allowing rule
//! speaks of an access when it allows all of it, a denying one when it denies any of it: reading and
//! writing at once is not let through by a rule for each.
//!
//! Spec: config-linux, "Allowed Device list". Kernel: `struct bpf_cgroup_dev_ctx`.

use crate::base::{Error, Result};
use crate::spec::resources::DeviceRule;
use crate::sys::bpf::Instruction;

/// Every container may use these and make any node, as with runc: kind, major, minor (`None`: all).
const USUAL: [(&str, Option<i64>, Option<i64>, &str); 12] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
    ("c", Some(10), Some(200), "rwm"),
];

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Mknod 1, read 2, write 4.
fn access_bits(text: &str) -> Result<i32> {
    text.chars().try_fold(0, |bits, c| {
        Ok(bits
            | match c {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => {
                    return Err(Error::invalid(format!(
                        "the device access {text:?} is not made of r, w and m"
                    )));
                }
            })
    })
}

/// The rules of a configuration and the usual devices after them.
pub fn with_usual(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let usual = USUAL.iter().map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind: Some((*kind).to_owned()),
        major: *major,
        minor: *minor,
        access: Some((*access).to_owned()),
    });
    rules.iter().cloned().chain(usual).collect()
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}

/// Loads a word of the context (register 1).
fn load(to: u8, offset: i16) -> Instruction {
    instruction(0x61, to, 1, offset, 0)
}

fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

fn set(to: u8, number: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, number)
}

/// 32 bits wide: the upper half becomes zero.
fn and(to: u8, number: i32) -> Instruction {
    instruction(0x54, to, 0, 0, number)
}

fn shift_right(to: u8, number: i32) -> Instruction {
    instruction(0x74, to, 0, 0, number)
}

const EXIT: Instruction = 0x95;

/// The program of a list of rules.
///
/// # Errors
/// `Invalid`.
pub fn program(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    // Register 2: kind, 3: access, 4: major, 5: minor.
    let mut code = vec![
        load(2, 0),
        copy(3, 2),
        and(2, 0xffff),
        shift_right(3, 16),
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule)?);
    }
    code.extend([set(0, 1), EXIT]);
    Ok(code)
}

fn block(rule: &DeviceRule) -> Result<Vec<Instruction>> {
    let kind = match rule.kind.as_deref() {
        None | Some("" | "a") => None,
        Some("b") => Some(BLOCK),
        Some("c" | "u") => Some(CHARACTER),
        Some(other) => {
            return Err(Error::invalid(format!("unknown device type {other:?}")));
        }
    };
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => i32::try_from(n)
            .map(Some)
            .map_err(|_| Error::invalid(format!("bad device number {n}"))),
    };
    let access = match rule.access.as_deref() {
        None | Some("") => 7,
        Some(text) => access_bits(text)?,
    };
    // Each test leaves the block when it does not hold: (code of the jump, register, number).
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const JUMP_EQUAL: u8 = 0x15;
    let mut tests: Vec<(Vec<Instruction>, u8, u8, i32)> = Vec::new();
    if let Some(kind) = kind {
        tests.push((Vec::new(), JUMP_NOT_EQUAL, 2, kind));
    }
    if rule.allow {
        if access != 7 {
            tests.push((vec![copy(0, 3), and(0, !access & 7)], JUMP_NOT_EQUAL, 0, 0));
        }
    } else {
        tests.push((vec![copy(0, 3), and(0, access)], JUMP_EQUAL, 0, 0));
    }
    for (register, number) in [(4, number(rule.major)?), (5, number(rule.minor)?)] {
        if let Some(number) = number {
            tests.push((Vec::new(), JUMP_NOT_EQUAL, register, number));
        }
    }
    let mut code = vec![set(0, i32::from(rule.allow)), EXIT];
    // Backwards, since a jump has to know how much it leaves out.
    for (before, jump, register, number) in tests.into_iter().rev() {
        let over = i16::try_from(code.len()).unwrap_or(i16::MAX);
        let mut test = before;
        test.push(instruction(jump, register, 0, over, number));
        test.extend(code);
        code = test;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, numbers: (i64, i64), access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: Some(kind.into()),
            major: Some(numbers.0),
            minor: Some(numbers.1),
            access: Some(access.into()),
        }
    }

    /// Runs a program as the kernel would: kind, access, major, minor to the verdict.
    fn run(code: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> i64 {
        let mut registers = [0_i64; 6];
        let mut at = 0_usize;
        loop {
            let word = code[at];
            let (op, to) = ((word & 0xff) as u8, (word >> 8 & 0xf) as usize);
            let from = (word >> 12 & 0xf) as usize;
            let offset = (word >> 16) as u16 as i16;
            let number = (word >> 32) as u32 as i32;
            at += 1;
            match op {
                0x61 => {
                    registers[to] = i64::from(match offset {
                        0 => access << 16 | kind,
                        4 => major,
                        _ => minor,
                    });
                }
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = i64::from(number),
                0x54 => registers[to] = i64::from((registers[to] as u32) & (number as u32)),
                0x74 => registers[to] = i64::from((registers[to] as u32) >> number),
                0x55 if registers[to] != i64::from(number) => at += offset as usize,
                0x15 if registers[to] == i64::from(number) => at += offset as usize,
                0x55 | 0x15 => {}
                0x95 => return registers[0],
                _ => panic!("{op:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_speaks_of_an_access_decides() {
        let rules = [
            rule(false, "a", (-1, -1), "rwm"),
            rule(true, "c", (10, 229), "rw"),
            rule(true, "b", (8, -1), "r"),
            rule(false, "b", (8, 1), "r"),
        ];
        let code = program(&rules).unwrap();
        let (c, b, m, r, w) = (CHARACTER, BLOCK, 1, 2, 4);
        for (kind, access, major, minor, allowed) in [
            (c, r, 1, 3, false),
            (c, r, 10, 229, true),
            (c, r | w, 10, 229, true),
            (c, m, 10, 229, false),
            (b, r, 8, 0, true),
            (b, r | w, 8, 0, false),
            (b, r, 8, 1, false),
            (b, r, 10, 229, false),
        ] {
            let verdict = run(&code, kind, access, major, minor);
            assert_eq!(verdict == 1, allowed, "{kind} {access} {major}:{minor}");
        }
        let usual = program(&with_usual(&rules)).unwrap();
        assert_eq!(run(&usual, c, r | w, 1, 3), 1);
        assert_eq!(run(&usual, b, m, 8, 1), 1);
        assert_eq!(run(&usual, b, r, 8, 1), 0);
        assert_eq!(run(&program(&[]).unwrap(), b, r, 8, 1), 1);
        assert!(program(&[rule(true, "x", (1, 1), "r")]).is_err());
        assert!(program(&[rule(true, "c", (1, 1), "rx")]).is_err());
    }
}
