// Gives a single kernel that TVM loads, while it is tuned, the pool of libtvm_flow in the place of
// TVM's own.
//
// Interface, in TVM's packed calling convention: tvm_flow_pool(threads, core, core, ...) makes the pool
// and points the library's parallel launches to it; without that call the library uses TVM's pool.
// tvm_flow_pool_absences() tells whether times are those of all threads.
#include "pool.h"

enum { MOST_THREADS = 64, INTEGER = 1 };  // kTVMFFIInt

// tvm/ffi/c_api.h: type_index, then 4 bytes of padding, then the value
typedef struct {
  int32_t type_index;
  uint32_t padding;
  int64_t value;
} Any;

// Set by TVM's loader when the library is opened; every parallel loop calls through it. Weak, as in
// TVM's own object files, of which those without a parallel loop lack it.
__attribute__((weak, visibility("default"))) int (*__TVMBackendParallelLaunch)(tvmf_task, void*, int);

static Pool* pool;
static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER;

// A loop inside a loop, or another thread's, finds the pool taken and runs alone.
static int launch(tvmf_task task, void* data, int tasks) {
  if (pthread_mutex_trylock(&in_use)) return tvmf_pool_run(NULL, task, data, tasks);
  int status = tvmf_pool_run(pool, task, data, tasks);
  pthread_mutex_unlock(&in_use);
  return status;
}

// Threads must be gone before their code is unmapped.
__attribute__((destructor)) static void unload(void) { tvmf_pool_destroy(pool); }

// The number of threads there are, or -1 for arguments that make no sense.
__attribute__((visibility("default"))) int __tvm_ffi_tvm_flow_pool(void* self, const Any* args,
                                                                   int32_t count, Any* result) {
  (void)self;
  int64_t wanted = count > 0 ? args[0].value : 0;
  *result = (Any){INTEGER, 0, -1};
  if (wanted < 1 || wanted > MOST_THREADS || count != 1 + wanted) return 0;
  int32_t cores[MOST_THREADS];
  for (int i = 0; i < wanted; i++) cores[i] = (int32_t)args[1 + i].value;
  pthread_mutex_lock(&in_use);
  tvmf_pool_destroy(pool);
  pool = tvmf_pool_create((int)wanted, cores);
  __TVMBackendParallelLaunch = launch;
  pthread_mutex_unlock(&in_use);
  result->value = tvmf_pool_threads(pool);
  return 0;
}

// How many loops some thread had no part in, so far: it was left out, or its core was busy. A few of
// the shortest are done before a thread comes.
__attribute__((visibility("default"))) int __tvm_ffi_tvm_flow_pool_absences(void* self,
                                                                            const Any* args,
                                                                            int32_t count,
                                                                            Any* result) {
  (void)self, (void)args, (void)count;
  *result = (Any){INTEGER, 0, (int64_t)tvmf_pool_absences(pool)};
  return 0;
}
