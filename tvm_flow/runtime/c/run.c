// One run: the steps of a plan, one after the other.
#include <string.h>

#include "internal.h"

static _Thread_local Pool* current;  // of the instance that this thread runs

// A loop inside a loop is run by the thread that comes to it.
int tvmf_pool_launch(tvmf_task task, void* data, int tasks) {
  Pool* mine = current;
  current = NULL;
  int status = tvmf_pool_run(mine, task, data, tasks);
  current = mine;
  return status;
}

static int check_inputs(const tvmf_instance* net) {
  const Set* set = net->set;
  for (uint32_t i = 0; i < set->input_count; i++)
    if (!tvmf_all_finite(tvmf_port_tensor(set, &set->inputs[i]), net->inputs[i]))
      return tvmf_fail(TVMF_USAGE, "input %s contains NaN or infinity. Fix: look at the "
                       "pre-processing", set->inputs[i].name);
  return TVMF_OK;
}

// The two may lie over each other, and what has no bytes may lie nowhere.
static int copy(const tvmf_instance* net, uint32_t step) {
  const uint32_t* tensors = net->set->steps[step].arguments;
  void* const* places = net->calls[step].arguments;
  size_t bytes = (size_t)net->set->tensors[tensors[0]].bytes;
  if (bytes) memmove(places[1], places[0], bytes);
  return 0;
}

static int run_step(tvmf_instance* net, uint32_t step) {
  const Call* call = &net->calls[step];
  if (!(call->call ? call->call(call->arguments) : copy(net, step))) return TVMF_OK;
  tvmf_scratch_reset();
  return tvmf_fail(TVMF_ENVIRONMENT, "kernel %s failed: not enough memory",
                   tvmf_step_name(net, (int32_t)step));
}

int tvmf_run_steps(tvmf_instance* net, uint64_t* nanoseconds, uint64_t (*now)(void)) {
  int status = net->flags & TVMF_UNCHECKED ? TVMF_OK : check_inputs(net);
  Pool* before = current;
  current = net->pool;
  uint64_t begin = nanoseconds ? now() : 0;
  for (uint32_t i = 0; !status && i < net->set->step_count; i++) {
    status = run_step(net, i);
    if (!nanoseconds) continue;
    uint64_t end = now();
    nanoseconds[i] = end - begin;
    begin = end;
  }
  current = before;
  return status;
}

int tvmf_run_entered(tvmf_instance* net) { return tvmf_run_steps(net, NULL, NULL); }

int tvmf_run(tvmf_instance* net) {
  int status = tvmf_enter(net);
  if (status) return status;
  status = tvmf_run_entered(net);
  tvmf_leave(net);
  return status;
}
