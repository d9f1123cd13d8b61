/* Preloaded into a process: counts the calls that change files below a folder, and ends or fails one of them.

   Python, safetensors (Rust) and torch (C++) write by the same few calls of the C library; each is wrapped here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, MAKES = 2, REMOVES = 4, MOVES = 8, SYNCS = 16 };

static char below[PATH_MAX];
static long at, n_calls;
static int error, goes_on, kinds, log_to = -1;

/* From here on: call number `number` of these kinds ends the process (error 0) or fails with `failure`, and with
   `all_after` so does every later one. Number 0 counts alone. Each call is a line in the file `log`. */
void watch_files(const char *folder, long number, int of_kinds, int failure, int all_after, int log) {
    strncpy(below, folder, sizeof below - 1);
    n_calls = 0, at = number, kinds = of_kinds, error = failure, goes_on = all_after, log_to = log;
}

static int is_below(const char *path) {
    size_t n = strlen(below);
    return n && !strncmp(path, below, n) && (path[n] == '/' || !path[n]);
}

static void name_of(int folder, const char *path, char *whole) {
    char link[64];
    ssize_t n = 0;
    if (path[0] == '/') { snprintf(whole, PATH_MAX, "%s", path); return; }
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    n = readlink(link, whole, PATH_MAX - 1);
    whole[n < 0 ? 0 : n] = 0;
    if (path[0]) { strncat(whole, "/", PATH_MAX - strlen(whole) - 1); strncat(whole, path, PATH_MAX - strlen(whole) - 1); }
}

/* Whether this call is to be cut off: 0 no, 1 it is to fail, 2 the process is to end. */
static int is_due(int kind, const char *call, int folder, const char *path) {
    if (!below[0] || !(kinds & kind)) return 0;
    char whole[PATH_MAX];
    int before = errno;
    name_of(folder, path, whole);
    if (!is_below(whole)) { errno = before; return 0; }
    long now = __atomic_add_fetch(&n_calls, 1, __ATOMIC_SEQ_CST);
    if (log_to >= 0) {
        char line[PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%s %s\n", call, whole + strlen(below));
        syscall(SYS_write, log_to, line, n);
    }
    errno = before;
    if (!at || now < at || (now > at && !goes_on)) return 0;
    return error ? 1 : 2;
}

static int end(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    return -1;
}

static int cut_off(int due) {
    if (due == 2) return end();
    errno = error;
    return -1;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define CHECK(kind, folder, path) { int due = is_due(kind, __func__, folder, path); if (due) return cut_off(due); }

static int opens_new(int flags) { return flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE; }

#define OPEN(name, ...)                                                        \
    mode_t mode = 0;                                                           \
    if (opens_new(flags)) {                                                    \
        va_list rest;                                                          \
        va_start(rest, flags), mode = va_arg(rest, mode_t), va_end(rest);      \
    }
#define IS_NEW(folder) if (opens_new(flags)) CHECK(MAKES, folder, path)

int open(const char *path, int flags, ...) { OPEN(open) IS_NEW(AT_FDCWD) return REAL(open)(path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN(open64) IS_NEW(AT_FDCWD) return REAL(open64)(path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) {
    OPEN(openat) IS_NEW(folder) return REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    OPEN(openat64) IS_NEW(folder) return REAL(openat64)(folder, path, flags, mode);
}
static FILE *opened(const char *name, const char *path, const char *how) {
    int due = strpbrk(how, "wa") ? is_due(MAKES, name, AT_FDCWD, path) : 0;
    if (due) { cut_off(due); return NULL; }
    return ((__typeof__(&fopen)) dlsym(RTLD_NEXT, name))(path, how);
}
FILE *fopen(const char *path, const char *how) { return opened("fopen", path, how); }
FILE *fopen64(const char *path, const char *how) { return opened("fopen64", path, how); }

/* Of a write that is cut off, half of its bytes arrive. */
ssize_t write(int file, const void *bytes, size_t n) {
    int due = is_due(WRITES, __func__, file, "");
    if (!due) return REAL(write)(file, bytes, n);
    REAL(write)(file, bytes, n / 2);
    return cut_off(due);
}
ssize_t pwrite(int file, const void *bytes, size_t n, off_t place) {
    CHECK(WRITES, file, "") return REAL(pwrite)(file, bytes, n, place);
}
ssize_t pwrite64(int file, const void *bytes, size_t n, off64_t place) {
    CHECK(WRITES, file, "") return REAL(pwrite64)(file, bytes, n, place);
}
ssize_t writev(int file, const struct iovec *parts, int n) {
    int due = is_due(WRITES, __func__, file, "");
    if (!due) return REAL(writev)(file, parts, n);
    REAL(writev)(file, parts, n / 2);
    return cut_off(due);
}
int ftruncate(int file, off_t n) { CHECK(WRITES, file, "") return REAL(ftruncate)(file, n); }
int ftruncate64(int file, off64_t n) { CHECK(WRITES, file, "") return REAL(ftruncate64)(file, n); }
int fsync(int file) { CHECK(SYNCS, file, "") return REAL(fsync)(file); }
int fdatasync(int file) { CHECK(SYNCS, file, "") return REAL(fdatasync)(file); }
int mkdir(const char *path, mode_t mode) { CHECK(MAKES, AT_FDCWD, path) return REAL(mkdir)(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    CHECK(MAKES, folder, path) return REAL(mkdirat)(folder, path, mode);
}
int rename(const char *from, const char *to) { CHECK(MOVES, AT_FDCWD, to) return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    CHECK(MOVES, b, to) return REAL(renameat)(a, from, b, to);
}
int unlink(const char *path) { CHECK(REMOVES, AT_FDCWD, path) return REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int how) {
    CHECK(REMOVES, folder, path) return REAL(unlinkat)(folder, path, how);
}
int rmdir(const char *path) { CHECK(REMOVES, AT_FDCWD, path) return REAL(rmdir)(path); }
