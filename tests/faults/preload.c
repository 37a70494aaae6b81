/* Stands before libc's functions that change files, counts those below one folder, and lets one of
   them fail or be the last. Tensors are written from Rust and tables from C++: they call these too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST_FILES = 4096 };
static char folder[PATH_MAX];
static int log_to = -1;
static long counted, kill_before, kill_after, fail_at, fail_last;
static int error_number;
static long long room = -1; /* bytes that are left on a disk of that size; -1: no limit */
static unsigned char is_ours[MOST_FILES];

/* Called in the child: what happens below `where` from now on. */
void faults_arm(const char *where, long before, long after, long first, long last, int number,
                long long bytes, const char *log) {
  snprintf(folder, sizeof folder, "%s", where);
  memset(is_ours, 0, sizeof is_ours);
  counted = 0, kill_before = before, kill_after = after, fail_at = first, fail_last = last;
  error_number = number, room = bytes;
  if (log && *log) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    log_to = fcntl(real(log, O_WRONLY | O_CREAT | O_APPEND, 0600), F_DUPFD, 900);
  }
}

static int below(int at, const char *path) {
  char full[2 * PATH_MAX], base[PATH_MAX], link[64];
  if (!*folder || !path) return 0;
  if (*path == '/') return !strncmp(path, folder, strlen(folder)) && !strstr(path, "/.child.");
  if (at == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0) return 0;
    base[size] = 0;
  }
  snprintf(full, sizeof full, "%s/%s", base, path);
  return !strncmp(full, folder, strlen(folder));
}

/* 0: go on; otherwise the call fails, with errno set. */
static int strike(const char *what, const char *path) {
  counted++;
  if (log_to >= 0) dprintf(log_to, "%ld %s %s\n", counted, what, path ? path : "");
  if (counted == kill_before) kill(getpid(), SIGKILL);
  if (fail_at && counted >= fail_at && counted <= fail_last) {
    errno = error_number;
    return 1;
  }
  return 0;
}

static void done(void) {
  if (counted == kill_after) kill(getpid(), SIGKILL);
}

static void mark(int fd, int ours) {
  if (fd >= 0 && fd < MOST_FILES) is_ours[fd] = ours;
}

static int marked(int fd) { return *folder && fd >= 0 && fd < MOST_FILES && is_ours[fd]; }

static long long size_at(const char *path) {
  struct stat facts;
  return lstat(path, &facts) || !S_ISREG(facts.st_mode) || facts.st_nlink > 1 ? 0 : facts.st_size;
}

static int any_open(const char *name, int at, const char *path, int flags, mode_t mode) {
  int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, name);
  int ours = (flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(at, path);
  if (ours && strike("open", path)) return -1;
  if (ours && room >= 0 && (flags & O_TRUNC)) room += size_at(path);
  int fd = real(at, path, flags, mode);
  mark(fd, ours);
  if (ours) done();
  return fd;
}

#define MODE_OF(flags)                        \
  mode_t mode = 0;                            \
  if (flags & (O_CREAT | O_TMPFILE)) {        \
    va_list more;                             \
    va_start(more, flags);                    \
    mode = va_arg(more, mode_t);              \
    va_end(more);                             \
  }

int open(const char *path, int flags, ...) { MODE_OF(flags) return any_open("openat", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return any_open("openat64", AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags) return any_open("openat", at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags) return any_open("openat64", at, path, flags, mode); }

int close(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "close");
  mark(fd, 0);
  return real(fd);
}

/* How much of a write fits: -1 where nothing does. */
static ssize_t fits(size_t size) {
  if (room < 0) return size;
  if (room == 0 && size > 0) { errno = ENOSPC; return -1; }
  if ((long long)size > room) size = room;
  room -= size;
  return size;
}

ssize_t write(int fd, const void *bytes, size_t size) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (!marked(fd)) return real(fd, bytes, size);
  if (strike("write", "")) return -1;
  ssize_t part = fits(size);
  if (part < 0) return -1;
  /* A process that ends in the middle of a write leaves a part of it. */
  if (counted == kill_after && part > 1) part /= 2;
  ssize_t written = real(fd, bytes, part);
  done();
  return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
  ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  if (!marked(fd)) return real(fd, bytes, size, at);
  if (strike("pwrite", "")) return -1;
  ssize_t part = fits(size);
  if (part < 0) return -1;
  ssize_t written = real(fd, bytes, part, at);
  done();
  return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
  if (!marked(fd)) return real(fd, parts, count);
  if (strike("writev", "")) return -1;
  size_t size = 0;
  for (int i = 0; i < count; i++) size += parts[i].iov_len;
  if (room >= 0 && (long long)size > room) { room = 0; errno = ENOSPC; return -1; }
  if (room >= 0) room -= size;
  ssize_t written = real(fd, parts, count);
  done();
  return written;
}

#define ON_A_FILE(name, what)                                   \
  int name(int fd) {                                            \
    int (*real)(int) = dlsym(RTLD_NEXT, #name);                 \
    if (!marked(fd)) return real(fd);                           \
    if (strike(what, "")) return -1;                            \
    int result = real(fd);                                      \
    done();                                                     \
    return result;                                              \
  }
ON_A_FILE(fsync, "fsync")
ON_A_FILE(fdatasync, "fsync")

int ftruncate64(int fd, off64_t size) {
  int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
  if (!marked(fd)) return real(fd, size);
  if (strike("truncate", "")) return -1;
  int result = real(fd, size);
  done();
  return result;
}

#define ON_A_PATH(name, what, arguments, at, path, call)        \
  int name arguments {                                          \
    int ours = below(at, path);                                 \
    if (ours && strike(what, path)) return -1;                  \
    long long freed = ours && room >= 0 ? size_at(path) : 0;    \
    int result = call;                                          \
    if (ours && !result && *what == 'u') room += freed;         \
    if (ours) done();                                           \
    return result;                                              \
  }
#define REAL(name, ...) ((int (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
ON_A_PATH(unlink, "unlink", (const char *path), AT_FDCWD, path, REAL(unlink, const char *)(path))
ON_A_PATH(rmdir, "rmdir", (const char *path), AT_FDCWD, path, REAL(rmdir, const char *)(path))
ON_A_PATH(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, path,
          REAL(mkdir, const char *, mode_t)(path, mode))
ON_A_PATH(unlinkat, "unlink", (int at, const char *path, int flags), at, path,
          REAL(unlinkat, int, const char *, int)(at, path, flags))
ON_A_PATH(mkdirat, "mkdir", (int at, const char *path, mode_t mode), at, path,
          REAL(mkdirat, int, const char *, mode_t)(at, path, mode))

static int any_rename(int from_at, const char *from, int to_at, const char *to) {
  int (*real)(int, const char *, int, const char *) = dlsym(RTLD_NEXT, "renameat");
  int ours = below(from_at, from) || below(to_at, to);
  if (ours && strike("rename", to)) return -1;
  long long freed = ours && room >= 0 ? size_at(to) : 0;
  int result = real(from_at, from, to_at, to);
  if (ours && !result && room >= 0) room += freed;
  if (ours) done();
  return result;
}
int rename(const char *from, const char *to) { return any_rename(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int a, const char *from, int b, const char *to) { return any_rename(a, from, b, to); }
