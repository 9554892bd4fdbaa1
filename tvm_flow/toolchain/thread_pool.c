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
// the library uses TVM's pool. tvm_flow_pool_absences() tells whether times are those of all threads.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// As many tasks as schedules/cpu/emit/microkernel.py makes shares.
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

// A cache line takes as long from one core to another as a task of a small kernel. So all that a
// worker needs for a loop is in one line, which it waits on, and its answer in another (decision
// 0010).
typedef struct {
  // Written by the caller. `range` is the member's share, from which others take as well.
  _Alignas(64) _Atomic uint64_t range;  // tasks left: first in the low half, end in the high half
  _Atomic uint32_t epoch;  // another number for every loop to which the member is invited
  // The loop. Valid for whoever holds one of its tasks: it cannot end before that one.
  Lambda loop;
  void* _Atomic data;
  ParallelEnv env;
  // Written by the member.
  _Alignas(64) _Atomic uint32_t done;  // tasks since the pool was made
  _Atomic int working;  // may hold a task
  _Atomic int asleep;
  // Of the caller only.
  _Alignas(64) uint64_t away_until, last_break;  // ns
  uint32_t done_before;  // this loop
  pthread_t thread;
  int core;  // where a worker is bound; the caller's is the one that no worker has
} Member;

static Member members[MOST_THREADS];
static int threads = 1;
static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER;
static uint32_t handed_out;  // tasks since the pool was made
static _Atomic uint32_t absences;  // loops that a thread had no part in
static _Alignas(64) _Atomic int failed, stopping;

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

// The next tasks of a share, `first` to the result; none where that is `first`. The owner takes a
// quarter of what is left from the front, others take the last one.
static uint32_t take(Member* member, int owner, uint32_t* first) {
  uint64_t seen = atomic_load_explicit(&member->range, memory_order_relaxed);
  for (;;) {
    uint32_t begin = (uint32_t)seen, end = (uint32_t)(seen >> 32);
    if (begin >= end) return *first = 0;
    uint32_t part = owner ? (end - begin + 3) / 4 : 1;
    uint64_t left = owner ? seen + part : seen - ((uint64_t)1 << 32);
    if (!atomic_compare_exchange_weak(&member->range, &seen, left)) continue;
    *first = owner ? begin : end - 1;
    return *first + part;
  }
}

static void work(int self) {
  Member* me = &members[self];
  atomic_store_explicit(&me->working, 1, memory_order_relaxed);
  for (int offset = 0; offset < threads; offset++) {
    Member* member = &members[(self + offset) % threads];
    uint32_t done = atomic_load_explicit(&me->done, memory_order_relaxed), before = done;
    for (uint32_t task, end; (end = take(member, offset == 0, &task));)
      for (; task < end; task++, done++)
        if (member->loop((int)task, &member->env, member->data)) atomic_store(&failed, 1);
    if (done != before) atomic_store_explicit(&me->done, done, memory_order_release);
  }
  atomic_store_explicit(&me->working, 0, memory_order_relaxed);
}

// Until the member is invited again.
static uint32_t await_loop(Member* me, uint32_t seen) {
  uint64_t until = now_ns() + SPIN_NS;
  for (;;) {
    for (int i = 0; i < 64; i++, relax()) {
      uint32_t epoch = atomic_load_explicit(&me->epoch, memory_order_acquire);
      if (epoch != seen) return epoch;
    }
    if (now_ns() < until) continue;
    atomic_store(&me->asleep, 1);
    syscall(SYS_futex, &me->epoch, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_store(&me->asleep, 0);
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
    seen = await_loop(&members[self], seen);
    __builtin_prefetch(members[self].data);  // or what was there: it may be late for this loop
    work(self);
  }
  return NULL;
}

static void call(Member* member) {
  atomic_fetch_add(&member->epoch, 1);
  if (atomic_load(&member->asleep))
    syscall(SYS_futex, &member->epoch, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// Share the loop out among those who are not on a break.
static void invite(Lambda loop, void* data, int count, uint64_t now) {
  int present = 1, place = 0;
  for (int i = 1; i < threads; i++) present += now >= members[i].away_until;
  for (int i = 0; i < threads; i++) {
    Member* member = &members[i];
    if (i && now < member->away_until) continue;
    uint64_t first = (uint64_t)count * place / present;
    uint64_t end = (uint64_t)count * ++place / present;
    member->loop = loop, member->env = (ParallelEnv){NULL, count};
    atomic_store_explicit(&member->data, data, memory_order_relaxed);
    atomic_store_explicit(&member->range, end << 32 | first, memory_order_release);
    if (i) call(member);
  }
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

static int all_done(void) {
  uint32_t done = 0;
  for (int i = 0; i < threads; i++)
    done += atomic_load_explicit(&members[i].done, memory_order_acquire);
  return done == handed_out;
}

static void await_others(uint64_t begin) {
  uint64_t idle = 0, patience = STALL_NS;
  for (int round = 0; !all_done(); round++) {
    relax();
    if (round % 64 != 63 || !patience) continue;
    uint64_t now = now_ns();
    if (!idle) {
      idle = now;
      if (idle - begin > patience) patience = idle - begin;
    }
    if (now - idle > patience) {
      send_away(now);
      patience = 0;
    }
  }
}

// Note whether all had a part in the loop that has ended.
static void count_absences(void) {
  uint32_t missed = 0;
  for (int i = 0; i < threads; i++) {
    uint32_t done = atomic_load_explicit(&members[i].done, memory_order_relaxed);
    missed |= done == members[i].done_before;
    members[i].done_before = done;
  }
  if (missed) atomic_fetch_add_explicit(&absences, 1, memory_order_relaxed);
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
  atomic_store_explicit(&failed, 0, memory_order_relaxed);
  handed_out += (uint32_t)count;
  make_way();
  uint64_t begin = now_ns();
  invite(lambda, data, count, begin);
  work(0);
  await_others(begin);
  count_absences();
  int bad = atomic_load(&failed);
  pthread_mutex_unlock(&in_use);
  return bad ? -1 : 0;
}

static void stop(void) {
  atomic_store(&stopping, 1);
  for (int i = 1; i < threads; i++) {
    call(&members[i]);
    pthread_join(members[i].thread, NULL);
  }
  for (int i = 0; i < threads; i++) {
    atomic_store(&members[i].done, 0);
    members[i].done_before = 0;
  }
  handed_out = 0;
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

// tvm_flow_pool_absences(): how many loops some thread had no part in, so far: it was left out, or
// its core was busy. A few of the shortest are done before a thread comes.
__attribute__((visibility("default"))) int __tvm_ffi_tvm_flow_pool_absences(void* self,
                                                                            const Any* args,
                                                                            int32_t count,
                                                                            Any* result) {
  (void)self, (void)args, (void)count;
  *result = (Any){1, 0, (int64_t)atomic_load(&absences)};  // kTVMFFIInt
  return 0;
}
