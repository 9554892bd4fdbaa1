#define _GNU_SOURCE
#include "faulty.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MOST_MAPPED = 1 << 24, MOST_TRACED = 1 << 14 };

static uint64_t state;

void fuzz_seed(uint64_t seed) { state = seed; }

uint64_t fuzz_random(void) {  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint64_t fuzz_below(uint64_t limit) { return fuzz_random() % limit; }

bool fuzz_faulty;

static bool fails(void) { return fuzz_faulty && !fuzz_below(500); }

// ---- Called by the library

void* fuzz_calloc(size_t count, size_t size) { return fails() ? NULL : calloc(count, size); }

int fuzz_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                        void* argument) {
  return fails() ? EAGAIN : pthread_create(thread, attributes, body, argument);
}

static size_t whole(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// A page that may not be touched follows, so that whoever goes further is found. What a plan asks
// for beyond reason is refused here, since looking at it would take hours.
void* fuzz_mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (fails() || bytes > MOST_MAPPED) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  char* room = mmap(at, whole(bytes) + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return MAP_FAILED;
  return mmap(room, bytes, protection, flags | MAP_FIXED, file, offset);
}

int fuzz_munmap(void* memory, size_t bytes) { return munmap(memory, whole(bytes) + PAGE); }

static const unsigned char *traced, *traced_end;
static size_t trace[2 * MOST_TRACED], trace_count;

void* fuzz_memcpy(void* to, const void* from, size_t bytes) {
  const unsigned char* at = from;
  if (bytes && at >= traced && at < traced_end && trace_count < MOST_TRACED) {
    trace[2 * trace_count] = (size_t)(at - traced);
    trace[2 * trace_count++ + 1] = bytes;
  }
  return memcpy(to, from, bytes);
}

// ---- Called by the fuzzer

void fuzz_trace(const void* data, size_t bytes) {
  traced = data, traced_end = traced + bytes;
  trace_count = 0;
}

size_t fuzz_traced(size_t* pairs, size_t most) {
  size_t count = trace_count < most ? trace_count : most;
  memcpy(pairs, trace, 2 * count * sizeof *pairs);
  traced = traced_end = NULL;
  return count;
}
