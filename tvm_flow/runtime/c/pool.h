// The threads that the parallel loops of kernels run on. Also linked into single kernels while they
// are tuned, so that what is measured is what is deployed.
#ifndef TVM_FLOW_POOL_H_
#define TVM_FLOW_POOL_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "module.h"

typedef struct Pool Pool;

// `threads` of them, the caller's included, bound to `cores`; fewer where the system does not give
// as many; NULL without memory.
Pool* tvmf_pool_create(int threads, const int32_t* cores);
void tvmf_pool_destroy(Pool* pool);
// Of a pool whose threads were left behind in the parent process: only its memory.
void tvmf_pool_forget(Pool* pool);

int tvmf_pool_threads(const Pool* pool);
int tvmf_pool_core(const Pool* pool, int thread);
uint32_t tvmf_pool_absences(const Pool* pool);

// A thread in which signals are not delivered, but those that tell of its own faults: others are for
// the program's own threads. 0, or why not.
int tvmf_thread_start(pthread_t* thread, void* (*body)(void*), void* argument);

// One loop; by the calling thread alone without a pool. A pool runs one loop at a time.
int tvmf_pool_run(Pool* pool, tvmf_task task, void* data, int tasks);

#endif  // TVM_FLOW_POOL_H_
