// Reads plan.bin and checks everything in it; the format is described in docs/bundle-format.md.
//
// A plan is untrusted input: every number is checked against what is left of the file, every offset
// against the memory it points into, every index against its table, every product for overflow.
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char MAGIC[8] = "TVMFPLAN";
// Kernels rely on LEAST_ALIGNMENT, whatever a plan asks for.
enum { SCHEMA = 3, MOST_DIMENSIONS = 16, LEAST_ALIGNMENT = 16, MOST_ALIGNMENT = 4096 };
// No machine of today has more: sums of a few such numbers do not overflow.
static const uint64_t MOST_BYTES = (uint64_t)1 << 46;

// A block of memory of the plan; all are freed together.
typedef struct Block {
  struct Block* next;
  _Alignas(16) char content[];
} Block;

typedef struct {
  Plan* plan;
  const unsigned char *at, *end;
  const char* fault;  // the first one; everything read after it is 0
} Reader;

static void* fault(Reader* r, const char* what) {
  if (!r->fault) r->fault = what;
  r->at = r->end;
  return NULL;
}

static void take(Reader* r, void* to, size_t bytes) {
  memset(to, 0, bytes);
  if ((size_t)(r->end - r->at) < bytes) {
    fault(r, "it ends early");
    return;
  }
  memcpy(to, r->at, bytes);
  r->at += bytes;
}

// Little-endian, as all machines that bundles are made for.
static uint8_t u8(Reader* r) { uint8_t v; take(r, &v, sizeof v); return v; }
static uint32_t u32(Reader* r) { uint32_t v; take(r, &v, sizeof v); return v; }
static uint64_t u64(Reader* r) { uint64_t v; take(r, &v, sizeof v); return v; }
static float f32(Reader* r) { float v; take(r, &v, sizeof v); return v; }
static double f64(Reader* r) { double v; take(r, &v, sizeof v); return v; }

static void* allocate(Reader* r, size_t count, size_t size) {
  if (r->fault) return NULL;
  Block* block = calloc(1, sizeof(Block) + (count ? count : 1) * size);
  if (!block) return fault(r, "there is not enough memory for it");
  block->next = r->plan->memory;
  r->plan->memory = block;
  return block->content;
}

// The length of a table whose entries take `least` bytes of the file each, or more.
static uint32_t count_of(Reader* r, size_t least) {
  uint32_t count = u32(r);
  if (count <= (size_t)(r->end - r->at) / least) return count;
  fault(r, "a table is longer than the file");
  return 0;
}

static char* text(Reader* r) {
  uint32_t length = count_of(r, 1);
  char* made = allocate(r, (size_t)length + 1, 1);
  if (!made) return NULL;
  take(r, made, length);
  if (memchr(made, 0, length)) fault(r, "a name contains a zero");
  return made;
}

static char** texts(Reader* r, uint32_t* count) {
  *count = count_of(r, 4);
  char** made = allocate(r, *count, sizeof *made);
  for (uint32_t i = 0; made && i < *count; i++) made[i] = text(r);
  return made;
}

static uint32_t* numbers(Reader* r, uint32_t* count) {
  *count = count_of(r, 4);
  uint32_t* made = allocate(r, *count, sizeof *made);
  for (uint32_t i = 0; made && i < *count; i++) made[i] = u32(r);
  return made;
}

static void read_shape(Reader* r, Tensor* tensor) {
  tensor->dimensions = u32(r);
  if (tensor->dimensions > MOST_DIMENSIONS) fault(r, "a tensor has too many dimensions");
  if (!(tensor->shape = allocate(r, tensor->dimensions, sizeof(uint64_t)))) return;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < tensor->dimensions; i++) {
    tensor->shape[i] = u64(r);
    if (tensor->shape[i] > MOST_BYTES ||
        __builtin_mul_overflow(elements, tensor->shape[i], &elements) || elements > MOST_BYTES)
      fault(r, "a tensor is larger than memory");
  }
  tensor->bytes = elements * (tensor->bits / 8);
}

static void read_tensor(Reader* r, Tensor* tensor, const Set* set) {
  const Plan* plan = r->plan;
  tensor->place = u8(r), tensor->device = u8(r), tensor->type = u8(r), tensor->bits = u8(r);
  if (tensor->place >= TVMF_PLACES) fault(r, "a tensor lies nowhere");
  if (tensor->device >= plan->device_count) fault(r, "a tensor is on a device that is not there");
  if (tensor->bits < 8 || tensor->bits > 64 || tensor->bits & (tensor->bits - 1))
    fault(r, "a tensor has no type");
  read_shape(r, tensor);
  tensor->offset = u64(r);
  if (r->fault) return;
  uint64_t room = tensor->place == TVMF_PLACE_WEIGHTS ? plan->weights_bytes
                                                      : set->arenas[tensor->device];
  switch (tensor->place) {
    case TVMF_PLACE_INPUT:
      if (tensor->offset >= set->input_count) fault(r, "a tensor is an input that is not there");
      break;
    case TVMF_PLACE_OUTPUT:
      if (tensor->offset >= set->output_count) fault(r, "a tensor is an output that is not there");
      break;
    default:
      if (tensor->offset > room || tensor->bytes > room - tensor->offset)
        fault(r, "a tensor ends outside its memory");
      if (tensor->offset % plan->alignment) fault(r, "a tensor is not aligned");
  }
}

// The tensor of an input or output must be that one's, so that its memory is as large as all that
// share it.
static Port* read_ports(Reader* r, uint32_t count, const Set* set, uint8_t place) {
  Port* ports = allocate(r, count, sizeof *ports);
  for (uint32_t i = 0; ports && i < count; i++) {
    ports[i].name = text(r), ports[i].layout = text(r), ports[i].tensor = u32(r);
    if (r->fault) return NULL;
    if (ports[i].tensor >= set->tensor_count) return fault(r, "an input or output is no tensor");
    const Tensor* tensor = &set->tensors[ports[i].tensor];
    if (tensor->place != place || tensor->offset != i)
      return fault(r, "an input or output lies elsewhere");
  }
  return ports;
}

static void check_room(Reader* r, const Set* set, const Port* ports, uint32_t count,
                       uint64_t* sum) {
  for (uint32_t i = 0; !r->fault && i < count; i++) {
    *sum += tvmf_port_tensor(set, &ports[i])->bytes;
    if (*sum > MOST_BYTES) fault(r, "its inputs and outputs are larger than memory");
  }
}

static void check_ports(Reader* r, const Set* set) {
  uint64_t sum = 0;
  check_room(r, set, set->inputs, set->input_count, &sum);
  check_room(r, set, set->outputs, set->output_count, &sum);
  for (uint32_t i = 0; !r->fault && i < set->tensor_count; i++) {
    const Tensor* tensor = &set->tensors[i];
    if (tensor->place != TVMF_PLACE_INPUT && tensor->place != TVMF_PLACE_OUTPUT) continue;
    const Port* ports = tensor->place == TVMF_PLACE_INPUT ? set->inputs : set->outputs;
    if (tensor->bytes > set->tensors[ports[tensor->offset].tensor].bytes)
      fault(r, "a tensor is larger than the input or output it lies in");
  }
}

static void read_step(Reader* r, Step* step, const Set* set) {
  step->kind = u8(r), step->device = u8(r);
  step->kernel = u32(r);
  for (int i = 0; i < 3; i++) step->grid[i] = u32(r);
  for (int i = 0; i < 3; i++) step->block[i] = u32(r);
  step->shared_bytes = u32(r);
  step->arguments = numbers(r, &step->argument_count);
  if (r->fault) return;
  if (step->kind >= TVMF_STEPS) fault(r, "a step is of an unknown kind");
  if (step->device >= r->plan->device_count) fault(r, "a step is for a device that is not there");
  for (uint32_t i = 0; i < step->argument_count; i++)
    if (step->arguments[i] >= set->tensor_count) fault(r, "a step takes what is no tensor");
  if (r->fault) return;
  if (step->kind == TVMF_STEP_KERNEL && step->kernel >= r->plan->kernel_count)
    fault(r, "a step calls no kernel");
  if (step->kind != TVMF_STEP_COPY) return;
  if (step->argument_count != 2) {
    fault(r, "a copy is not from one tensor to another");
    return;
  }
  const Tensor *from = &set->tensors[step->arguments[0]], *to = &set->tensors[step->arguments[1]];
  if (from->bytes != to->bytes || to->place == TVMF_PLACE_WEIGHTS || to->place == TVMF_PLACE_INPUT)
    fault(r, "a copy does not fit");
}

static void read_set(Reader* r, Set* set) {
  const uint32_t devices = r->plan->device_count;
  if (!(set->arenas = allocate(r, devices, sizeof(uint64_t)))) return;
  for (uint32_t i = 0; i < devices; i++)
    if ((set->arenas[i] = u64(r)) > MOST_BYTES) fault(r, "an arena is larger than memory");
  set->input_count = u32(r), set->output_count = u32(r);
  set->tensor_count = count_of(r, 16);
  if (!(set->tensors = allocate(r, set->tensor_count, sizeof(Tensor)))) return;
  if ((uint64_t)set->input_count + set->output_count > set->tensor_count)
    fault(r, "there are more inputs and outputs than tensors");
  for (uint32_t i = 0; !r->fault && i < set->tensor_count; i++)
    read_tensor(r, &set->tensors[i], set);
  set->inputs = read_ports(r, set->input_count, set, TVMF_PLACE_INPUT);
  set->outputs = read_ports(r, set->output_count, set, TVMF_PLACE_OUTPUT);
  check_ports(r, set);
  set->step_count = count_of(r, 38);
  if (!(set->steps = allocate(r, set->step_count, sizeof(Step)))) return;
  for (uint32_t i = 0; !r->fault && i < set->step_count; i++) read_step(r, &set->steps[i], set);
}

static void read_picture(Reader* r, Picture* picture) {
  picture->input = u32(r), picture->resize = u32(r);
  picture->width = u32(r), picture->height = u32(r), picture->bgr = u32(r);
  picture->scale = f32(r);
  for (int i = 0; i < 4; i++) picture->mean[i] = f32(r);
  for (int i = 0; i < 4; i++) picture->std[i] = f32(r);
  const uint32_t most = 1 << 15;
  if (!picture->width || !picture->height || picture->width > most || picture->height > most ||
      picture->resize > most)
    fault(r, "its pictures have no size");
}

static void read_target(Reader* r, Plan* plan) {
  plan->model = text(r), plan->board = text(r), plan->version = text(r);
  plan->machine = u32(r);
  plan->features = texts(r, &plan->feature_count);
  plan->threads = u32(r);
  plan->cores = numbers(r, &plan->core_count);
  plan->alignment = u32(r);
  plan->code_bytes = u64(r), plan->code_sum = u64(r);
  plan->weights_bytes = u64(r), plan->weights_sum = u64(r);
  plan->tolerance = f64(r);
  uint32_t alignment = plan->alignment;
  if (alignment < LEAST_ALIGNMENT || alignment > MOST_ALIGNMENT || alignment & (alignment - 1))
    fault(r, "its alignment is no power of two, or none that kernels can use");
  if (!plan->threads || plan->threads > 1024) fault(r, "its number of threads makes no sense");
  if (plan->weights_bytes > MOST_BYTES || plan->code_bytes > MOST_BYTES)
    fault(r, "its files are larger than memory");
}

static void read_body(Reader* r, Plan* plan) {
  read_target(r, plan);
  plan->devices = numbers(r, &plan->device_count);
  if (plan->device_count < 1 || plan->device_count > 255) fault(r, "it is for no device");
  plan->kernel_count = count_of(r, 8);
  plan->kernels = allocate(r, plan->kernel_count, sizeof *plan->kernels);
  for (uint32_t i = 0; plan->kernels && i < plan->kernel_count; i++) {
    plan->kernels[i].symbol = text(r), plan->kernels[i].device = u32(r);
    if (plan->kernels[i].device >= plan->device_count)
      fault(r, "a kernel is for a device that is not there");
  }
  plan->set_count = count_of(r, 20);
  if (!plan->set_count) fault(r, "it has no steps");
  plan->sets = allocate(r, plan->set_count, sizeof *plan->sets);
  for (uint32_t i = 0; !r->fault && i < plan->set_count; i++) read_set(r, &plan->sets[i]);
  plan->picture_count = count_of(r, 56);
  plan->pictures = allocate(r, plan->picture_count, sizeof *plan->pictures);
  for (uint32_t i = 0; !r->fault && i < plan->picture_count; i++)
    read_picture(r, &plan->pictures[i]);
  plan->labels = texts(r, &plan->label_count);
  if (!r->fault && r->at != r->end) fault(r, "it does not end where it should");
}

static const char* read_header(Reader* r, size_t bytes) {
  char magic[sizeof MAGIC];
  take(r, magic, sizeof magic);
  if (memcmp(magic, MAGIC, sizeof MAGIC)) return "it is no plan of a bundle";
  uint32_t schema = u32(r);
  u32(r);
  if (r->fault) return r->fault;
  if (schema != SCHEMA) return NULL;
  uint64_t size = u64(r), sum = u64(r);
  if (r->fault || size != bytes) return "it does not have the size it was written with";
  if (sum != tvmf_checksum(r->at, (size_t)(r->end - r->at)))
    return "it was changed after it was written";
  return "";
}

int tvmf_plan_read(Plan* plan, const void* data, size_t bytes) {
  *plan = (Plan){0};
  Reader r = {plan, data, (const unsigned char*)data + bytes, NULL};
  const char* why = read_header(&r, bytes);
  if (!why)
    return tvmf_fail(TVMF_BUNDLE, "the bundle was written by another version of tvm-flow: this one "
                     "reads schema %d. Fix: compile it again", SCHEMA);
  if (!*why) {
    read_body(&r, plan);
    why = r.fault;
  }
  if (!why) return TVMF_OK;
  return tvmf_fail(TVMF_BUNDLE, "the bundle's plan is damaged: %s. Fix: copy the bundle again, or "
                   "compile it again", why);
}

void tvmf_plan_free(Plan* plan) {
  for (Block* block = plan->memory; block;) {
    Block* next = block->next;
    free(block);
    block = next;
  }
  *plan = (Plan){0};
}
