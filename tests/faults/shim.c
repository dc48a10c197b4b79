/* A library for LD_PRELOAD that lets one system call fail. WB_FAULT is CALL:N:WHAT: the N-th call
 * of CALL (counted from 1 over all threads; "any" counts all of them) gets WHAT, an errno by
 * number; or "short", a write that takes only a part; or before it happens "kill", "term" or
 * "stop": the signal. WB_FAULT_LOG is a file that gets a line with the name of the call that was
 * met; with "any:0:log" of every call. Calls with WB_FAULT_PATH set count only when the path
 * contains it, for calls that name one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char wanted[32];
static long wanted_n;
static int wanted_errno, wanted_short, wanted_signal;
static const char *path_part, *log_path;
static atomic_long seen;

__attribute__((constructor)) static void start(void) {
  const char* text = getenv("WB_FAULT");
  char what[16] = "";
  path_part = getenv("WB_FAULT_PATH");
  log_path = getenv("WB_FAULT_LOG");
  if (text == NULL || sscanf(text, "%31[^:]:%ld:%15s", wanted, &wanted_n, what) != 3) return;
  wanted_short = strcmp(what, "short") == 0;
  if (strcmp(what, "kill") == 0) wanted_signal = SIGKILL;
  if (strcmp(what, "term") == 0) wanted_signal = SIGTERM;
  if (strcmp(what, "stop") == 0) wanted_signal = SIGSTOP;
  wanted_errno = atoi(what);
}

/* Whether this call is the one. */
static int met(const char* call, const char* path) {
  if (strcmp(wanted, "any") != 0 && strcmp(wanted, call) != 0) return 0;
  if (path_part != NULL && path != NULL && strstr(path, path_part) == NULL) return 0;
  if (atomic_fetch_add(&seen, 1) + 1 != wanted_n && wanted_n != 0) return 0;
  if (log_path != NULL) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
      char line[40];
      int length = snprintf(line, sizeof line, "%s\n", call);
      long ignored = syscall(SYS_write, fd, line, (size_t)length);
      (void)ignored;
      syscall(SYS_close, fd);
    }
  }
  if (wanted_n == 0) return 0;
  if (wanted_signal != 0) {
    kill(getpid(), wanted_signal);
    return 0;
  }
  errno = wanted_errno;
  return 1;
}

#define REAL(name)               \
  static __typeof__(name)* real; \
  if (real == NULL) real = (__typeof__(name)*)dlsym(RTLD_NEXT, #name)

int open(const char* path, int flags, ...) {
  REAL(open);
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  return met("open", path) ? -1 : real(path, flags, mode);
}
int fstat(int fd, struct stat* st) {
  REAL(fstat);
  return met("fstat", NULL) ? -1 : real(fd, st);
}
void* mmap(void* at, size_t size, int prot, int flags, int fd, off_t offset) {
  REAL(mmap);
  if (fd < 0) return real(at, size, prot, flags, fd, offset);
  return met("mmap", NULL) ? MAP_FAILED : real(at, size, prot, flags, fd, offset);
}
int mkdir(const char* path, mode_t mode) {
  REAL(mkdir);
  return met("mkdir", path) ? -1 : real(path, mode);
}
int rename(const char* from, const char* to) {
  REAL(rename);
  return met("rename", from) ? -1 : real(from, to);
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
  REAL(fallocate);
  return met("fallocate", NULL) ? -1 : real(fd, mode, offset, size);
}
int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  return met("ftruncate", NULL) ? -1 : real(fd, size);
}
int fsync(int fd) {
  REAL(fsync);
  return met("fsync", NULL) ? -1 : real(fd);
}
int sync_file_range(int fd, off_t offset, off_t size, unsigned flags) {
  REAL(sync_file_range);
  return met("sync_file_range", NULL) ? -1 : real(fd, offset, size, flags);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  REAL(pwrite);
  if (!met("pwrite", NULL)) return real(fd, bytes, size, offset);
  return wanted_short && size > 1 ? real(fd, bytes, size / 2, offset) : wanted_short ? 1 : -1;
}
ssize_t write(int fd, const void* bytes, size_t size) {
  REAL(write);
  if (!met("write", NULL)) return real(fd, bytes, size);
  return wanted_short && size > 1 ? real(fd, bytes, size / 2) : wanted_short ? 1 : -1;
}
int unlink(const char* path) {
  REAL(unlink);
  return met("unlink", path) ? -1 : real(path);
}
int remove(const char* path) {
  REAL(remove);
  return met("remove", path) ? -1 : real(path);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* data) {
  REAL(pthread_create);
  return met("pthread_create", NULL) ? errno : real(thread, attributes, body, data);
}
/* renameat2 is called by its number. */
long syscall(long number, ...) {
  REAL(syscall);
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_renameat2 && met("renameat2", (const char*)a[1])) return -1;
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
/* The N-th allocation of the program. */
void* malloc(size_t size) {
  REAL(malloc);
  if (strcmp(wanted, "malloc") == 0 && met("malloc", NULL)) return NULL;
  return real(size);
}
