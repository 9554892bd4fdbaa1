// What happens to instances when their process forks, is interrupted, or has several threads:
//
//   processes SCENE NETWORK1 NETWORK2 PAUSE
//
// Bundles of toy.network for one and for two threads, and of toy.pause. Exits with 0 where all went
// as it should, and says otherwise what did not.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tvm_flow.h"

enum { NETWORKS = 2, IDLE_US = 400000, LIMIT_S = 60 };

typedef struct {
  tvmf_model* model;
  tvmf_instance* net;
} Loaded;

static const char* paths[NETWORKS + 1];
static Loaded networks[NETWORKS], pause_net;

// Without closing anything: as a process that has better things to do.
static _Noreturn void die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, tvmf_last_error());
  exit(1);
}

static void must(int status, const char* what) {
  if (status) die(what);
}

static Loaded load(const char* path) {
  Loaded made;
  must(tvmf_load(path, 0, &made.model), "load");
  must(tvmf_open(made.model, NULL, &made.net), "open");
  return made;
}

static void give_back(Loaded* loaded) {
  must(tvmf_close(loaded->net), "close");
  tvmf_unload(loaded->model);
}

static void load_all(void) {
  for (int i = 0; i < NETWORKS; i++) networks[i] = load(paths[i]);
  pause_net = load(paths[NETWORKS]);
}

static void give_all_back(void) {
  for (int i = 0; i < NETWORKS; i++) give_back(&networks[i]);
  give_back(&pause_net);
}

// y = x * weights, bit for bit as the first time.
static void run(const Loaded* loaded) {
  static float expected[60];
  float* x = tvmf_input(loaded->net, 0);
  for (int i = 0; i < 60; i++) x[i] = (float)(i - 30);
  *(int64_t*)tvmf_input(loaded->net, 1) = 7;
  memset(tvmf_output(loaded->net, 0), 0, 60 * sizeof(float));
  must(tvmf_run(loaded->net), "run");
  const float* y = tvmf_output(loaded->net, 0);
  if (!expected[0]) memcpy(expected, y, sizeof expected);
  if (memcmp(expected, y, sizeof expected)) die("other values");
}

static void run_all(void) {
  for (int round = 0; round < 20; round++)
    for (int i = 0; i < NETWORKS; i++) run(&networks[i]);
}

static void pause_for(int64_t milliseconds) {
  *(int64_t*)tvmf_input(pause_net.net, 0) = milliseconds;
}

static void await_child(pid_t child) {
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child || status) die("a child failed");
}

// Ends as programs end, with all destructors, and with or without giving back what it has.
static void in_child(void (*scene)(void), int closing) {
  pid_t child = fork();
  if (child) {
    await_child(child);
    return;
  }
  alarm(LIMIT_S);
  scene();
  if (closing) give_all_back();
  exit(0);
}

// ---- Scenes

static void before(void) {
  in_child(load_all, 1);
  load_all();
  run_all();
}

static void grandchild(void) {
  run_all();
  in_child(run_all, 1);
}

static void nothing(void) {}

static void after(void) {
  load_all();
  for (useconds_t idle = 0; idle <= IDLE_US; idle += IDLE_US) {
    run_all();
    usleep(idle);
    for (int closing = 0; closing < 2; closing++) {
      in_child(nothing, closing);
      in_child(run_all, closing);
    }
    in_child(grandchild, 1);
    run_all();
  }
}

static void while_running_child(void) {
  if (tvmf_wait(pause_net.net) != TVMF_USAGE) die("a child waited for its parent's run");
  pause_for(1);
  must(tvmf_start(pause_net.net), "start in a child");
  must(tvmf_wait(pause_net.net), "wait in a child");
  must(tvmf_run(pause_net.net), "run in a child");
}

static void while_running(void) {
  load_all();
  for (int round = 0; round < 3; round++) {
    pause_for(150);
    must(tvmf_start(pause_net.net), "start");
    in_child(nothing, 1);
    in_child(while_running_child, round % 2);
    if (tvmf_close(pause_net.net) != TVMF_BUSY) die("closed while it runs");
    must(tvmf_wait(pause_net.net), "wait");
  }
}

static pthread_barrier_t together;
static atomic_int served, busy;

static void* enter(void* loaded) {
  pthread_barrier_wait(&together);
  int status = tvmf_run(((Loaded*)loaded)->net);
  if (status && status != TVMF_BUSY) die("run");
  atomic_fetch_add(status ? &busy : &served, 1);
  return NULL;
}

static void enter_together(void) {
  pthread_t threads[3];
  pthread_barrier_init(&together, NULL, 3);
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, enter, &networks[1]);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  if (!served || served + busy != 3) die("nobody was served");
  run(&networks[1]);
}

// The first runs of a child, in several threads at once.
static void threads_of_a_child(void) {
  load_all();
  run_all();
  for (int round = 0; round < 40; round++) in_child(enter_together, 1);
}

static void after_closing_files(void) {
  for (int file = 3; file < 1024; file++) close(file);
  Loaded other = load(paths[NETWORKS]);  // other code, by numbers that the first ones' files had
  *(int64_t*)tvmf_input(other.net, 0) = 1;
  must(tvmf_run(other.net), "run");
  run_all();
  give_back(&other);
}

static void daemonised(void) {
  setsid();
  in_child(after_closing_files, 1);
}

static void daemonise(void) {
  load_all();
  run_all();
  in_child(daemonised, 0);
}

static volatile sig_atomic_t signals;

static void on_signal(int number) { signals += number == SIGALRM; }

static void interrupted(void) {
  struct sigaction action = {.sa_handler = on_signal};  // without SA_RESTART
  struct itimerval every_ms = {{0, 1000}, {0, 1000}}, never = {0};
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &every_ms, NULL);
  load_all();
  for (int round = 0; signals < 200; round++) {
    run_all();
    Loaded again = load(paths[round % NETWORKS]);
    run(&again);
    must(tvmf_start(again.net), "start");
    must(tvmf_wait(again.net), "wait");
    give_back(&again);
  }
  setitimer(ITIMER_REAL, &never, NULL);
  pause_for(30);
  setitimer(ITIMER_REAL, &every_ms, NULL);
  must(tvmf_start(pause_net.net), "start");
  must(tvmf_wait(pause_net.net), "wait");
  setitimer(ITIMER_REAL, &never, NULL);
}

static void* wait_for_it(void* statuses) {
  pthread_barrier_wait(&together);
  int status = tvmf_wait(pause_net.net);
  atomic_fetch_add(&((atomic_int*)statuses)[status != 0], 1);
  return NULL;
}

// Of several threads that wait, one gets the result, and nobody is left waiting.
static void waiting(void) {
  load_all();
  for (int round = 0; round < 20; round++) {
    atomic_int statuses[2] = {0};
    pthread_t threads[3];
    pthread_barrier_init(&together, NULL, 3);
    pause_for(round % 5);
    must(tvmf_start(pause_net.net), "start");
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, wait_for_it, statuses);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    if (statuses[0] != 1 || statuses[1] != 2) die("not one of three got the result");
  }
}

static void* own_instance(void* index) {
  Loaded mine = {networks[*(int*)index % NETWORKS].model, NULL};
  for (int round = 0; round < 10; round++) {
    must(tvmf_open(mine.model, NULL, &mine.net), "open");
    for (int i = 0; i < 20; i++) run(&mine);
    must(tvmf_close(mine.net), "close");
  }
  return NULL;
}

// Instances of their own beside each other, and one that all want.
static void beside(void) {
  load_all();
  run_all();
  pthread_t threads[4];
  int numbers[4] = {0, 1, 2, 3};
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, own_instance, &numbers[i]);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (int round = 0; round < 50; round++) {
    served = busy = 0;
    enter_together();
  }
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*play)(void);
  } scenes[] = {
      {"before", before},           {"after", after},
      {"while-running", while_running}, {"threads-of-a-child", threads_of_a_child},
      {"daemonise", daemonise},     {"interrupted", interrupted},
      {"waiting", waiting},         {"beside", beside},
  };
  if (argc != NETWORKS + 3) return 2;
  for (int i = 0; i <= NETWORKS; i++) paths[i] = argv[i + 2];
  for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
    if (strcmp(scenes[i].name, argv[1])) continue;
    scenes[i].play();
    give_all_back();
    return 0;
  }
  return 2;
}
