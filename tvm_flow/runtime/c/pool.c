// The threads of one instance, for the parallel loops of its kernels.
//
// A pool that gives every thread one fixed share of a loop has the caller wait for all of them. If
// another program has one of the cores, each of the dozens of loops in a network waits for that
// core's next time slice. Here a loop is cut into more tasks than threads. Every thread works
// through its own contiguous share, front to back (so that it finds in its caches what it wrote in
// the loop before), and then takes tasks from the back of the others' shares. The caller waits only
// for tasks that somebody has begun. A thread that loses its core in the middle of a task still
// holds everybody up for a time slice: it is then left out for a while, longer each time it happens
// again, so that a network on a core too few runs about as fast as with one thread less.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

// As many tasks as schedules/cpu/emit/microkernel.py makes shares.
enum { TASKS_PER_THREAD = 16, STACK_BYTES = 4 << 20 };
// Nanoseconds. A thread that is waited for longer than STALL_NS, and longer than the whole loop
// took so far, has lost its core: time slices are 1 ms or more, tasks some 10 us.
enum { SPIN_NS = 100000, STALL_NS = 400000, FIRST_BREAK_NS = 20000000, MOST_BREAK_NS = 1000000000 };

// A cache line takes as long from one core to another as a task of a small kernel. So all that a
// worker needs for a loop is in one line, which it waits on, and its answer in another (decision
// 0010).
typedef struct {
  // Written by the caller. `range` is the member's share, from which others take as well.
  _Alignas(64) _Atomic uint64_t range;  // tasks left: first in the low half, end in the high half
  _Atomic uint32_t epoch;  // another number for every loop to which the member is invited
  // The loop. Valid for whoever holds one of its tasks: it cannot end before that one.
  tvmf_task loop;
  void* _Atomic data;
  tvmf_parallel_env env;
  // Written by the member.
  _Alignas(64) _Atomic uint32_t done;  // tasks since the pool was made
  _Atomic int working;  // may hold a task
  _Atomic int asleep;
  // Of the caller only.
  _Alignas(64) uint64_t away_until, last_break;  // ns
  uint32_t done_before;  // this loop
  pthread_t thread;
  _Atomic int core;  // where a worker is bound; the caller's is the one that no worker has
} Member;

struct Pool {
  Member* members;
  int threads;
  uint32_t handed_out;        // tasks since the pool was made
  _Atomic uint32_t absences;  // loops that a thread had no part in
  _Alignas(64) _Atomic int failed;
  _Atomic int stopping;
};

typedef struct {
  Pool* pool;
  int self;
} Worker;

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

// The library's; a kernel that is tuned has TVM's memory.
__attribute__((weak)) void tvmf_scratch_reset(void);

// What the caller has is the kernel's, which is still running.
static void fail(Pool* pool, int self) {
  atomic_store(&pool->failed, 1);
  if (self && tvmf_scratch_reset) tvmf_scratch_reset();
}

static void work(Pool* pool, int self) {
  Member* me = &pool->members[self];
  atomic_store_explicit(&me->working, 1, memory_order_relaxed);
  for (int offset = 0; offset < pool->threads; offset++) {
    Member* member = &pool->members[(self + offset) % pool->threads];
    uint32_t done = atomic_load_explicit(&me->done, memory_order_relaxed), before = done;
    for (uint32_t task, end; (end = take(member, offset == 0, &task));)
      for (; task < end; task++, done++)
        if (member->loop((int)task, &member->env, member->data)) fail(pool, self);
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
static void make_way(Pool* pool) {
  Member* members = pool->members;
  int here = sched_getcpu();
  for (int i = 1; i < pool->threads && here != members[0].core; i++) {
    if (members[i].core != here) continue;
    members[i].core = members[0].core;
    members[0].core = here;
    bind(members[i].thread, members[i].core);
  }
}

static void* worker(void* argument) {
  Worker given = *(Worker*)argument;
  free(argument);
  Member* me = &given.pool->members[given.self];
  uint32_t seen = 0;
  while (!atomic_load(&given.pool->stopping)) {
    seen = await_loop(me, seen);
    __builtin_prefetch(me->data);  // or what was there: it may be late for this loop
    work(given.pool, given.self);
  }
  return NULL;
}

static void call(Member* member) {
  atomic_fetch_add(&member->epoch, 1);
  if (atomic_load(&member->asleep))
    syscall(SYS_futex, &member->epoch, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// Share the loop out among those who are not on a break.
static void invite(Pool* pool, tvmf_task loop, void* data, int count, uint64_t now) {
  int present = 1, place = 0;
  for (int i = 1; i < pool->threads; i++) present += now >= pool->members[i].away_until;
  for (int i = 0; i < pool->threads; i++) {
    Member* member = &pool->members[i];
    if (i && now < member->away_until) continue;
    uint64_t first = (uint64_t)count * place / present;
    uint64_t end = (uint64_t)count * ++place / present;
    member->loop = loop, member->env = (tvmf_parallel_env){NULL, count};
    atomic_store_explicit(&member->data, data, memory_order_relaxed);
    atomic_store_explicit(&member->range, end << 32 | first, memory_order_release);
    if (i) call(member);
  }
}

// Give those who hold the loop up a break, twice as long if the last one was not long ago.
static void send_away(Pool* pool, uint64_t now) {
  for (int i = 1; i < pool->threads; i++) {
    Member* member = &pool->members[i];
    if (!atomic_load(&member->working)) continue;
    int again = now < member->away_until + member->last_break;
    uint64_t pause = again ? 2 * member->last_break : FIRST_BREAK_NS;
    member->last_break = pause < MOST_BREAK_NS ? pause : MOST_BREAK_NS;
    member->away_until = now + member->last_break;
  }
}

static int all_done(const Pool* pool) {
  uint32_t done = 0;
  for (int i = 0; i < pool->threads; i++)
    done += atomic_load_explicit(&pool->members[i].done, memory_order_acquire);
  return done == pool->handed_out;
}

static void await_others(Pool* pool, uint64_t begin) {
  uint64_t idle = 0, patience = STALL_NS;
  for (int round = 0; !all_done(pool); round++) {
    relax();
    if (round % 64 != 63 || !patience) continue;
    uint64_t now = now_ns();
    if (!idle) {
      idle = now;
      if (idle - begin > patience) patience = idle - begin;
    }
    if (now - idle > patience) {
      send_away(pool, now);
      patience = 0;
    }
  }
}

// Note whether all had a part in the loop that has ended.
static void count_absences(Pool* pool) {
  uint32_t missed = 0;
  for (int i = 0; i < pool->threads; i++) {
    Member* member = &pool->members[i];
    uint32_t done = atomic_load_explicit(&member->done, memory_order_relaxed);
    missed |= done == member->done_before;
    member->done_before = done;
  }
  if (missed) atomic_fetch_add_explicit(&pool->absences, 1, memory_order_relaxed);
}

int tvmf_pool_run(Pool* pool, tvmf_task task, void* data, int tasks) {
  if (!pool || pool->threads < 2) {
    tvmf_parallel_env env = {NULL, tasks ? tasks : 1};
    int bad = 0;
    for (int i = 0; i < env.num_task; i++) bad |= task(i, &env, data);
    return bad ? -1 : 0;
  }
  int count = tasks ? tasks : TASKS_PER_THREAD * pool->threads;
  atomic_store_explicit(&pool->failed, 0, memory_order_relaxed);
  pool->handed_out += (uint32_t)count;
  make_way(pool);
  uint64_t begin = now_ns();
  invite(pool, task, data, count, begin);
  work(pool, 0);
  await_others(pool, begin);
  count_absences(pool);
  return atomic_load(&pool->failed) ? -1 : 0;
}

int tvmf_thread_start(pthread_t* thread, void* (*body)(void*), void* argument) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  sigset_t blocked, before;
  pthread_attr_t attributes;
  int bad = pthread_attr_init(&attributes);
  if (bad) return bad;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  bad = pthread_create(thread, &attributes, body, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return bad;
}

static int start(Pool* pool, int self) {
  Worker* given = malloc(sizeof *given);
  if (!given) return -1;
  *given = (Worker){pool, self};
  int bad = tvmf_thread_start(&pool->members[self].thread, worker, given);
  if (bad) free(given);
  return bad;
}

Pool* tvmf_pool_create(int threads, const int32_t* cores) {
  Pool* pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
  Member* members = aligned_alloc(64, (size_t)threads * sizeof *members);
  if (!pool || !members) {
    free(pool), free(members);
    return NULL;
  }
  memset(pool, 0, sizeof *pool), memset(members, 0, (size_t)threads * sizeof *members);
  pool->members = members, pool->threads = threads;
  for (int i = 0; i < threads; i++) members[i].core = cores[i];
  for (int i = 1; i < threads; i++) {
    if (start(pool, i)) {
      pool->threads = i;  // as many as the system gives
      break;
    }
    bind(members[i].thread, cores[i]);
  }
  return pool;
}

void tvmf_pool_destroy(Pool* pool) {
  if (!pool) return;
  atomic_store(&pool->stopping, 1);
  for (int i = 1; i < pool->threads; i++) {
    call(&pool->members[i]);
    pthread_join(pool->members[i].thread, NULL);
  }
  tvmf_pool_forget(pool);
}

void tvmf_pool_forget(Pool* pool) {
  if (!pool) return;
  free(pool->members);
  free(pool);
}

int tvmf_pool_threads(const Pool* pool) { return pool ? pool->threads : 1; }

int tvmf_pool_core(const Pool* pool, int thread) { return pool->members[thread].core; }

uint32_t tvmf_pool_absences(const Pool* pool) { return pool ? atomic_load(&pool->absences) : 0; }
