// Runs in a thread of the instance's own.
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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
  Runner* runner = net->runner;
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

// Signals are for the program's own threads.
static int make_runner(tvmf_instance* net) {
  Runner* runner = calloc(1, sizeof *runner);
  sigset_t all, before;
  if (runner) {
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->changed, NULL);
    net->runner = runner;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int bad = pthread_create(&runner->thread, NULL, serve, net);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!bad) return TVMF_OK;
    net->runner = NULL;
    free(runner);
  }
  return tvmf_fail(TVMF_ENVIRONMENT, "the system gives no thread to run in. Fix: look at ulimit -u");
}

int tvmf_start(tvmf_instance* net) {
  int status = tvmf_enter(net);
  if (status) return status;
  if (!net->runner && (status = make_runner(net))) {
    tvmf_leave(net);
    return status;
  }
  pthread_mutex_lock(&net->runner->lock);
  set_state(net->runner, WANTED);
  pthread_mutex_unlock(&net->runner->lock);
  return TVMF_OK;
}

int tvmf_wait(tvmf_instance* net) {
  Runner* runner = net ? net->runner : NULL;
  if (!runner) return tvmf_fail(TVMF_USAGE, "there is no run to wait for. Fix: call tvmf_start first");
  pthread_mutex_lock(&runner->lock);
  bool begun = runner->state == WANTED || runner->state == RUNNING || runner->state == DONE;
  while (runner->state == WANTED || runner->state == RUNNING)
    pthread_cond_wait(&runner->changed, &runner->lock);
  int status = runner->status;
  if (begun) runner->state = IDLE;
  if (begun && status) tvmf_fail(status, "%s", runner->sentence);
  pthread_mutex_unlock(&runner->lock);
  if (!begun) return tvmf_fail(TVMF_USAGE, "there is no run to wait for. Fix: call tvmf_start first");
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
