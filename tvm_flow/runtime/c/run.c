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

static const Port* not_finite(const Set* set, const Port* ports, uint32_t count, void* const* at) {
  for (uint32_t i = 0; i < count; i++)
    if (!tvmf_all_finite(tvmf_port_tensor(set, &ports[i]), at[i])) return &ports[i];
  return NULL;
}

// Whole numbers and truth values do not show what they were made of.
static bool outputs_tell(const Set* set) {
  for (uint32_t i = 0; i < set->output_count; i++)
    if (!tvmf_may_be_nan(tvmf_port_tensor(set, &set->outputs[i]))) return false;
  return set->output_count > 0;
}

static int check_inputs(const tvmf_instance* net) {
  const Set* set = net->set;
  const Port* bad = not_finite(set, set->inputs, set->input_count, net->inputs);
  if (!bad) return TVMF_OK;
  return tvmf_fail(TVMF_USAGE, "input %s contains NaN or infinity. Fix: look at the pre-processing",
                   bad->name);
}

// Kernels keep NaN and infinity as PyTorch does: what reaches an output shows there, and outputs are
// mostly smaller. A network may make it of finite inputs; that is its result.
static int check_outputs(const tvmf_instance* net) {
  const Set* set = net->set;
  return not_finite(set, set->outputs, set->output_count, net->outputs) ? check_inputs(net) : TVMF_OK;
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
  bool checked = !(net->flags & TVMF_UNCHECKED), tell = outputs_tell(net->set);
  int status = checked && !tell ? check_inputs(net) : TVMF_OK;
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
  return !status && checked && tell ? check_outputs(net) : status;
}

int tvmf_run_entered(tvmf_instance* net) { return tvmf_run_steps(net, NULL, NULL); }

int tvmf_run(tvmf_instance* net) {
  int status = tvmf_enter(net);
  if (status) return status;
  status = tvmf_run_entered(net);
  tvmf_leave(net);
  return status;
}
