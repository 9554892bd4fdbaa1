// Times of runs and of their steps.
#include <time.h>

#include "internal.h"

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int tvmf_time(tvmf_instance* net, int32_t warm_up, int32_t runs, uint64_t* nanoseconds) {
  if (!nanoseconds) return tvmf_fail(TVMF_USAGE, "tvmf_time was given no place for times");
  if (warm_up < 0 || runs < 1)
    return tvmf_fail(TVMF_USAGE, "cannot time %d runs after %d to warm up. Fix: ask for 1 or more",
                     runs, warm_up);
  int status = TVMF_OK;
  for (int32_t i = -warm_up; !status && i < runs; i++) {
    uint64_t begin = now_ns();
    status = tvmf_run(net);
    if (i >= 0) nanoseconds[i] = now_ns() - begin;
  }
  return status;
}

int32_t tvmf_step_count(const tvmf_instance* net) { return (int32_t)net->set->step_count; }

const char* tvmf_step_name(const tvmf_instance* net, int32_t index) {
  if (index < 0 || index >= tvmf_step_count(net)) return NULL;
  const Step* step = &net->set->steps[index];
  return step->kind == TVMF_STEP_COPY ? "copy" : net->model->plan.kernels[step->kernel].symbol;
}

int tvmf_profile(tvmf_instance* net, uint64_t* nanoseconds) {
  int status = tvmf_enter(net);
  if (status) return status;
  status = tvmf_run_steps(net, nanoseconds, now_ns);
  tvmf_leave(net);
  return status;
}

uint32_t tvmf_absences(const tvmf_instance* net) { return tvmf_pool_absences(net->pool); }
