// A network ready to run: memory, arguments of all its calls, threads.
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { MOST_THREADS = 1024, MEMORY_ALIGNMENT = 4096 };

// ---- Memory

static uint64_t rounded(uint64_t bytes) {
  return (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
}

static uint64_t ports_bytes(const Set* set, const Port* ports, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += rounded(tvmf_port_tensor(set, &ports[i])->bytes);
  return sum;
}

static char* place_ports(const Set* set, const Port* ports, uint32_t count, void** own,
                         void** used, char* at) {
  for (uint32_t i = 0; i < count; i++) {
    own[i] = used[i] = at;
    at += rounded(tvmf_port_tensor(set, &ports[i])->bytes);
  }
  return at;
}

// Everything in one piece, of which only what is written to takes memory.
static int allocate(tvmf_instance* net) {
  const Set* set = net->set;
  uint64_t bytes = rounded(set->arenas[0]) + ports_bytes(set, set->inputs, set->input_count) +
                   ports_bytes(set, set->outputs, set->output_count) + MEMORY_ALIGNMENT;
  if (bytes > SIZE_MAX / 2 || !(net->memory = tvmf_memory((size_t)bytes)))
    return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory to run %s: it needs %llu bytes. Fix: close "
                     "other programs, or raise the limit (ulimit -v)", net->model->plan.model,
                     (unsigned long long)bytes);
  net->memory_bytes = (size_t)bytes;
  size_t ports = set->input_count + set->output_count, arguments = 0;
  for (uint32_t i = 0; i < set->step_count; i++) arguments += set->steps[i].argument_count;
  void** tables = calloc(2 * ports + arguments + 1, sizeof *tables);
  net->calls = calloc(set->step_count + 1, sizeof *net->calls);
  net->inputs = tables;
  if (!tables || !net->calls) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory");
  net->own_inputs = net->inputs + set->input_count;
  net->outputs = net->own_inputs + set->input_count;
  net->own_outputs = net->outputs + set->output_count;
  net->arguments = net->own_outputs + set->output_count;
  char* at = net->memory + rounded(set->arenas[0]);
  at = place_ports(set, set->inputs, set->input_count, net->own_inputs, net->inputs, at);
  place_ports(set, set->outputs, set->output_count, net->own_outputs, net->outputs, at);
  return TVMF_OK;
}

static void* address_of(const tvmf_instance* net, const Tensor* tensor) {
  switch (tensor->place) {
    case TVMF_PLACE_WEIGHTS:
      return (char*)(uintptr_t)net->model->weights.data + tensor->offset;  // never written
    case TVMF_PLACE_INPUT:
      return net->inputs[tensor->offset];
    case TVMF_PLACE_OUTPUT:
      return net->outputs[tensor->offset];
    default:
      return net->memory + tensor->offset;
  }
}

static void place_arguments(tvmf_instance* net) {
  const Set* set = net->set;
  void** next = net->arguments;
  for (uint32_t i = 0; i < set->step_count; i++) {
    const Step* step = &set->steps[i];
    bool kernel = step->kind == TVMF_STEP_KERNEL;
    net->calls[i].call = kernel ? net->model->kernels[step->kernel]->call : NULL;
    net->calls[i].arguments = next;
    for (uint32_t a = 0; a < step->argument_count; a++)
      *next++ = address_of(net, &set->tensors[step->arguments[a]]);
  }
}

// ---- Threads

static int default_cores(const Plan* plan, int32_t* cores) {
  int count = tvmf_machine_cores(cores, MOST_THREADS), known = 0;
  for (uint32_t i = 0; i < plan->core_count; i++)
    for (int k = 0; k < count; k++) known += cores[k] == (int32_t)plan->cores[i];
  if ((uint32_t)known != plan->core_count || !known || known > MOST_THREADS) return count;
  for (int i = 0; i < known; i++) cores[i] = (int32_t)plan->cores[i];
  return known;
}

// Those to choose from; 0 where the options' do not exist.
static int available_cores(const Plan* plan, const tvmf_options* options, int32_t* cores) {
  if (!options->cores) return default_cores(plan, cores);
  if (options->core_count < 1 || options->core_count > MOST_THREADS) return 0;
  for (int i = 0; i < options->core_count; i++) {
    cores[i] = options->cores[i];
    if (cores[i] < 0 || cores[i] >= CPU_SETSIZE) return 0;
  }
  return options->core_count;
}

// How many are asked for, or as many as make sense; 0 where there are fewer cores.
static int choose_threads(const Plan* plan, int wanted, int available) {
  if (wanted) return wanted <= available ? wanted : 0;
  int threads = (int)plan->threads, quota = tvmf_quota("");
  if (threads > available) threads = available;
  return threads < quota ? threads : quota;
}

static int start_threads(tvmf_instance* net, const tvmf_options* options) {
  int32_t cores[MOST_THREADS];
  int available = available_cores(&net->model->plan, options, cores);
  if (!available)
    return tvmf_fail(TVMF_USAGE, "tvmf_open was given cores that cannot be. Fix: pass 1 to %d numbers "
                     "from 0 to %d, or NULL", MOST_THREADS, CPU_SETSIZE - 1);
  int threads = choose_threads(&net->model->plan, options->threads, available);
  if (threads < 1)
    return tvmf_fail(TVMF_USAGE, "%d thread(s) are not possible: there are %d core(s) for them. Fix: "
                     "ask for as many at most, or start the process with a wider CPU affinity",
                     options->threads, available);
  net->pool = tvmf_pool_create(threads, cores);
  if (!net->pool || tvmf_pool_threads(net->pool) != threads)
    return tvmf_fail(TVMF_ENVIRONMENT, "the system gives no %d threads. Fix: look at ulimit -u and -v, "
                     "or use fewer", threads);
  if (options->flags & TVMF_PIN) tvmf_machine_pin(cores[0]);
  return TVMF_OK;
}

// Threads do not survive a fork: in the child the instance gets new ones.
static int renew_threads(tvmf_instance* net, int process) {
  int threads = tvmf_pool_threads(net->pool);
  int32_t cores[MOST_THREADS];
  for (int i = 0; i < threads; i++) cores[i] = tvmf_pool_core(net->pool, i);
  Pool* pool = tvmf_pool_create(threads, cores);
  if (!pool || tvmf_pool_threads(pool) != threads) {
    tvmf_pool_destroy(pool);  // the next run tries again
    return tvmf_fail(TVMF_ENVIRONMENT, "the system gives no %d threads after a fork. Fix: look at "
                     "ulimit -u and -v", threads);
  }
  tvmf_runner_free(atomic_exchange(&net->runner, NULL), true);
  tvmf_pool_forget(net->pool);
  net->pool = pool;
  atomic_store(&net->process, process);
  return TVMF_OK;
}

// ---- Having it

// Of threads that come at once one gets it, in a new child too, where it is taken over from the
// process that had it.
static bool take_over(tvmf_instance* net, int process) {
  int user = atomic_load_explicit(&net->user, memory_order_relaxed);
  return user != process && atomic_compare_exchange_strong(&net->user, &user, process);
}

int tvmf_enter(tvmf_instance* net) {
  if (!net) return tvmf_fail(TVMF_USAGE, "there is no instance");
  int process = (int)getpid();
  if (!take_over(net, process))
    return tvmf_fail(TVMF_BUSY, "the instance is in use by another thread. Fix: open one per thread, "
                     "they share the weights");
  if (atomic_load(&net->process) == process) return TVMF_OK;
  int status = renew_threads(net, process);
  if (status) tvmf_leave(net);
  return status;
}

void tvmf_leave(tvmf_instance* net) {
  atomic_store_explicit(&net->user, 0, memory_order_release);
}

static void discard(tvmf_instance* net) {
  bool forked = atomic_load(&net->process) != (int)getpid();
  tvmf_runner_free(net->runner, forked);
  if (forked)
    tvmf_pool_forget(net->pool);
  else
    tvmf_pool_destroy(net->pool);
  tvmf_memory_free(net->memory, net->memory_bytes);
  free(net->inputs);
  free(net->calls);
  free(net->picture_buffer);
  tvmf_unload(net->model);
  free(net);
}

static int check_devices(const Plan* plan) {
  if (plan->device_count == 1 && *plan->devices == TVMF_DEVICE_CPU) return TVMF_OK;
  return tvmf_fail(TVMF_BUNDLE, "%s needs a device that this library cannot drive. Fix: compile it "
                   "with --device cpu", plan->model);
}

int tvmf_open(tvmf_model* model, const tvmf_options* options, tvmf_instance** instance) {
  static const tvmf_options defaults = {.size = sizeof defaults};
  if (!model || !instance) return tvmf_fail(TVMF_USAGE, "tvmf_open was given no model or instance");
  *instance = NULL;
  if (!options) options = &defaults;
  if (options->size < sizeof *options || options->flags & ~(uint32_t)(TVMF_PIN | TVMF_UNCHECKED) ||
      options->threads < 0)
    return tvmf_fail(TVMF_USAGE, "tvmf_open was given options that make no sense");
  if (options->set < 0 || (uint32_t)options->set >= model->plan.set_count)
    return tvmf_fail(TVMF_USAGE, "there is no set of shapes %d, the bundle has %u", options->set,
                     model->plan.set_count);
  tvmf_instance* net = calloc(1, sizeof *net);
  if (!net) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory");
  net->model = model, net->set = &model->plan.sets[options->set], net->flags = options->flags;
  tvmf_model_retain(model);
  atomic_store(&net->process, (int)getpid());
  int status = check_devices(&model->plan);
  if (!status) status = allocate(net);
  if (!status) status = start_threads(net, options);
  if (status) {
    discard(net);
    return status;
  }
  place_arguments(net);
  *instance = net;
  return TVMF_OK;
}

int tvmf_close(tvmf_instance* net) {
  if (!net) return TVMF_OK;
  if (!take_over(net, (int)getpid()))
    return tvmf_fail(TVMF_BUSY, "the instance is running and cannot be closed. Fix: wait for its end");
  discard(net);
  return TVMF_OK;
}

// ---- Inputs and outputs

int32_t tvmf_input_count(const tvmf_instance* net) { return (int32_t)net->set->input_count; }
int32_t tvmf_output_count(const tvmf_instance* net) { return (int32_t)net->set->output_count; }

static int describe(const tvmf_instance* net, const Port* ports, uint32_t count, int32_t index,
                    tvmf_tensor_info* info) {
  if (!info) return tvmf_fail(TVMF_USAGE, "there is no place for what an input or output is");
  if (index < 0 || (uint32_t)index >= count)
    return tvmf_fail(TVMF_USAGE, "there is no input or output %d", index);
  const Port* port = &ports[index];
  const Tensor* tensor = tvmf_port_tensor(net->set, port);
  *info = (tvmf_tensor_info){port->name,   port->layout, tensor->shape, (int32_t)tensor->dimensions,
                             tensor->type, tensor->bits, tensor->bytes};
  return TVMF_OK;
}

int tvmf_input_info(const tvmf_instance* net, int32_t index, tvmf_tensor_info* info) {
  if (!net) return tvmf_fail(TVMF_USAGE, "there is no instance");
  return describe(net, net->set->inputs, net->set->input_count, index, info);
}

int tvmf_output_info(const tvmf_instance* net, int32_t index, tvmf_tensor_info* info) {
  if (!net) return tvmf_fail(TVMF_USAGE, "there is no instance");
  return describe(net, net->set->outputs, net->set->output_count, index, info);
}

void* tvmf_input(tvmf_instance* net, int32_t index) {
  return index < 0 || index >= tvmf_input_count(net) ? NULL : net->inputs[index];
}

void* tvmf_output(tvmf_instance* net, int32_t index) {
  return index < 0 || index >= tvmf_output_count(net) ? NULL : net->outputs[index];
}

static int bind_memory(tvmf_instance* net, const tvmf_tensor_info* info, void** used, void* own,
                       void* memory, size_t bytes) {
  uint32_t alignment = net->model->plan.alignment;
  if (memory && bytes < info->bytes)
    return tvmf_fail(TVMF_USAGE, "%s needs %llu bytes, %zu were given", info->name,
                     (unsigned long long)info->bytes, bytes);
  if ((uintptr_t)memory % alignment)
    return tvmf_fail(TVMF_USAGE, "memory for %s must begin at a multiple of %u. Fix: use "
                     "aligned_alloc, or copy to tvmf_input", info->name, alignment);
  int status = tvmf_enter(net);
  if (status) return status;
  *used = memory ? memory : own;
  place_arguments(net);
  tvmf_leave(net);
  return TVMF_OK;
}

int tvmf_bind_input(tvmf_instance* net, int32_t index, void* memory, size_t bytes) {
  tvmf_tensor_info info;
  int status = tvmf_input_info(net, index, &info);
  if (status) return status;
  return bind_memory(net, &info, &net->inputs[index], net->own_inputs[index], memory, bytes);
}

int tvmf_bind_output(tvmf_instance* net, int32_t index, void* memory, size_t bytes) {
  tvmf_tensor_info info;
  int status = tvmf_output_info(net, index, &info);
  if (status) return status;
  return bind_memory(net, &info, &net->outputs[index], net->own_outputs[index], memory, bytes);
}

int32_t tvmf_threads(const tvmf_instance* net) { return tvmf_pool_threads(net->pool); }

int32_t tvmf_core(const tvmf_instance* net, int32_t thread) {
  return thread < 0 || thread >= tvmf_threads(net) ? -1 : tvmf_pool_core(net->pool, thread);
}

uint64_t tvmf_arena_bytes(const tvmf_instance* net) { return net->set->arenas[0]; }
