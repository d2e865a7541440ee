/* A disk that fails when the test says so, for a server that is started with this library preloaded.
 *
 *     cc -shared -fPIC -O1 -o failing_io.so failing_io.c -ldl
 *     LD_PRELOAD=./failing_io.so STRATA_FAIL_PATH=/some/tier STRATA_FAIL_CALLS=write,pwrite,fsync \
 *         STRATA_FAIL_ERRNO=ENOSPC STRATA_FAIL_SWITCH=/some/switch strata ...
 *
 * STRATA_FAIL_PATH    calls on files whose path holds this text fail
 * STRATA_FAIL_CALLS   which calls, below, or "all"
 * STRATA_FAIL_ERRNO   EIO (the default), ENOSPC, EROFS, EACCES, EMFILE, EDQUOT
 * STRATA_FAIL_SWITCH  they fail while this file is there; without it always. What is in the file, if anything,
 *                     takes the place of the three above: "CALLS [ERRNO [PATH]]"
 * STRATA_FAIL_SLOW_MS they take so long first
 *
 * Calls: open (every one), create (an open that may make the file), read (and readv), pread, write (and writev),
 * pwrite, fsync, fdatasync, rename, link, unlink (and rmdir), mkdir, truncate, allocate, list (opendir), copy.
 *
 * "full" is what a full disk refuses: create, write, pwrite, rename, link, mkdir, allocate, copy, and truncate.
 * A write that fails writes nothing, though a real disk may take a part of it. With ENOSPC what lies in blocks that the
 * file has already is written, as it is on a real one.
 *
 * Only what goes through the C library is seen. rustix makes its system calls itself, so the rename at the end of
 * tempfile's `persist`, and with it that of a generation's `current`, is not; its file's open and write are.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULE_BYTES 4096

/* Taken out of the environment at the start: the server warns of variables STRATA_* that it does not know. */
static const char *fail_calls, *fail_errno, *fail_path, *fail_switch;
static long fail_slow_ms;

static const char *take(const char *name) {
    const char *value = getenv(name);
    char *copy = value && *value ? strdup(value) : NULL;
    unsetenv(name);
    return copy;
}

__attribute__((constructor)) static void take_all(void) {
    fail_calls = take("STRATA_FAIL_CALLS");
    fail_errno = take("STRATA_FAIL_ERRNO");
    fail_path = take("STRATA_FAIL_PATH");
    fail_switch = take("STRATA_FAIL_SWITCH");
    const char *slow = take("STRATA_FAIL_SLOW_MS");
    fail_slow_ms = slow ? atol(slow) : 0;
}

struct rule {
    char text[RULE_BYTES];
    const char *calls, *number, *path;
};

/* What fails now. False if nothing does. */
static int read_rule(struct rule *rule) {
    rule->calls = fail_calls ? fail_calls : "all";
    rule->number = fail_errno ? fail_errno : "EIO";
    rule->path = fail_path;
    if (fail_switch) {
        /* Not by the functions of the C library, which are ours. */
        int fd = (int)syscall(SYS_openat, AT_FDCWD, fail_switch, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return 0;
        long length = syscall(SYS_read, fd, rule->text, RULE_BYTES - 1);
        syscall(SYS_close, fd);
        if (length < 0) return 0;
        rule->text[length] = 0;
        char *rest = NULL, *word;
        if ((word = strtok_r(rule->text, " \n", &rest))) rule->calls = word;
        if ((word = strtok_r(NULL, " \n", &rest))) rule->number = word;
        if ((word = strtok_r(NULL, " \n", &rest))) rule->path = word;
    }
    return rule->path != NULL;
}

static int holds(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length) {
        int starts = at == list || at[-1] == ',';
        int ends = at[length] == 0 || at[length] == ',';
        if (starts && ends) return 1;
    }
    return 0;
}

static int names(const char *calls, const char *call) {
    static const char full[] = "create,write,pwrite,rename,link,mkdir,allocate,copy,truncate";
    return holds(calls, "all") || holds(calls, call) || (holds(calls, "full") && holds(full, call));
}

static int number_of(const char *name) {
    static const struct { const char *name; int number; } known[] = {
        {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"EDQUOT", EDQUOT},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) return known[i].number;
    return EIO;
}

static void wait_first(void) {
    struct timespec time = {fail_slow_ms / 1000, fail_slow_ms % 1000 * 1000000};
    if (fail_slow_ms > 0) nanosleep(&time, NULL);
}

/* Whether the call fails; then errno is set. */
static int fails_at(const char *path, const char *call) {
    int before = errno;
    struct rule rule;
    if (!path || !read_rule(&rule) || !names(rule.calls, call) || !strstr(path, rule.path)) {
        errno = before;
        return 0;
    }
    wait_first();
    errno = number_of(rule.number);
    return 1;
}

/* The path of a file that is open, whoever opened it. */
static const char *path_of(int fd, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, name, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return path;
}

static int fails(int fd, const char *call) {
    int before = errno;
    struct rule rule;
    char path[PATH_MAX];
    /* The link of every read of a socket would be read, were the rule not looked at first. */
    int can = read_rule(&rule) && names(rule.calls, call);
    const char *found = can ? path_of(fd, path) : NULL;
    errno = before;
    return found && fails_at(found, call);
}

/* Whether a file has blocks up to there: then a full disk takes the write. */
static int has_blocks(int fd, off64_t end) {
    struct stat found;
    int before = errno;
    int has = fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && end <= (off64_t)found.st_blocks * 512;
    errno = before;
    return has;
}

/* A write of so many bytes; `at` is negative where it goes on behind the last one. */
static int write_fails(int fd, const char *call, size_t count, off64_t at) {
    if (!fails(fd, call)) return 0;
    if (errno != ENOSPC) return 1;
    int append = fcntl(fd, F_GETFL) & O_APPEND;
    off64_t from = at >= 0 ? at : lseek64(fd, 0, append ? SEEK_END : SEEK_CUR);
    if (has_blocks(fd, from + (off64_t)count)) return 0;
    errno = ENOSPC;
    return 1;
}

static size_t length_of(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    return length;
}

/* A path below a directory that is open. */
static int fails_below(int dir, const char *path, const char *call) {
    if (path && (path[0] == '/' || dir == AT_FDCWD)) return fails_at(path, call);
    char whole[2 * PATH_MAX], parent[PATH_MAX];
    int before = errno;
    const char *found = path_of(dir, parent);
    errno = before;
    if (!found || !path) return 0;
    snprintf(whole, sizeof whole, "%s/%s", found, path);
    return fails_at(whole, call);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define MODE(flags, last)                        \
    mode_t mode = 0;                             \
    if ((flags) & (O_CREAT | O_TMPFILE)) {       \
        va_list list;                            \
        va_start(list, last);                    \
        mode = (mode_t)va_arg(list, unsigned);   \
        va_end(list);                            \
    }

/* Making a file needs room, opening one does not. */
static int open_fails(int dir, const char *path, int flags) {
    int makes = (flags & O_CREAT) && syscall(SYS_faccessat, dir, path, F_OK) != 0;
    if (makes && fails_below(dir, path, "create")) return 1;
    return fails_below(dir, path, "open");
}

#define OPEN(name)                                       \
    int name(const char *path, int flags, ...) {         \
        MODE(flags, flags)                               \
        if (open_fails(AT_FDCWD, path, flags)) return -1; \
        return REAL(name)(path, flags, mode);            \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                     \
    int name(int dir, const char *path, int flags, ...) { \
        MODE(flags, flags)                               \
        if (open_fails(dir, path, flags)) return -1;     \
        return REAL(name)(dir, path, flags, mode);       \
    }
OPENAT(openat)
OPENAT(openat64)

/* Calls on an open file. */
#define ON_FILE(type, name, call, params, args)      \
    type name params {                               \
        if (fails(fd, call)) return (type)-1;        \
        return REAL(name) args;                      \
    }
ON_FILE(ssize_t, read, "read", (int fd, void *to, size_t count), (fd, to, count))
ON_FILE(ssize_t, readv, "read", (int fd, const struct iovec *to, int count), (fd, to, count))
ON_FILE(ssize_t, pread, "pread", (int fd, void *to, size_t count, off_t at), (fd, to, count, at))
ON_FILE(ssize_t, pread64, "pread", (int fd, void *to, size_t count, off64_t at), (fd, to, count, at))
ON_FILE(ssize_t, preadv, "pread", (int fd, const struct iovec *to, int count, off_t at), (fd, to, count, at))
ON_FILE(ssize_t, preadv64, "pread", (int fd, const struct iovec *to, int count, off64_t at), (fd, to, count, at))
ON_FILE(int, fsync, "fsync", (int fd), (fd))
ON_FILE(int, fdatasync, "fdatasync", (int fd), (fd))
ON_FILE(int, ftruncate, "truncate", (int fd, off_t length), (fd, length))
ON_FILE(int, ftruncate64, "truncate", (int fd, off64_t length), (fd, length))
ON_FILE(int, fallocate, "allocate", (int fd, int mode, off_t at, off_t length), (fd, mode, at, length))
ON_FILE(int, fallocate64, "allocate", (int fd, int mode, off64_t at, off64_t length), (fd, mode, at, length))

#define WRITES(name, call, params, length, at, args)                  \
    ssize_t name params {                                              \
        if (write_fails(fd, call, length, at)) return -1;              \
        return REAL(name) args;                                        \
    }
WRITES(write, "write", (int fd, const void *from, size_t count), count, -1, (fd, from, count))
WRITES(writev, "write", (int fd, const struct iovec *from, int count), length_of(from, count), -1, (fd, from, count))
WRITES(pwrite, "pwrite", (int fd, const void *from, size_t count, off_t at), count, at, (fd, from, count, at))
WRITES(pwrite64, "pwrite", (int fd, const void *from, size_t count, off64_t at), count, at, (fd, from, count, at))
WRITES(pwritev, "pwrite", (int fd, const struct iovec *from, int count, off_t at), length_of(from, count), at,
       (fd, from, count, at))
WRITES(pwritev64, "pwrite", (int fd, const struct iovec *from, int count, off64_t at), length_of(from, count), at,
       (fd, from, count, at))

/* These two give the error itself. */
int posix_fallocate(int fd, off_t at, off_t length) {
    return fails(fd, "allocate") ? errno : REAL(posix_fallocate)(fd, at, length);
}
int posix_fallocate64(int fd, off64_t at, off64_t length) {
    return fails(fd, "allocate") ? errno : REAL(posix_fallocate64)(fd, at, length);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    if (fails(from, "read") || fails(to, "copy")) return -1;
    return REAL(copy_file_range)(from, from_at, to, to_at, count, flags);
}

/* Calls on paths. */
#define ON_PATH(name, call, params, args)        \
    int name params {                            \
        if (fails_at(path, call)) return -1;     \
        return REAL(name) args;                  \
    }
ON_PATH(unlink, "unlink", (const char *path), (path))
ON_PATH(rmdir, "unlink", (const char *path), (path))
ON_PATH(truncate, "truncate", (const char *path, off_t length), (path, length))
ON_PATH(truncate64, "truncate", (const char *path, off64_t length), (path, length))

int unlinkat(int dir, const char *path, int flags) {
    return fails_below(dir, path, "unlink") ? -1 : REAL(unlinkat)(dir, path, flags);
}
/* A directory that exists is told of before anything else is looked at. */
static int exists_below(int dir, const char *path) {
    return syscall(SYS_faccessat, dir, path, F_OK) == 0;
}
int mkdir(const char *path, mode_t mode) {
    return !exists_below(AT_FDCWD, path) && fails_at(path, "mkdir") ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int dir, const char *path, mode_t mode) {
    return !exists_below(dir, path) && fails_below(dir, path, "mkdir") ? -1 : REAL(mkdirat)(dir, path, mode);
}

int rename(const char *from, const char *to) {
    return fails_at(from, "rename") || fails_at(to, "rename") ? -1 : REAL(rename)(from, to);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    if (fails_below(from_dir, from, "rename") || fails_below(to_dir, to, "rename")) return -1;
    return REAL(renameat)(from_dir, from, to_dir, to);
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    if (fails_below(from_dir, from, "rename") || fails_below(to_dir, to, "rename")) return -1;
    return REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to) {
    return fails_at(to, "link") ? -1 : REAL(link)(from, to);
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    return fails_below(to_dir, to, "link") ? -1 : REAL(linkat)(from_dir, from, to_dir, to, flags);
}

DIR *opendir(const char *path) {
    return fails_at(path, "list") ? NULL : REAL(opendir)(path);
}
