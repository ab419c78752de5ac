//! The built-in profile, versioned with the program.
//!
//! Equal in effect to Docker's and podman's where those agree. Where they differ, the stricter
//! one, after security class K: no mounts and no new namespaces without `CAP_SYS_ADMIN`, no
//! keyrings, no `io_uring`, no `userfaultfd`, no `bpf` and `perf_event_open` without their
//! capability. Beyond both: no sockets of `AF_ALG` and `AF_VSOCK` (CVE-2026-31431), compared as the
//! kernel compares them, in 32 bits. `clone3` says ENOSYS, because its flags are behind a pointer:
//! libraries fall back to `clone`. Calls that are merely unknown say ENOSYS as well.
//!
//! `socketcall` of 32-bit x86 passes the family behind a pointer, where no filter can look. So it
//! makes no sockets (ENOSYS, and programs that know `socket` go on with that one) but in images for
//! 32-bit x86, whose libraries have nothing else, and with `seccomp=socketcall`. Docker closed it
//! for all and took it back (moby/moby#52547); its answer, a rule of AppArmor's, a rootless engine
//! cannot load.

use crate::spec::runtime::{Seccomp, SeccompArg, SeccompRule};

/// Counted up with every change of the lists below.
pub const VERSION: u32 = 2;

/// Allowed to everybody.
const ALLOWED: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64
    arm_sync_file_range bind breakpoint brk cacheflush cachestat capget capset chdir chmod
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
    epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr file_getattr file_setattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
    fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake futimesat get_mempolicy get_robust_list get_thread_area get_tls getcpu getcwd
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr
    link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat lstat64 madvise
    map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod
    mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
    nanosleep newfstatat open openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal
    pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
    preadv2 prlimit64 process_madvise process_mrelease process_vm_readv process_vm_writev
    pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto
    set_mempolicy set_mempolicy_home_node set_robust_list set_thread_area set_tid_address
    set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr
    setxattrat shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal signalfd
    signalfd4 sigpending sigprocmask sigreturn sigsuspend socketpair splice stat
    stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range
    sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
    ugetrlimit umask uname unlink unlinkat uprobe uretprobe utime utimensat utimensat_time64
    utimes vfork wait4 waitid waitpid write writev
";

/// Denied with EPERM whatever the capabilities: old, dangerous, or the host's business.
const DENIED: &str = "
    _sysctl add_key afs_syscall bdflush create_module get_kernel_syms io_uring_enter
    io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages move_pages
    nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname pciconfig_iobase
    pciconfig_read pciconfig_write request_key sgetmask ssetmask swapoff swapon sysfs uselib
    userfaultfd ustat vm86 vm86old vmsplice
";

/// Allowed to those who have one of the capabilities, denied with EPERM to others.
const WITH_CAPABILITY: [(&[&str], &str); 13] = [
    (
        &["CAP_SYS_ADMIN"],
        "fanotify_init fsconfig fsmount fsopen fspick listns lookup_dcookie mount mount_setattr
         move_mount open_tree open_tree_attr pivot_root quotactl quotactl_fd setdomainname
         sethostname setns umount umount2 unshare",
    ),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], "bpf"),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], "perf_event_open"),
    (&["CAP_SYS_ADMIN", "CAP_SYSLOG"], "syslog"),
    (&["CAP_DAC_READ_SEARCH"], "open_by_handle_at"),
    (&["CAP_SYS_BOOT"], "reboot"),
    (&["CAP_SYS_CHROOT"], "chroot"),
    (
        &["CAP_SYS_MODULE"],
        "delete_module finit_module init_module query_module",
    ),
    (&["CAP_SYS_PACCT"], "acct"),
    (&["CAP_SYS_PTRACE"], "kcmp"),
    (&["CAP_SYS_RAWIO"], "ioperm iopl"),
    (
        &["CAP_SYS_TIME"],
        "clock_settime clock_settime64 settimeofday stime",
    ),
    (&["CAP_SYS_TTY_CONFIG"], "vhangup"),
];

/// The `CLONE_NEW*` flags that `clone` takes, without `CLONE_NEWTIME`, whose bit it does not know.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;

/// Address families and a protocol of `AF_NETLINK`.
const AF_NETLINK: u64 = 16;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const NETLINK_AUDIT: u64 = 9;

/// The `socket` of `socketcall`.
const SOCKETCALL_SOCKET: u64 = 1;

/// Personalities that programs use: Linux, 32-bit Linux, and both with the old address layout.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

fn rule(names: &str, action: &str, errno: Option<i32>, args: Vec<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names: names.split_ascii_whitespace().map(str::to_owned).collect(),
        action: action.to_owned(),
        errno_ret: errno.and_then(|e| u32::try_from(e).ok()),
        args,
    }
}

fn allow(names: &str) -> SeccompRule {
    rule(names, "SCMP_ACT_ALLOW", None, Vec::new())
}

fn deny(names: &str, errno: i32) -> SeccompRule {
    rule(names, "SCMP_ACT_ERRNO", Some(errno), Vec::new())
}

fn equal(index: u32, value: u64) -> SeccompArg {
    SeccompArg {
        index,
        value,
        value_two: 0,
        op: "SCMP_CMP_EQ".to_owned(),
    }
}

/// Whether the profile is the same for two bounding sets: most capabilities have no say in it.
pub(super) fn is_same<S: AsRef<str>, T: AsRef<str>>(one: &[S], other: &[T]) -> bool {
    let gates = WITH_CAPABILITY.iter().flat_map(|(caps, _)| caps.iter());
    let mut gates = gates.chain(&["CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"]);
    gates.all(|gate| {
        one.iter().any(|c| c.as_ref() == *gate) == other.iter().any(|c| c.as_ref() == *gate)
    })
}

/// The profile for a container that has `caps` in its bounding set; with `socketcall`, that call
/// makes sockets of every family.
pub(super) fn profile<S: AsRef<str>>(caps: &[S], socketcall: bool) -> Seccomp {
    let has = |wanted: &[&str]| caps.iter().any(|c| wanted.contains(&c.as_ref()));
    let mut rules = vec![allow(ALLOWED), deny(DENIED, libc::EPERM)];
    for (wanted, names) in WITH_CAPABILITY {
        rules.push(if has(wanted) {
            allow(names)
        } else {
            deny(names, libc::EPERM)
        });
    }
    if has(&["CAP_SYS_ADMIN"]) {
        rules.push(allow("clone clone3"));
    } else {
        let no_namespaces = SeccompArg {
            index: 0,
            value: CLONE_NAMESPACES,
            value_two: 0,
            op: "SCMP_CMP_MASKED_EQ".to_owned(),
        };
        rules.push(rule("clone", "SCMP_ACT_ALLOW", None, vec![no_namespaces]));
        rules.push(deny("clone", libc::EPERM));
        rules.push(deny("clone3", libc::ENOSYS));
    }
    for personality in PERSONALITIES {
        let args = vec![equal(0, personality)];
        rules.push(rule("personality", "SCMP_ACT_ALLOW", None, args));
    }
    rules.push(deny("personality", libc::EPERM));
    let refused = Some(libc::EAFNOSUPPORT);
    for family in [AF_ALG, AF_VSOCK] {
        rules.push(rule(
            "socket",
            "SCMP_ACT_ERRNO",
            refused,
            vec![equal(0, family)],
        ));
    }
    if !has(&["CAP_AUDIT_WRITE"]) {
        let audit = vec![equal(0, AF_NETLINK), equal(2, NETLINK_AUDIT)];
        rules.push(rule("socket", "SCMP_ACT_ERRNO", Some(libc::EINVAL), audit));
    }
    if !socketcall {
        rules.push(rule(
            "socketcall",
            "SCMP_ACT_ERRNO",
            Some(libc::ENOSYS),
            vec![equal(0, SOCKETCALL_SOCKET)],
        ));
    }
    rules.push(allow("socket socketcall"));
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: u32::try_from(libc::ENOSYS).ok(),
        architectures: [
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM",
        ]
        .iter()
        .map(|a| (*a).to_owned())
        .collect(),
        syscalls: rules,
        ..Seccomp::default()
    }
}
