// Runs in a thread of the instance's own.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

typedef enum { IDLE, WANTED, RUNNING, DONE, QUIT } State;

struct Runner {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  State state;
  int status;
  char sentence[1024];
};

static void set_state(Runner* runner, State state) {
  runner->state = state;
  pthread_cond_broadcast(&runner->changed);
}

static void* serve(void* argument) {
  tvmf_instance* net = argument;
  Runner* runner = atomic_load(&net->runner);
  pthread_mutex_lock(&runner->lock);
  while (runner->state != QUIT) {
    if (runner->state != WANTED) {
      pthread_cond_wait(&runner->changed, &runner->lock);
      continue;
    }
    runner->state = RUNNING;
    pthread_mutex_unlock(&runner->lock);
    int status = tvmf_run_entered(net);
    pthread_mutex_lock(&runner->lock);
    runner->status = status;
    strncpy(runner->sentence, tvmf_last_error(), sizeof runner->sentence - 1);
    set_state(runner, DONE);
  }
  pthread_mutex_unlock(&runner->lock);
  return NULL;
}

static int make_runner(tvmf_instance* net) {
  Runner* runner = calloc(1, sizeof *runner);
  if (runner) {
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->changed, NULL);
    atomic_store(&net->runner, runner);
    if (!tvmf_thread_start(&runner->thread, serve, net)) return TVMF_OK;
    atomic_store(&net->runner, NULL);
    free(runner);
  }
  return tvmf_fail(TVMF_ENVIRONMENT, "the system gives no thread to run in. Fix: look at ulimit -u");
}

int tvmf_start(tvmf_instance* net) {
  int status = tvmf_enter(net);
  if (status) return status;
  if (!atomic_load(&net->runner) && (status = make_runner(net))) {
    tvmf_leave(net);
    return status;
  }
  Runner* runner = atomic_load(&net->runner);
  pthread_mutex_lock(&runner->lock);
  set_state(runner, WANTED);
  pthread_mutex_unlock(&runner->lock);
  return TVMF_OK;
}

// Of several that wait one gets the result. A run that a process began is not its child's.
int tvmf_wait(tvmf_instance* net) {
  bool ours = net && atomic_load(&net->process) == (int)getpid();
  Runner* runner = ours ? atomic_load(&net->runner) : NULL;
  bool done = false;
  int status = TVMF_OK;
  if (runner) {
    pthread_mutex_lock(&runner->lock);
    while (runner->state == WANTED || runner->state == RUNNING)
      pthread_cond_wait(&runner->changed, &runner->lock);
    done = runner->state == DONE;
    if (done) runner->state = IDLE, status = runner->status;
    if (status) tvmf_fail(status, "%s", runner->sentence);
    pthread_mutex_unlock(&runner->lock);
  }
  if (!done) return tvmf_fail(TVMF_USAGE, "there is no run to wait for. Fix: call tvmf_start first");
  tvmf_leave(net);
  return status;
}

// `forked`: the thread was left behind in the parent process.
void tvmf_runner_free(Runner* runner, bool forked) {
  if (!runner) return;
  if (!forked) {
    pthread_mutex_lock(&runner->lock);
    set_state(runner, QUIT);
    pthread_mutex_unlock(&runner->lock);
    pthread_join(runner->thread, NULL);
    pthread_mutex_destroy(&runner->lock);
    pthread_cond_destroy(&runner->changed);
  }
  free(runner);
}
