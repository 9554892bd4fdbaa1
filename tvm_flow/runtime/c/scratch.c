// Memory that kernels ask for while they run: kept by each thread and used again.
//
// A kernel frees in the reverse order of asking, so that a stack of blocks serves. It grows in the
// first run only; after that nothing is allocated.
#include <stdlib.h>

#include "internal.h"

enum { DEPTH = 64, ALIGNMENT = 64 };

typedef struct {
  void* blocks[DEPTH];
  size_t bytes[DEPTH];
  int used;
} Scratch;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic bool usable;

static void discard(void* memory) {
  Scratch* scratch = memory;
  for (int i = 0; i < DEPTH; i++) free(scratch->blocks[i]);
  free(scratch);
}

static void make_key(void) { usable = !pthread_key_create(&key, discard); }

// The key's destructor is code of this library.
__attribute__((destructor)) static void forget(void) {
  if (!usable) return;
  usable = false;  // threads may still run while the process ends
  Scratch* mine = pthread_getspecific(key);
  if (mine) discard(mine);
  pthread_key_delete(key);
}

static Scratch* scratch_of_thread(void) {
  pthread_once(&once, make_key);
  if (!usable) return NULL;
  Scratch* scratch = pthread_getspecific(key);
  if (scratch || !(scratch = calloc(1, sizeof *scratch))) return scratch;
  if (!pthread_setspecific(key, scratch)) return scratch;
  free(scratch);
  return NULL;
}

void* tvmf_scratch_alloc(int device_type, int device, uint64_t bytes, int type, int bits) {
  (void)device_type, (void)device, (void)type, (void)bits;
  Scratch* scratch = scratch_of_thread();
  if (!scratch || scratch->used == DEPTH || bytes > SIZE_MAX - ALIGNMENT) return NULL;
  int place = scratch->used;
  if (!scratch->blocks[place] || scratch->bytes[place] < bytes) {
    free(scratch->blocks[place]);
    size_t rounded = (size_t)bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    scratch->blocks[place] = aligned_alloc(ALIGNMENT, rounded);
    scratch->bytes[place] = scratch->blocks[place] ? rounded : 0;
  }
  if (scratch->blocks[place]) scratch->used++;
  return scratch->blocks[place];
}

int tvmf_scratch_free(int device_type, int device, void* memory) {
  (void)device_type, (void)device;
  Scratch* scratch = scratch_of_thread();
  if (!scratch || !scratch->used || scratch->blocks[scratch->used - 1] != memory) return -1;
  scratch->used--;
  return 0;
}

void tvmf_scratch_reset(void) {
  Scratch* scratch = scratch_of_thread();
  if (scratch) scratch->used = 0;
}
