//! The oracle: every program is run in a small machine over all call numbers of all interfaces and
//! compared with a naive reading of the profile. The kernel itself is asked as well.

use super::compile::{Machine, audit, compile, verdict};
use super::profile::{Situation, parse, version};
use super::table::{Abi, TABLE, number, row};
use super::*;

#[test]
fn the_same_profile_is_recognised() {
    for cap in capabilities::NAMES {
        let mut caps: Vec<&str> = capabilities::DEFAULT.to_vec();
        match caps.iter().position(|c| *c == cap) {
            Some(at) => drop(caps.remove(at)),
            None => caps.push(cap),
        }
        let same = default_profile(&caps) == default_profile(&capabilities::DEFAULT);
        assert_eq!(
            default::is_same(&caps, &capabilities::DEFAULT),
            same,
            "{cap}"
        );
    }
}

use crate::runtime::capabilities;
use crate::spec::runtime::{SeccompArg, SeccompRule};

/// One call as the filter sees it.
#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    nr: u32,
    args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            at @ 16..64 => {
                let arg = self.args[((at - 16) / 8) as usize];
                if at % 8 == 0 {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
            at => panic!("load from {at}"),
        }
    }
}

/// Runs a program; panics on whatever the kernel would not have accepted.
fn execute(program: &[Instruction], call: &Call) -> u32 {
    let (mut pc, mut a) = (0_usize, 0_u32);
    loop {
        let i = program[pc];
        pc += 1;
        let test = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => a = call.word(i.k),
            0x54 => a &= i.k,
            0x05 => pc += i.k as usize,
            0x15 => pc += test(a == i.k),
            0x25 => pc += test(a > i.k),
            0x35 => pc += test(a >= i.k),
            0x06 => return i.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// What a profile says of a call, read rule by rule.
fn naive(profile: &Seccomp, machine: Machine, call: &Call) -> u32 {
    let default = verdict(&profile.default_action, profile.default_errno_ret).unwrap();
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let listed = machine.interfaces(profile);
    let (native, other) = match machine {
        Machine::X86_64 => (Abi::X86_64, Abi::I386),
        Machine::Aarch64 => (Abi::Aarch64, Abi::Arm),
    };
    let (abi, nr) = if call.arch == audit(native) {
        match call.nr & 0xC000_0000 {
            0 => (native, call.nr),
            _ if native != Abi::X86_64 => (native, call.nr),
            0x4000_0000 if listed.contains(&Abi::X32) => (Abi::X32, call.nr & 0x3FFF_FFFF),
            _ => return enosys,
        }
    } else if call.arch == audit(other) && listed.contains(&other) {
        (other, call.nr)
    } else {
        return libc::SECCOMP_RET_KILL_PROCESS;
    };
    let narrow = |index: u32| {
        matches!(abi, Abi::I386 | Abi::Arm)
            || match TABLE
                .iter()
                .find(|r| number(r, abi) == Some(nr))
                .map(|r| r.0)
            {
                Some("socket" | "socketpair") => index < 3,
                Some("ioctl" | "fcntl") => index < 2,
                Some("prctl" | "personality" | "socketcall") => index < 1,
                _ => false,
            }
    };
    let holds = |arg: &SeccompArg| {
        let mask = if narrow(arg.index) {
            0xFFFF_FFFF
        } else {
            u64::MAX
        };
        let have = call.args[arg.index as usize] & mask;
        let (value, two) = (arg.value & mask, arg.value_two & mask);
        match arg.op.as_str() {
            "SCMP_CMP_EQ" => have == value,
            "SCMP_CMP_NE" => have != value,
            "SCMP_CMP_LT" => have < value,
            "SCMP_CMP_LE" => have <= value,
            "SCMP_CMP_GT" => have > value,
            "SCMP_CMP_GE" => have >= value,
            "SCMP_CMP_MASKED_EQ" => have & value == two,
            other => panic!("{other}"),
        }
    };
    let Some(name) = TABLE
        .iter()
        .filter(|r| number(r, abi) == Some(nr))
        .map(|r| r.0)
        .next()
    else {
        return if too_new(profile, abi, nr) {
            enosys
        } else {
            default
        };
    };
    let alias = TABLE
        .iter()
        .rev()
        .find(|r| number(r, abi) == Some(nr))
        .map_or(name, |r| r.0);
    let of_call = || {
        let is = |n: &String| n == name || n == alias;
        profile
            .syscalls
            .iter()
            .filter(move |r| r.names.iter().any(is))
    };
    for rule in of_call().filter(|r| !r.args.is_empty()) {
        let twice = (0..6).any(|i| rule.args.iter().filter(|a| a.index == i).count() > 1);
        let matches = if twice {
            rule.args.iter().any(holds)
        } else {
            rule.args.iter().all(holds)
        };
        if matches {
            return verdict(&rule.action, rule.errno_ret).unwrap();
        }
    }
    if let Some(rule) = of_call().find(|r| r.args.is_empty()) {
        return verdict(&rule.action, rule.errno_ret).unwrap();
    }
    if too_new(profile, abi, nr) {
        enosys
    } else {
        default
    }
}

/// Whether a profile that denies by default is older than the call.
fn too_new(profile: &Seccomp, abi: Abi, nr: u32) -> bool {
    let denies =
        !profile.default_action.contains("ALLOW") && !profile.default_action.contains("LOG");
    let named = profile.syscalls.iter().flat_map(|r| &r.names);
    denies
        && named
            .filter_map(|n| row(n).and_then(|r| number(r, abi)))
            .max()
            .is_some_and(|highest| nr > highest)
}

/// Interesting values: those of the rules, their neighbours, and the same with high bits.
fn values(profile: &Seccomp) -> Vec<u64> {
    let mut all = vec![0, 1, u64::MAX, 0xFFFF_FFFF, 1 << 32];
    for arg in profile.syscalls.iter().flat_map(|r| &r.args) {
        for v in [arg.value, arg.value_two] {
            all.extend([
                v,
                v.wrapping_add(1),
                v.wrapping_sub(1),
                v | 1 << 32,
                v ^ 1 << 63,
            ]);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn agree(name: &str, profile: &Seccomp, machine: Machine) {
    let program = compile(profile, machine).unwrap();
    let values = values(profile);
    let with_args: Vec<&SeccompRule> = profile
        .syscalls
        .iter()
        .filter(|r| !r.args.is_empty())
        .collect();
    let arches: Vec<u32> = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm]
        .map(audit)
        .into();
    for arch in arches.into_iter().chain([0, 0xC000_0016]) {
        let ours = machine
            .interfaces(profile)
            .iter()
            .any(|abi| audit(*abi) == arch);
        let most = if ours { 500 } else { 3 };
        let plain = (0..most).chain([0xF_0001, 0xF_0002, 0xF_0005, u32::MAX, u32::MAX - 1]);
        let x32 = (0..if arch == audit(Abi::X86_64) {
            most + 60
        } else {
            3
        })
            .map(|n| n | 0x4000_0000);
        for nr in plain.chain(x32) {
            let checked = with_args
                .iter()
                .flat_map(|r| &r.names)
                .any(|n| row(n).is_some_and(|r| r.1.contains(&(nr & 0x3FFF_FFFF))));
            let mut calls = vec![[0_u64; 6]];
            if checked {
                for (i, v) in values.iter().enumerate() {
                    let w = values[(i * 7 + 3) % values.len()];
                    calls.extend([[*v; 6], [*v, w, w, *v, w, *v], [w, *v, *v, w, *v, w]]);
                    calls.push([16, *v, 9, 0, *v, w]);
                }
            }
            for args in calls {
                let call = Call { arch, nr, args };
                assert_eq!(
                    execute(&program, &call),
                    naive(profile, machine, &call),
                    "{name} on {machine:?}: {call:x?}"
                );
            }
        }
    }
}

fn defaults() -> Vec<String> {
    capabilities::DEFAULT.map(str::to_owned).to_vec()
}

fn arg(index: u32, op: &str, value: u64, value_two: u64) -> SeccompArg {
    SeccompArg {
        index,
        value,
        value_two,
        op: format!("SCMP_CMP_{op}"),
    }
}

fn rule(names: &str, action: &str, errno: Option<u32>, args: Vec<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names: names.split(' ').map(str::to_owned).collect(),
        action: format!("SCMP_ACT_{action}"),
        errno_ret: errno,
        args,
    }
}

#[test]
fn the_table_is_sorted_and_has_no_number_twice() {
    assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
    for abi in [Abi::X86_64, Abi::I386, Abi::X32, Abi::Aarch64] {
        let mut numbers: Vec<u32> = TABLE.iter().filter_map(|r| number(r, abi)).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{abi:?}");
    }
    let native = if cfg!(target_arch = "aarch64") {
        Abi::Aarch64
    } else {
        Abi::X86_64
    };
    for (name, nr) in [
        ("openat2", libc::SYS_openat2),
        ("clone3", libc::SYS_clone3),
        ("socket", libc::SYS_socket),
        ("read", libc::SYS_read),
    ] {
        assert_eq!(
            row(name).and_then(|r| number(r, native)),
            u32::try_from(nr).ok(),
            "{name}"
        );
    }
}

#[test]
fn the_default_profile_names_only_known_calls_and_each_once() {
    let profile = default_profile(&defaults());
    let mut seen = std::collections::BTreeSet::new();
    for rule in profile.syscalls.iter().filter(|r| r.args.is_empty()) {
        for name in &rule.names {
            assert!(row(name).is_some(), "{name} is not in the table");
            assert!(seen.insert(name), "{name} twice");
        }
    }
}

#[test]
fn programs_agree_with_a_naive_reading() {
    let all: Vec<String> = capabilities::NAMES.map(str::to_owned).to_vec();
    let every_operator = Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        architectures: ["X86_64", "X86", "X32", "AARCH64", "ARM"]
            .map(|a| format!("SCMP_ARCH_{a}"))
            .to_vec(),
        syscalls: vec![
            rule("read", "ALLOW", None, vec![arg(0, "GT", 5 << 32 | 7, 0)]),
            rule("write", "ALLOW", None, vec![arg(1, "GE", 5 << 32 | 7, 0)]),
            rule("close", "TRAP", None, vec![arg(2, "LT", 5 << 32 | 7, 0)]),
            rule("lseek", "LOG", None, vec![arg(3, "LE", 5 << 32 | 7, 0)]),
            rule("mmap", "KILL", None, vec![arg(4, "NE", 5 << 32 | 7, 0)]),
            rule(
                "fcntl",
                "TRACE",
                Some(9),
                vec![arg(1, "EQ", 5 << 32 | 7, 0)],
            ),
            rule("ioctl", "KILL_PROCESS", None, vec![arg(1, "EQ", 0x5412, 0)]),
            rule("ioctl", "ALLOW", None, vec![]),
            rule(
                "openat brk",
                "ERRNO",
                Some(77),
                vec![
                    arg(5, "MASKED_EQ", 0xF_0000_000F, 0x1_0000_0003),
                    arg(0, "NE", 1, 0),
                ],
            ),
            rule(
                "openat",
                "ALLOW",
                None,
                vec![arg(0, "EQ", 0, 0), arg(0, "EQ", 16, 0)],
            ),
            rule("set_tls getcwd", "ALLOW", None, vec![]),
        ],
        ..Seccomp::default()
    };
    let open = Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        syscalls: vec![
            rule("mkdir", "ERRNO", None, vec![]),
            rule("nonsense", "ALLOW", None, vec![]),
        ],
        ..Seccomp::default()
    };
    for machine in [Machine::X86_64, Machine::Aarch64] {
        agree("default", &default_profile(&defaults()), machine);
        agree(
            "default with all capabilities",
            &default_profile(&all),
            machine,
        );
        agree(
            "default without capabilities",
            &default_profile::<String>(&[]),
            machine,
        );
        agree("operators", &every_operator, machine);
        agree("open", &open, machine);
        agree(
            "empty",
            &Seccomp {
                syscalls: vec![],
                ..open.clone()
            },
            machine,
        );
        let situation = Situation {
            caps: &defaults(),
            machine,
            kernel: (6, 1),
        };
        // podman's own file, where it is installed.
        if let Ok(text) = std::fs::read("/usr/share/containers/seccomp.json") {
            agree("podman's", &parse(&text, &situation).unwrap(), machine);
        }
    }
}

#[test]
fn the_default_program_is_small_enough_to_load_fast() {
    let program = compile(&default_profile(&defaults()), Machine::host()).unwrap();
    assert!(program.len() < 700, "{} instructions", program.len());
}

/// `UPDATE_GOLDEN=1` writes what is compiled now.
#[test]
fn the_prepared_programs_are_those_of_the_default_profile() {
    let encode = |program: &[Instruction]| -> Vec<u8> {
        let bytes = |i: &Instruction| {
            let mut b = i.code.to_le_bytes().to_vec();
            b.extend([i.jt, i.jf]);
            b.extend(i.k.to_le_bytes());
            b
        };
        program.iter().flat_map(bytes).collect()
    };
    for (machine, name) in [
        (Machine::X86_64, "default-x86_64.bpf"),
        (Machine::Aarch64, "default-aarch64.bpf"),
    ] {
        let program = encode(&compile(&default_profile(&defaults()), machine).unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/runtime/seccomp")
            .join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &program).unwrap();
        }
        assert!(
            program == std::fs::read(&path).unwrap(),
            "{name} is out of date"
        );
        assert_eq!(encode(&decode(&program)), program);
    }
}

#[test]
fn profile_files_are_read_with_their_conditions() {
    let text = br#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x", "includes": {}, "excludes": {}},
            {"name": "chroot", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["mseal"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}}
        ]}"#;
    let caps = defaults();
    let situation = |machine| Situation {
        caps: &caps,
        machine,
        kernel: (6, 1),
    };
    let profile = parse(text, &situation(Machine::X86_64)).unwrap();
    let names = |p: &Seccomp| -> Vec<String> {
        p.syscalls
            .iter()
            .map(|r| format!("{}:{}", r.names.join("+"), r.errno_ret.unwrap_or(0)))
            .collect()
    };
    assert_eq!(
        names(&profile),
        ["read:0", "chroot:0", "bpf:1", "ptrace:0", "arch_prctl:0"]
    );
    assert_eq!(profile.default_errno_ret, Some(38));
    assert_eq!(profile.architectures.len(), 3);
    let arm = parse(text, &situation(Machine::Aarch64)).unwrap();
    assert_eq!(names(&arm), ["read:0", "chroot:0", "bpf:1", "ptrace:0"]);
    assert_eq!(arm.architectures, ["SCMP_ARCH_AARCH64"]);
    for bad in [
        &b"{}"[..],
        b"[]",
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "sycalls": []}"#,
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "A", "arg": []}]}"#,
        br#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EODD", "syscalls": []}"#,
    ] {
        assert!(parse(bad, &situation(Machine::X86_64)).is_err());
    }
    assert_eq!(version("6.18.44-fc").unwrap(), (6, 18));
    assert!(version("6").is_err());
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let base = |action: &str, rules: Vec<SeccompRule>| Seccomp {
        default_action: action.into(),
        syscalls: rules,
        ..Seccomp::default()
    };
    for bad in [
        base("SCMP_ACT_NOTIFY", vec![]),
        base("ALLOW", vec![]),
        base(
            "SCMP_ACT_ALLOW",
            vec![rule("read", "SOMETHING", None, vec![])],
        ),
        base(
            "SCMP_ACT_ALLOW",
            vec![rule("read", "KILL", None, vec![arg(6, "EQ", 0, 0)])],
        ),
        base(
            "SCMP_ACT_ALLOW",
            vec![rule("read", "KILL", None, vec![arg(0, "IS", 0, 0)])],
        ),
        base(
            "SCMP_ACT_ALLOW",
            vec![rule("brand_new_call", "ERRNO", None, vec![])],
        ),
        base(
            "SCMP_ACT_ALLOW",
            vec![rule("read", "ERRNO", Some(70_000), vec![])],
        ),
    ] {
        assert!(super::compile(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn options_choose_the_filter() {
    let mut security = SecurityOptions::default();
    assert!(
        filter(&security, false, &defaults(), false)
            .unwrap()
            .is_some()
    );
    assert!(
        filter(&security, true, &defaults(), false)
            .unwrap()
            .is_none()
    );
    let length = |security: &SecurityOptions, socketcall| {
        let made = filter(security, false, &defaults(), socketcall).unwrap();
        made.unwrap().program.len()
    };
    let (closed, open) = (length(&security, false), length(&security, true));
    assert!(open < closed, "an image for 32-bit x86 has its socketcall");
    security.seccomp = Some("socketcall".into());
    assert_eq!(length(&security, false), open);
    security.seccomp = Some("unconfined".into());
    assert!(
        filter(&security, false, &defaults(), false)
            .unwrap()
            .is_none()
    );
    security.seccomp = Some("/nonexistent/profile.json".into());
    assert!(filter(&security, false, &defaults(), false).is_err());
}

/// The kernel's own answer: the filter binds one thread, which then makes the calls.
#[cfg(target_arch = "x86_64")]
mod kernel {
    use super::*;
    use crate::sys::seccomp::raw::{call, call32};

    #[test]
    fn the_kernel_answers_as_the_profile_says() {
        let caps = defaults();
        let profile = default_profile(&caps);
        let program = super::super::compile(&profile).unwrap();
        let denied = |abi: Abi| -> Vec<(u32, i32)> {
            (0..480)
                .filter_map(|nr| {
                    let call = Call {
                        arch: audit(abi),
                        nr,
                        args: [0; 6],
                    };
                    let answer = naive(&profile, Machine::X86_64, &call);
                    let errno = (answer & libc::SECCOMP_RET_DATA) as i32;
                    (answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO)
                        .then_some((nr, errno))
                })
                .collect()
        };
        let (long, short) = (denied(Abi::X86_64), denied(Abi::I386));
        assert!(long.len() > 80 && short.len() > 80);
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            crate::sys::seccomp::load(&program, 0).unwrap();
            for (nr, errno) in long {
                assert_eq!(call(i64::from(nr), 0, 0, 0), errno, "call {nr}");
            }
            for (nr, errno) in short {
                assert_eq!(call32(nr, 0), -errno, "32-bit call {nr}");
            }
            let family = |domain: i64| call(libc::SYS_socket, domain, 5, 0);
            for high in [0, 1 << 32, 1 << 62] {
                assert_eq!(family(38 | high), libc::EAFNOSUPPORT);
                assert_eq!(family(40 | high), libc::EAFNOSUPPORT);
            }
            assert_eq!(call(libc::SYS_socket, 16, 3, 9), libc::EINVAL);
            assert_eq!(call(libc::SYS_clone, 0x1000_0000, 0, 0), libc::EPERM);
            assert_eq!(call(libc::SYS_personality, 4, 0, 0), libc::EPERM);
            assert_eq!(call(libc::SYS_personality, 0xFFFF_FFFF, 0, 0), 0);
            assert_eq!(call(0x4000_0000 | 39, 0, 0, 0), libc::ENOSYS);
            assert_eq!(call(500, 0, 0, 0), libc::ENOSYS);
            assert_eq!(call32(102, 1), -libc::ENOSYS, "socketcall(socket)");
            // What programs need goes through: threads, files, sockets, time.
            std::fs::read_dir("/proc/self").unwrap().count();
            std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::os::unix::net::UnixStream::pair().unwrap();
            assert!(call32(20, 0) > 0, "getpid through the 32-bit entry");
            std::thread::spawn(|| ()).join().unwrap();
            std::process::Command::new("true")
                .status()
                .unwrap()
                .success()
        });
        assert!(thread.join().unwrap());
    }
}
