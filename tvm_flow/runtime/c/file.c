// Files and memory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

enum { HUGE_PAGE = 1 << 21 };

// Does not wait at a pipe without a writer, as opening one otherwise does.
int tvmf_file_regular(const char* path, const char** why) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat found;
  *why = strerror(errno);
  if (file < 0) return -1;
  if (!fstat(file, &found) && S_ISREG(found.st_mode)) return file;
  close(file);
  *why = "it is not a file";
  return -1;
}

int tvmf_file_open(const char* path) {
  const char* why;
  int file = tvmf_file_regular(path, &why);
  if (file < 0)
    tvmf_fail(TVMF_BUNDLE, "cannot read %s: %s. Fix: copy the bundle again, or compile it again",
              path, why);
  return file;
}

const char* tvmf_file_read(int file, void* to, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    ssize_t count = pread(file, (char*)to + at, bytes - at, (off_t)at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count ? strerror(errno) : "it ends early";
    at += (size_t)count;
  }
  return NULL;
}

int tvmf_file_content(int file, const char* path, Content* content) {
  *content = (Content){0};
  off_t size = lseek(file, 0, SEEK_END);
  if (size < 0) return tvmf_fail(TVMF_BUNDLE, "cannot read %s: %s", path, strerror(errno));
  if (!size) return TVMF_OK;
  size_t bytes = (size_t)size;
  void* memory = tvmf_memory(bytes);
  if (!memory)
    return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for %s: %zu bytes", path, bytes);
  *content = (Content){memory, bytes, memory, bytes};
  const char* why = tvmf_file_read(file, memory, bytes);
  if (!why) return TVMF_OK;
  tvmf_content_free(content);
  return tvmf_fail(TVMF_BUNDLE, "cannot read %s: %s. Fix: copy the bundle again", path, why);
}

int tvmf_file_map(int file, const char* path, Content* content) {
  struct stat found;
  if (fstat(file, &found) || found.st_size < 0)
    return tvmf_fail(TVMF_BUNDLE, "cannot read %s: %s", path, strerror(errno));
  size_t bytes = (size_t)found.st_size;
  *content = (Content){.bytes = bytes, .mapping_bytes = bytes};
  if (!bytes) return TVMF_OK;
  void* mapping = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (mapping == MAP_FAILED)
    return tvmf_fail(TVMF_ENVIRONMENT, "cannot map the %zu bytes of %s: %s", bytes, path,
                     strerror(errno));
  content->data = content->mapping = mapping;
  return TVMF_OK;
}

bool tvmf_huge_pages(void) {
  char modes[64] = "";
  int file = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t count = read(file, modes, sizeof modes - 1);
  close(file);
  return count > 0 && !strstr(modes, "[never]");
}

static char* huge_memory(size_t bytes, const char* path, Content* content) {
  size_t total = bytes + HUGE_PAGE;
  char* mapping = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for %s: %zu bytes", path, total);
    return NULL;
  }
  char* start = mapping + (-(uintptr_t)mapping & (HUGE_PAGE - 1));
  *content = (Content){start, bytes, mapping, total};
  // What does not fill a huge page is left in small ones: it would take up to 2 MiB more. A kernel
  // without huge pages refuses, which does no harm.
  madvise(start, bytes & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE);
  return start;
}

int tvmf_file_read_huge(int file, const char* path, uint64_t bytes, Content* content) {
  char* start = huge_memory((size_t)bytes, path, content);
  if (!start) return TVMF_ENVIRONMENT;
  const char* why = tvmf_file_read(file, start, (size_t)bytes);
  if (why) return tvmf_fail(TVMF_BUNDLE, "cannot read %s: %s", path, why);
  mprotect(content->mapping, content->mapping_bytes, PROT_READ);
  return TVMF_OK;
}

int tvmf_copy_huge(const void* data, size_t bytes, const char* path, Content* content) {
  char* start = huge_memory(bytes, path, content);
  if (!start) return TVMF_ENVIRONMENT;
  memcpy(start, data, bytes);
  mprotect(content->mapping, content->mapping_bytes, PROT_READ);
  return TVMF_OK;
}

// A file without a name, for what is only in memory.
int tvmf_file_from_memory(const void* data, size_t bytes) {
  char name[] = "/tmp/tvm_flow_XXXXXX";
  int file = (int)syscall(SYS_memfd_create, "tvm_flow", 1u /* MFD_CLOEXEC */);
  if (file < 0 && (file = mkostemp(name, O_CLOEXEC)) >= 0) unlink(name);
  for (size_t at = 0; file >= 0 && at < bytes;) {
    ssize_t count = write(file, (const char*)data + at, bytes - at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      tvmf_fail(TVMF_ENVIRONMENT, "cannot write a file of code: %s", strerror(errno));
      close(file);
      return -1;
    }
    at += (size_t)count;
  }
  if (file < 0) tvmf_fail(TVMF_ENVIRONMENT, "cannot make a file of code: %s", strerror(errno));
  return file;
}

void tvmf_content_free(Content* content) {
  if (content->mapping) munmap(content->mapping, content->mapping_bytes);
  *content = (Content){0};
}

void* tvmf_memory(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

void tvmf_memory_free(void* memory, size_t bytes) {
  if (memory) munmap(memory, bytes);
}
