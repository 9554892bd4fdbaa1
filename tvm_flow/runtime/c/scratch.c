// Memory that kernels ask for while they run: kept by each thread and used again, so that nothing is
// allocated after the first run.
#include <stdlib.h>

#include "internal.h"

enum { MOST_BLOCKS = 64, ALIGNMENT = 64 };

typedef struct {
  void* memory;
  size_t bytes;
  bool in_use;
} Block;

typedef struct {
  Block blocks[MOST_BLOCKS];
} Scratch;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic bool usable;

static void discard(void* memory) {
  Scratch* scratch = memory;
  for (int i = 0; i < MOST_BLOCKS; i++) free(scratch->blocks[i].memory);
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

// The smallest free block that is large enough, else one to make larger: an empty one, or the largest.
static Block* choose(Scratch* scratch, size_t bytes) {
  Block *fitting = NULL, *other = NULL;
  for (int i = 0; i < MOST_BLOCKS; i++) {
    Block* block = &scratch->blocks[i];
    if (block->in_use) continue;
    if (block->memory && block->bytes >= bytes && (!fitting || block->bytes < fitting->bytes))
      fitting = block;
    if (!other || block->bytes > other->bytes) other = block;
  }
  return fitting ? fitting : other;
}

void* tvmf_scratch_alloc(int device_type, int device, uint64_t bytes, int type, int bits) {
  (void)device_type, (void)device, (void)type, (void)bits;
  Scratch* scratch = scratch_of_thread();
  Block* block = scratch && bytes <= SIZE_MAX / 2 ? choose(scratch, (size_t)bytes) : NULL;
  if (!block) return NULL;
  if (!block->memory || block->bytes < bytes) {
    free(block->memory);
    size_t rounded = (size_t)bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    block->memory = aligned_alloc(ALIGNMENT, rounded);
    block->bytes = block->memory ? rounded : 0;
  }
  block->in_use = block->memory != NULL;
  return block->memory;
}

int tvmf_scratch_free(int device_type, int device, void* memory) {
  (void)device_type, (void)device;
  Scratch* scratch = scratch_of_thread();
  for (int i = 0; scratch && i < MOST_BLOCKS; i++) {
    if (!scratch->blocks[i].in_use || scratch->blocks[i].memory != memory) continue;
    scratch->blocks[i].in_use = false;
    return 0;
  }
  return -1;
}

void tvmf_scratch_reset(void) {
  Scratch* scratch = scratch_of_thread();
  for (int i = 0; scratch && i < MOST_BLOCKS; i++) scratch->blocks[i].in_use = false;
}
