/* What a hostile program in a container tries. One word says what; one line says what came of it.
 *
 * A call's outcome is printed as `name: ok` or `name: ERRNO`. Statically linked, so that it runs in
 * any root file system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *name, long result) {
    printf("%s: %s\n", name, result >= 0 ? "ok" : strerrorname_np(errno));
    fflush(stdout);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

#ifdef __x86_64__
/* A call by the entry point of 32-bit programs; pointers must be below 4 GiB. */
static long int80(long nr, long a, long b, long c, long d, long e) {
    long r;
    register long r_d __asm__("rsi") = d;
    register long r_e __asm__("rdi") = e;
    __asm__ volatile("int $0x80"
                     : "=a"(r)
                     : "a"(nr), "b"(a), "c"(b), "d"(c), "r"(r_d), "r"(r_e)
                     : "memory", "r8", "r9", "r10", "r11");
    int small = (int)r;
    if (small < 0 && small > -4096) {
        errno = -small;
        return -1;
    }
    return (unsigned)r;
}
#endif

/* Calls that the built-in filter decides about. */
static int calls(void) {
    char page[4096];
    say("socket(AF_ALG)", socket(38, SOCK_SEQPACKET, 0));
    say("socket(AF_ALG, high bits)", syscall(SYS_socket, 0x100000026UL, SOCK_SEQPACKET, 0));
    say("socket(AF_VSOCK)", socket(40, SOCK_STREAM, 0));
    say("socket(AF_INET)", socket(AF_INET, SOCK_STREAM, 0));
    say("socket(AF_NETLINK, AUDIT)", socket(AF_NETLINK, SOCK_RAW, 9));
#ifdef __x86_64__
    unsigned *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    low[0] = 38, low[1] = SOCK_SEQPACKET, low[2] = 0;
    say("i386 socketcall(socket, AF_ALG)", int80(102, 1, (long)low, 0, 0, 0));
    low[0] = AF_INET, low[1] = SOCK_STREAM;
    say("i386 socketcall(socket, AF_INET)", int80(102, 1, (long)low, 0, 0, 0));
    say("i386 socketcall(socket, high bits)", int80(102, 0x100000001, (long)low, 0, 0, 0));
    low[0] = AF_UNIX, low[1] = SOCK_STREAM, low[3] = 0;
    low[3] = (unsigned)(long)(low + 8);
    say("i386 socketcall(socketpair)", int80(102, 8, (long)low, 0, 0, 0));
    say("i386 socket(AF_ALG)", int80(359, 38, SOCK_SEQPACKET, 0, 0, 0));
    say("i386 socket(AF_INET)", int80(359, AF_INET, SOCK_STREAM, 0, 0, 0));
    say("i386 unshare", int80(310, CLONE_NEWUSER, 0, 0, 0, 0));
    say("i386 keyctl", int80(288, 0, 0, 0, 0, 0));
    say("i386 io_uring_setup", int80(425, 1, (long)low, 0, 0, 0));
    say("i386 bpf", int80(357, 0, (long)low, 0, 0, 0));
    say("x32 unshare", syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER));
#endif
    say("unshare(NEWUSER)", syscall(SYS_unshare, CLONE_NEWUSER));
    say("unshare(NEWNS)", syscall(SYS_unshare, CLONE_NEWNS));
    say("clone3(NEWUSER)", syscall(SYS_clone3, memset(page, 0, 88), 88));
    long born = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (born == 0)
        _exit(0);
    say("clone(NEWUSER)", born);
    say("setns", syscall(SYS_setns, 0, 0));
    say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    say("umount", umount("/proc"));
    say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    say("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 0));
    say("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    memset(page, 0, sizeof page);
    say("io_uring_setup", syscall(SYS_io_uring_setup, 1, page));
    say("userfaultfd", syscall(SYS_userfaultfd, 0));
    say("bpf", syscall(SYS_bpf, 0, page, 0));
    say("perf_event_open", syscall(SYS_perf_event_open, page, 0, -1, -1, 0));
    say("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    say("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    say("request_key", syscall(SYS_request_key, "user", "x", NULL, -3));
    say("personality(ADDR_NO_RANDOMIZE)", syscall(SYS_personality, 0x0040000));
    say("personality(READ_IMPLIES_EXEC)", syscall(SYS_personality, 0x0400000));
    say("personality(ask)", syscall(SYS_personality, 0xffffffff));
    say("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    say("init_module", syscall(SYS_init_module, page, 0, ""));
    say("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, page, 0));
    say("syslog", syscall(SYS_syslog, 3, page, sizeof page));
    say("swapon", syscall(SYS_swapon, "/x", 0));
    say("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    say("acct", syscall(SYS_acct, "/x"));
    say("unknown call", syscall(9999));
    return 0;
}

/* The kinds of open descriptors above the standard ones, and the names of all keyrings seen. */
static int descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char target[4096];
        int fd = atoi(e->d_name);
        ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
        if (e->d_name[0] == '.' || fd == dirfd(dir) || fd < 3 || n < 0)
            continue;
        target[n] = 0;
        printf("%d: %s\n", fd, target);
    }
    return 0;
}

/* For SECONDS: whenever a process that is not ours shows up, tries to trace it, to write to its
 * program and its memory, to read its environment and its directories. Prints what worked on one
 * whose program is not of this root. */
static int hunt(double seconds) {
    double end = now() + seconds;
    long tries = 0;
    pid_t own = getpid();
    struct stat mine, other;
    stat("/bin/busybox", &mine);
    stat("/proc/self/exe", &other);
    ino_t self_ino = other.st_ino;
    while (now() < end) {
        for (int pid = 2; pid < 400; pid++) {
            char path[64];
            if (pid == own || kill(pid, 0) < 0)
                continue;
            tries++;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd >= 0 && fstat(fd, &other) == 0 && other.st_ino != mine.st_ino
                && other.st_ino != self_ino) {
                char name[4096];
                /* By the descriptor: the process may have ended since. */
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                ssize_t n = readlink(path, name, sizeof name - 1);
                name[n > 0 ? n : 0] = 0;
                printf("opened a program of outside: %s\n", name);
                if (open(path, O_WRONLY) >= 0)
                    printf("and for writing\n");
            }
            if (fd >= 0) {
                close(fd);
                /* Past its execve: a process of the container like others. */
                continue;
            }
            const char *parts[] = {"mem", "environ", "cwd/.", "root/.", "fd/.", "maps", NULL};
            for (int i = 0; parts[i]; i++) {
                snprintf(path, sizeof path, "/proc/%d/%s", pid, parts[i]);
                int got = open(path, O_RDONLY | O_CLOEXEC);
                if (got < 0)
                    continue;
                char byte;
                /* The files of a process that is ending open, and are empty. */
                int empty = !strchr(parts[i], '.') && read(got, &byte, 1) <= 0;
                close(got);
                if (empty)
                    continue;
                /* It may have become a program of the container in the meantime. */
                snprintf(path, sizeof path, "/proc/%d/exe", pid);
                int exe = open(path, O_RDONLY | O_CLOEXEC);
                if (exe < 0 && errno == EACCES && kill(pid, 0) == 0)
                    printf("opened %s of a process that is not ours\n", parts[i]);
                if (exe >= 0)
                    close(exe);
            }
        }
    }
    printf("tries: %s\n", tries > 0 ? "some" : "none");
    return 0;
}

/* Until the file STOP is there: exchanges A and B over and over. */
static int swap(const char *a, const char *b, const char *stop) {
    unsigned long rounds = 0;
    while (access(stop, F_OK) != 0) {
        for (int i = 0; i < 64; i++)
            if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2) < 0) {
                say("renameat2", -1);
                return 1;
            }
        rounds += 64;
    }
    printf("%lu\n", rounds);
    return 0;
}

/* The session keyring's number. */
static int keyring(void) {
    printf("%ld\n", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    return 0;
}

/* Device nodes, the terminal, the kernel's words. */
static int nodes(void) {
    say("mknod(mem)", mknod("/tmp/mem", S_IFCHR | 0666, makedev(1, 1)));
    say("mknod(sda)", mknod("/tmp/sda", S_IFBLK | 0666, makedev(8, 0)));
    say("open(kmsg)", open("/dev/kmsg", O_RDONLY));
    say("open(mem)", open("/dev/mem", O_RDONLY));
    char byte = 'x';
    say("TIOCSTI", ioctl(0, TIOCSTI, &byte));
    return 0;
}

/* Tries to trace, read and write process PID of the host. */
static int victim(pid_t pid) {
    char path[64];
    const struct { const char *name; int flags; } files[] = {
        {"environ", O_RDONLY}, {"mem", O_RDWR}, {"exe", O_RDONLY}, {"fd/0", O_RDONLY},
        {"cwd/.", O_RDONLY}, {"root/.", O_RDONLY}, {"maps", O_RDONLY},
    };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i].name);
        int fd = open(path, files[i].flags | O_CLOEXEC);
        char byte;
        say(files[i].name, fd < 0 ? fd : strcmp(files[i].name, "environ") ? 0 : read(fd, &byte, 1));
    }
    say("ptrace", ptrace(PTRACE_SEIZE, pid, 0, 0));
    int handle = syscall(SYS_pidfd_open, pid, 0);
    say("pidfd_getfd", handle < 0 ? handle : syscall(SYS_pidfd_getfd, handle, 0, 0));
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "calls"))
        return calls();
    if (!strcmp(what, "descriptors"))
        return descriptors();
    if (!strcmp(what, "hunt") && argc == 3)
        return hunt(atof(argv[2]));
    if (!strcmp(what, "swap") && argc == 5)
        return swap(argv[2], argv[3], argv[4]);
    if (!strcmp(what, "nodes"))
        return nodes();
    if (!strcmp(what, "ids")) {
        printf("%d %d\n", getuid(), geteuid());
        return 0;
    }
    if (!strcmp(what, "keyring"))
        return keyring();
    if (!strcmp(what, "victim") && argc == 3)
        return victim(atoi(argv[2]));
    fprintf(stderr, "usage: probe calls|descriptors|hunt SECONDS|swap A B STOP|nodes|ids|keyring|victim PID\n");
    return 2;
}
