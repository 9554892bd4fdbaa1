// How long a cache line takes from one core to another: two threads, one on each, write it by
// turns. Every parallel loop is handed out and reported back in such lines.
//
// A virtual machine's cores need not stay where they are: in the middle of a measurement the
// hypervisor may move one to another part of the chip, behind another last-level cache.
//
// Interface: double tvm_flow_cache_line_ns(int core, int other): nanoseconds one way, or -1.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

// The quickest of the batches counts: a core that is lost for a time slice spoils only some. In all
// 2 ms where a line takes 60 ns. A look at the clock is due only where the answer is long overdue.
enum { BATCHES = 32, TRIPS = 500, SPINS_PER_LOOK = 1 << 16 };
static const uint64_t PATIENCE_NS = 100000000;

typedef struct {
  _Alignas(128) _Atomic uint32_t line;  // turns taken so far; 128: some cores fetch lines in pairs
  _Alignas(128) _Atomic uint64_t deadline;
  uint64_t best_ns;  // of the quickest batch; 0: none was completed
} Game;

typedef struct {
  Game* game;
  int core;
  int opens;  // takes the first turn of each trip, and the time
} Player;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// 0 if the other player does not take its turn in time: somebody else has its core.
static int await(Game* game, uint32_t turns) {
  for (uint32_t spins = 1; atomic_load(&game->line) != turns; spins++)
    if (spins % SPINS_PER_LOOK == 0 && now_ns() > atomic_load(&game->deadline)) return 0;
  return 1;
}

static int play_batch(Player* self, uint32_t turns) {
  Game* game = self->game;
  for (uint32_t end = turns + 2 * TRIPS; turns < end; turns += 2) {
    if (self->opens) atomic_store(&game->line, turns + 1);
    if (!await(game, self->opens ? turns + 2 : turns + 1)) return 0;
    if (!self->opens) atomic_store(&game->line, turns + 2);
  }
  return 1;
}

static void* play(void* argument) {
  Player* self = argument;
  Game* game = self->game;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(self->core, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set)) {
    atomic_store(&game->deadline, 0);
    return NULL;
  }
  for (uint32_t batch = 0; batch < BATCHES; batch++) {
    uint64_t begin = now_ns();
    if (!play_batch(self, batch * 2 * TRIPS)) break;
    uint64_t took = now_ns() - begin;
    if (self->opens && (!game->best_ns || took < game->best_ns)) game->best_ns = took;
  }
  return NULL;
}

// The caller's own thread stays on the cores it has. -1: a core is not to be had, or not in time.
__attribute__((visibility("default"))) double tvm_flow_cache_line_ns(int core, int other) {
  Game game = {0};
  atomic_store(&game.deadline, now_ns() + PATIENCE_NS);
  Player players[2] = {{&game, core, 1}, {&game, other, 0}};
  pthread_t threads[2];
  int started = 0;
  while (started < 2 && !pthread_create(&threads[started], NULL, play, &players[started])) started++;
  if (started < 2) atomic_store(&game.deadline, 0);
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
  return game.best_ns ? (double)game.best_ns / (2 * TRIPS) : -1;
}
