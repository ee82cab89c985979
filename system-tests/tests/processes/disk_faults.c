/* Fails writes of the process that it is preloaded into (LD_PRELOAD), to files whose name contains a text.
 *
 * SHOP_TEST_DISK_FAULT names a file. As soon as that exists, it contains `text after errno times`: of the writes and
 * syncs to files whose path contains the text, the first `after` succeed, the next `times` fail with this errno, and
 * the others succeed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char text[64];
static long after, times;
static int code;

/* Whether this call fails; errno is set then. */
static int fails(int fd) {
  char link[64], path[512];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  if (!strstr(path, ".db")) return 0;
  int failed = 0;
  pthread_mutex_lock(&turn);
  if (!code) {
    const char *name = getenv("SHOP_TEST_DISK_FAULT");
    FILE *fault = name ? fopen(name, "r") : NULL;
    if (fault) {
      if (fscanf(fault, "%63s %ld %d %ld", text, &after, &code, &times) != 4) code = 0;
      fclose(fault);
    }
  }
  if (code && strstr(path, text)) {
    if (after > 0) after--;
    else if (times > 0) { times--; failed = 1; }
  }
  pthread_mutex_unlock(&turn);
  if (failed) errno = code;
  return failed;
}

#define WRAPPED(type, name, parameters, arguments)                  \
  type name parameters {                                            \
    static type(*next) parameters;                                  \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);           \
    return fails(fd) ? -1 : next arguments;                         \
  }

WRAPPED(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
WRAPPED(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAPPED(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
WRAPPED(int, fsync, (int fd), (fd))
WRAPPED(int, fdatasync, (int fd), (fd))
WRAPPED(int, ftruncate, (int fd, off_t size), (fd, size))
WRAPPED(int, ftruncate64, (int fd, off64_t size), (fd, size))
