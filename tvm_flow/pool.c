// The threads of a bundle: takes the place of TVM's pool for the parallel loops of one library.
//
// TVM's pool gives every thread one fixed share of a loop and the caller waits for all of them. If
// another program has one of the cores, each of the dozens of loops in a network waits for that
// core's next time slice. Here a loop is cut into more tasks than threads. Every thread works
// through its own contiguous share, front to back (so that it finds in its caches what it wrote in
// the loop before), and then takes tasks from the back of the others' shares. The caller waits only
// for tasks that somebody has begun. A thread that loses its core in the middle of a task still
// holds everybody up for a time slice: it is then left out for a while, longer each time it happens
// again, so that a network on a core too few runs about as fast as with one thread less.
//
// Interface: tvm_flow_pool(threads, core, core, ...), a function of TVM's packed calling
// convention, makes the pool and points the library's parallel launches to it. Without that call
// the library uses TVM's pool.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// As many tasks as schedules/microkernel.py makes shares.
enum { MOST_THREADS = 64, TASKS_PER_THREAD = 16 };
// Nanoseconds. A thread that is waited for longer than STALL_NS, and longer than the whole loop
// took so far, has lost its core: time slices are 1 ms or more, tasks some 10 us.
enum { SPIN_NS = 100000, STALL_NS = 400000, FIRST_BREAK_NS = 20000000, MOST_BREAK_NS = 1000000000 };

// tvm/runtime/c_backend_api.h
typedef struct {
  void* sync_handle;
  int32_t num_task;
} ParallelEnv;
typedef int (*Lambda)(int task, ParallelEnv* env, void* data);
// tvm/ffi/c_api.h: type_index, then 4 bytes of padding, then the value
typedef struct {
  int32_t type_index;
  uint32_t padding;
  int64_t value;
} Any;

// Set by TVM's loader when the library is opened; every parallel loop calls through it. Weak, as in
// TVM's own object files, of which those without a parallel loop lack it.
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(Lambda, void*, int);

typedef struct {
  _Alignas(64) _Atomic uint64_t range;  // tasks left: first in the low half, end in the high half
  _Atomic int invited;  // may take tasks of the present loop
  _Atomic int working;  // may hold one
  uint64_t away_until, last_break;  // of the caller only, ns
  pthread_t thread;
  int core;  // where a worker is bound; the caller's is the one that no worker has
} Member;

static Member members[MOST_THREADS];
static int threads = 1;
static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(64) _Atomic uint32_t epoch;  // one more with every loop; what sleepers wait on
static _Atomic uint32_t sleepers;
static _Alignas(64) _Atomic int32_t unfinished;
static _Atomic int failed, stopping;
// The present loop. Valid for whoever holds one of its tasks: it cannot end before that one.
static Lambda loop;
static void* loop_data;
static ParallelEnv loop_env;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// The next task of a share, or -1: the owner takes the first, others the last.
static int take(Member* member, int owner) {
  uint64_t seen = atomic_load(&member->range);
  for (;;) {
    uint32_t first = (uint32_t)seen, end = (uint32_t)(seen >> 32);
    if (first >= end) return -1;
    uint64_t left = owner ? seen + 1 : seen - ((uint64_t)1 << 32);
    if (atomic_compare_exchange_weak(&member->range, &seen, left))
      return (int)(owner ? first : end - 1);
  }
}

static void work(int self) {
  if (!atomic_load(&members[self].invited)) return;
  atomic_store(&members[self].working, 1);
  int32_t done = 0;
  for (int offset = 0; offset < threads; offset++) {
    Member* member = &members[(self + offset) % threads];
    for (int task; (task = take(member, offset == 0)) >= 0; done++)
      if (loop(task, &loop_env, loop_data)) atomic_store(&failed, 1);
  }
  atomic_store(&members[self].working, 0);
  if (done) atomic_fetch_sub(&unfinished, done);
}

static void await_loop(uint32_t seen) {
  uint64_t until = now_ns() + SPIN_NS;
  while (atomic_load(&epoch) == seen) {
    for (int i = 0; i < 64 && atomic_load(&epoch) == seen; i++) relax();
    if (now_ns() < until) continue;
    atomic_fetch_add(&sleepers, 1);
    syscall(SYS_futex, &epoch, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&sleepers, 1);
  }
}

static void bind(pthread_t thread, int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(thread, sizeof set, &set);  // where it is refused, the scheduler decides
}

// The caller is not bound: a worker whose core it has come to moves to the core that is free. On one
// core they would take turns for good, since the scheduler sees a core with a single busy thread.
static void make_way(void) {
  int here = sched_getcpu();
  for (int i = 1; i < threads && here != members[0].core; i++) {
    if (members[i].core != here) continue;
    members[i].core = members[0].core;
    members[0].core = here;
    bind(members[i].thread, members[i].core);
  }
}

static void* worker(void* argument) {
  int self = (int)(intptr_t)argument;
  uint32_t seen = 0;
  while (!atomic_load(&stopping)) {
    await_loop(seen);
    seen = atomic_load(&epoch);
    work(self);
  }
  return NULL;
}

static void announce(void) {
  atomic_fetch_add(&epoch, 1);
  if (atomic_load(&sleepers))
    syscall(SYS_futex, &epoch, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

// Share the loop out among those who are not on a break; how many they are.
static int invite(int count, uint64_t now) {
  int present = 0, place = 0;
  for (int i = 0; i < threads; i++) {
    int invited = i == 0 || now >= members[i].away_until;
    atomic_store(&members[i].invited, invited);
    present += invited;
  }
  for (int i = 0; i < threads; i++) {
    if (!atomic_load(&members[i].invited)) continue;
    uint64_t first = (uint64_t)count * place / present;
    uint64_t end = (uint64_t)count * ++place / present;
    atomic_store(&members[i].range, end << 32 | first);
  }
  return present;
}

// Give those who hold the loop up a break, twice as long if the last one was not long ago.
static void send_away(uint64_t now) {
  for (int i = 1; i < threads; i++) {
    Member* member = &members[i];
    if (!atomic_load(&member->working)) continue;
    int again = now < member->away_until + member->last_break;
    uint64_t pause = again ? 2 * member->last_break : FIRST_BREAK_NS;
    member->last_break = pause < MOST_BREAK_NS ? pause : MOST_BREAK_NS;
    member->away_until = now + member->last_break;
  }
}

static void await_others(uint64_t begin) {
  uint64_t idle = now_ns(), patience = idle - begin > STALL_NS ? idle - begin : STALL_NS;
  while (atomic_load(&unfinished)) {
    for (int i = 0; i < 64 && atomic_load(&unfinished); i++) relax();
    if (patience && now_ns() - idle > patience) {
      send_away(now_ns());
      patience = 0;
    }
  }
}

static int run_alone(Lambda lambda, void* data, int tasks) {
  ParallelEnv env = {NULL, tasks};
  int bad = 0;
  for (int task = 0; task < tasks; task++) bad |= lambda(task, &env, data);
  return bad ? -1 : 0;
}

static int launch(Lambda lambda, void* data, int tasks) {
  // A loop inside a loop, or another thread's: the pool is taken.
  if (threads < 2 || pthread_mutex_trylock(&in_use))
    return run_alone(lambda, data, tasks ? tasks : 1);
  int count = tasks ? tasks : TASKS_PER_THREAD * threads;
  loop = lambda, loop_data = data, loop_env = (ParallelEnv){NULL, count};
  atomic_store(&failed, 0);
  atomic_store(&unfinished, count);
  make_way();
  uint64_t begin = now_ns();
  if (invite(count, begin) > 1) announce();
  work(0);
  await_others(begin);
  int bad = atomic_load(&failed);
  pthread_mutex_unlock(&in_use);
  return bad ? -1 : 0;
}

static void stop(void) {
  atomic_store(&stopping, 1);
  announce();
  for (int i = 1; i < threads; i++) pthread_join(members[i].thread, NULL);
  atomic_store(&stopping, 0);
  threads = 1;
}

// Threads must be gone before their code is unmapped.
__attribute__((destructor)) static void unload(void) { stop(); }

// tvm_flow_pool(threads, core of each thread...): 0, or -1 for arguments that make no sense.
__attribute__((visibility("default"))) int __tvm_ffi_tvm_flow_pool(void* self, const Any* args,
                                                                   int32_t count, Any* result) {
  (void)self;
  int64_t wanted = count > 0 ? args[0].value : 0;
  result->type_index = 1;  // kTVMFFIInt
  result->padding = 0;
  result->value = -1;
  if (wanted < 1 || wanted > MOST_THREADS || count != 1 + wanted) return 0;
  pthread_mutex_lock(&in_use);
  stop();
  for (int i = 0; i < wanted; i++) members[i].core = (int)args[1 + i].value;
  threads = (int)wanted;
  for (int i = 1; i < wanted; i++) {
    if (pthread_create(&members[i].thread, NULL, worker, (void*)(intptr_t)i)) {
      threads = i;  // as many as the system gives
      break;
    }
    bind(members[i].thread, members[i].core);
  }
  __TVMBackendParallelLaunch = launch;
  pthread_mutex_unlock(&in_use);
  result->value = threads;
  return 0;
}
