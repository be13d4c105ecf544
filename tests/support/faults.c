/* Fails file calls of a process as a disk would: preloaded into the binary under test, see faults.rs.
 *
 * This file installs a seccomp filter for its own process. The filter catches every call of the kinds below, whichever
 * library makes it. Calls that must not fail are then made from `fault_call`, which the filter lets through. No
 * privileges are needed.
 *
 *   FAULT_DIR    only calls on files below this folder count
 *   FAULT_MATCH  and only if the path contains this (optional)
 *   FAULT_OP     write, sync, rename or open; or fsync: the same as sync, but without sync_file_range
 *   FAULT_AT     the n-th such call fails; 0: none
 *   FAULT_ERRNO  the error of the failed call
 *   FAULT_WHILE  instead: all calls from the n-th on fail while this file exists (optional)
 *   FAULT_LOG    each counted call is written here: "<op> <n> <ok|failed> <path>" (optional)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

long fault_call(long nr, long a, long b, long c, long d, long e, long f);
extern char fault_call_end[];

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
__asm__(".text\n.balign 64\n.globl fault_call\n.type fault_call,@function\nfault_call:\n"
        "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\nmov 8(%rsp),%r9\n"
        "syscall\nret\n.globl fault_call_end\nfault_call_end:\n");
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
__asm__(".text\n.balign 64\n.globl fault_call\n.type fault_call,%function\nfault_call:\n"
        "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nmov x4,x5\nmov x5,x6\nsvc 0\nret\n"
        ".globl fault_call_end\nfault_call_end:\n");
#else
#error "this processor is not known to the fault injector"
#endif

enum { WRITE, SYNC, RENAME, OPEN, KINDS };
static const char *const NAMES[KINDS] = {"write", "sync", "rename", "open"};

/* How a call names its file: `at` is the argument with the folder (or -1), `path` the one with the name (or -1: `at` is
 * the file itself). */
static const struct { int nr, kind, at, path; } CALLS[] = {
    {SYS_write, WRITE, 0, -1}, {SYS_pwrite64, WRITE, 0, -1}, {SYS_writev, WRITE, 0, -1}, {SYS_pwritev, WRITE, 0, -1},
    {SYS_pwritev2, WRITE, 0, -1}, {SYS_ftruncate, WRITE, 0, -1}, {SYS_fallocate, WRITE, 0, -1},
    {SYS_copy_file_range, WRITE, 2, -1}, {SYS_sendfile, WRITE, 0, -1},
    {SYS_fsync, SYNC, 0, -1}, {SYS_fdatasync, SYNC, 0, -1}, {SYS_sync_file_range, SYNC, 0, -1}, {SYS_syncfs, SYNC, 0, -1},
    {SYS_renameat2, RENAME, 2, 3}, {SYS_openat, OPEN, 0, 1}, {SYS_mkdirat, OPEN, 0, 1},
#ifdef SYS_renameat
    {SYS_renameat, RENAME, 2, 3},
#endif
#ifdef SYS_openat2
    {SYS_openat2, OPEN, 0, 1},
#endif
#ifdef SYS_open
    {SYS_open, OPEN, -1, 0}, {SYS_creat, OPEN, -1, 0}, {SYS_mkdir, OPEN, -1, 0}, {SYS_rename, RENAME, -1, 1},
#endif
};
#define COUNT (sizeof CALLS / sizeof *CALLS)

static const char *dir, *match, *holds;
static size_t dir_len;
static int kind = KINDS, ranges = 1, error_number, log_fd = -1;
static long fail_at, counts[KINDS];

static size_t path_of_fd(long fd, char *out, size_t room) {
    char link[40] = "/proc/self/fd/", digits[20];
    size_t n = 0, at = strlen(link);
    if (fd == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else if (fd < 0) return 0;
    else {
        do digits[n++] = '0' + fd % 10; while (fd /= 10);
        while (n) link[at++] = digits[--n];
        link[at] = 0;
    }
    long got = fault_call(SYS_readlinkat, AT_FDCWD, (long)link, (long)out, (long)room - 1, 0, 0);
    if (got < 0) got = 0;
    out[got] = 0;
    return (size_t)got;
}

static void path_of(int call, const long *args, char *out, size_t room) {
    int at = CALLS[call].at, name = CALLS[call].path;
    const char *path = name < 0 ? NULL : (const char *)args[name];
    size_t used = 0;
    if (!path || path[0] != '/') {
        used = path_of_fd(at < 0 ? AT_FDCWD : (int)args[at], out, room);
        if (path && used + 1 < room) out[used++] = '/';
    }
    if (path) {
        size_t length = strlen(path);
        if (length > room - used - 1) length = room - used - 1;
        memcpy(out + used, path, length);
        used += length;
    }
    out[used] = 0;
}

static void note(int what, long n, int failed, const char *path) {
    if (log_fd < 0) return;
    char line[PATH_MAX + 64], digits[20];
    size_t used = 0, count = 0;
    #define ADD(text) do { size_t l = strlen(text); memcpy(line + used, text, l); used += l; } while (0)
    ADD(NAMES[what]); ADD(" ");
    do digits[count++] = '0' + n % 10; while (n /= 10);
    while (count) line[used++] = digits[--count];
    ADD(failed ? " failed " : " ok ");
    ADD(path);
    line[used++] = '\n';
    fault_call(SYS_write, log_fd, (long)line, (long)used, 0, 0, 0);
}

static long decide(long nr, const long *args) {
    for (size_t call = 0; call < COUNT; call++) {
        if (CALLS[call].nr != nr) continue;
        char path[PATH_MAX];
        path_of((int)call, args, path, sizeof path);
        if (strncmp(path, dir, dir_len) || (path[dir_len] && path[dir_len] != '/')) break;
        if (match && !strstr(path, match)) break;
        if (nr == SYS_sync_file_range && !ranges) break;
        int what = CALLS[call].kind;
        long n = __atomic_add_fetch(&counts[what], 1, __ATOMIC_SEQ_CST);
        int fails = what == kind && fail_at > 0 && (holds ? n >= fail_at : n == fail_at);
        if (fails && holds) fails = fault_call(SYS_faccessat, AT_FDCWD, (long)holds, F_OK, 0, 0, 0) == 0;
        note(what, n, fails, path);
        if (fails) return -error_number;
        break;
    }
    return fault_call(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static void on_call(int signal, siginfo_t *info, void *context) {
    (void)signal;
    ucontext_t *user = context;
#if defined(__x86_64__)
    greg_t *regs = user->uc_mcontext.gregs;
    long args[6] = {regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10], regs[REG_R8], regs[REG_R9]};
    regs[REG_RAX] = decide(info->si_syscall, args);
#else
    unsigned long long *regs = user->uc_mcontext.regs;
    long args[6] = {(long)regs[0], (long)regs[1], (long)regs[2], (long)regs[3], (long)regs[4], (long)regs[5]};
    regs[0] = (unsigned long long)decide(info->si_syscall, args);
#endif
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

static void install(void) {
    struct sock_filter filter[12 + 2 * COUNT];
    unsigned short n = 0;
    unsigned long from = (unsigned long)fault_call, to = (unsigned long)fault_call_end;
    filter[n++] = (struct sock_filter)LOAD(arch);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    /* What `fault_call` makes goes through. Both ends have the same upper half: the stub is aligned and short. */
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(from >> 32), 0, 4);
    filter[n++] = (struct sock_filter)LOAD(instruction_pointer);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (unsigned)from, 0, 2);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (unsigned)to, 1, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)LOAD(nr);
    for (size_t call = 0; call < COUNT; call++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)CALLS[call].nr, 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = filter};
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        static const char sorry[] = "the fault injector could not be installed\n";
        (void)!write(2, sorry, sizeof sorry - 1);
        _exit(97);
    }
}

__attribute__((constructor)) static void start(void) {
    dir = getenv("FAULT_DIR");
    const char *op = getenv("FAULT_OP"), *at = getenv("FAULT_AT"), *number = getenv("FAULT_ERRNO");
    const char *log = getenv("FAULT_LOG");
    if (!dir) return;
    dir_len = strlen(dir);
    match = getenv("FAULT_MATCH");
    holds = getenv("FAULT_WHILE");
    for (int i = 0; op && i < KINDS; i++) if (!strcmp(op, NAMES[i])) kind = i;
    if (op && !strcmp(op, "fsync")) { kind = SYNC; ranges = 0; }
    fail_at = at ? atol(at) : 0;
    error_number = number ? atoi(number) : EIO;
    if (log) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
        close(fd);
    }
    install();
}
