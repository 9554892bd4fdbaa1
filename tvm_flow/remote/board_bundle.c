// A bundle on a board: libtvm_flow as functions of a library that TVM's RPC loads and calls there.
//
// There is one bundle at a time. Each function returns a tvmf_status. A tensor must have the type
// and the shape of what it is for.
//   open(folder, threads, core, core, ...)   the bundle, bound to the first `threads` cores
//   set_input(index, tensor)                 copies into the network
//   get_output(index, tensor)                copies out of it
//   run()
//   time(warm_up, tensor)                    nanoseconds (uint64) of runs, one per element
//   last_error(tensor)                       the sentence, as uint8, up to a zero byte
#include <string.h>

#include "internal.h"

enum { MOST_CORES = 1024, LANES = 1 };

// tvm/ffi/c_api.h
enum { INTEGER = 1, DL_TENSOR = 7, RAW_TEXT = 8, SMALL_TEXT = 11, TEXT = 65, TENSOR = 70 };
enum { OBJECT_HEADER_BYTES = 24 };

typedef struct {
  int32_t type_index;
  uint32_t padding;
  union {
    int64_t number;
    const char* pointer;
    char small_text[8];
  } value;
} Any;

// dlpack/dlpack.h
typedef struct {
  char* data;
  int32_t device_type, device;
  int32_t dimensions;
  uint8_t type, bits;
  uint16_t lanes;
  const int64_t* shape;
  const int64_t* strides;  // NULL, or those of a compact tensor: RPC makes no others
  uint64_t byte_offset;
} DlTensor;

static tvmf_model* model;
static tvmf_instance* net;

static void close_bundle(void) {
  tvmf_close(net);
  tvmf_unload(model);
  net = NULL, model = NULL;
}

// Threads must be gone before their code is unmapped.
__attribute__((destructor)) static void unload(void) { close_bundle(); }

static int misused(void) {
  return tvmf_fail(TVMF_USAGE, "the board's part of tvm-flow was called with the wrong arguments. "
                   "Fix: report it");
}

static const char* text_of(const Any* any) {
  switch (any->type_index) {
    case RAW_TEXT:
      return any->value.pointer;
    case SMALL_TEXT:
      return any->value.small_text;
    case TEXT:
      return *(const char* const*)(any->value.pointer + OBJECT_HEADER_BYTES);
    default:
      return NULL;
  }
}

static const DlTensor* tensor_of(const Any* any) {
  if (any->type_index == DL_TENSOR) return (const DlTensor*)any->value.pointer;
  if (any->type_index != TENSOR) return NULL;
  return (const DlTensor*)(any->value.pointer + OBJECT_HEADER_BYTES);
}

static char* data_of(const DlTensor* tensor) { return tensor->data + tensor->byte_offset; }

static bool is_list_of(const DlTensor* tensor, int type, int bits) {
  return tensor && tensor->dimensions == 1 && tensor->type == type && tensor->bits == bits &&
         tensor->lanes == LANES && tensor->shape[0] > 0 && tensor->shape[0] <= INT32_MAX;
}

static bool fits(const DlTensor* tensor, const tvmf_tensor_info* info) {
  bool same = tensor->dimensions == info->dimensions && tensor->type == info->type &&
              tensor->bits == info->bits && tensor->lanes == LANES;
  for (int32_t i = 0; same && i < info->dimensions; i++)
    same = (uint64_t)tensor->shape[i] == info->shape[i];
  return same;
}

// Arguments (index, tensor) of an input or output, which `describe` knows.
static int port_of(const Any* args, int32_t count,
                   int (*describe)(const tvmf_instance*, int32_t, tvmf_tensor_info*),
                   tvmf_tensor_info* info) {
  const DlTensor* tensor = count == 2 ? tensor_of(&args[1]) : NULL;
  if (!net || !tensor) return misused();
  int status = describe(net, (int32_t)args[0].value.number, info);
  if (status || fits(tensor, info)) return status;
  return tvmf_fail(TVMF_BUNDLE, "%s has another shape or type in the plan than in the manifest. "
                   "Fix: compile the bundle again", info->name);
}

static int open_bundle(const Any* args, int32_t count) {
  const char* folder = count > 2 && count <= 2 + MOST_CORES ? text_of(&args[0]) : NULL;
  if (!folder) return misused();
  int32_t cores[MOST_CORES];
  for (int32_t i = 2; i < count; i++) cores[i - 2] = (int32_t)args[i].value.number;
  tvmf_options options = {.size = sizeof options,
                          .flags = TVMF_PIN,
                          .threads = (int32_t)args[1].value.number,
                          .cores = cores,
                          .core_count = count - 2};
  close_bundle();
  int status = tvmf_load(folder, 0, &model);
  return status ? status : tvmf_open(model, &options, &net);
}

static int set_input(const Any* args, int32_t count) {
  tvmf_tensor_info info;
  int status = port_of(args, count, tvmf_input_info, &info);
  if (status) return status;
  memcpy(tvmf_input(net, (int32_t)args[0].value.number), data_of(tensor_of(&args[1])), info.bytes);
  return TVMF_OK;
}

static int get_output(const Any* args, int32_t count) {
  tvmf_tensor_info info;
  int status = port_of(args, count, tvmf_output_info, &info);
  if (status) return status;
  memcpy(data_of(tensor_of(&args[1])), tvmf_output(net, (int32_t)args[0].value.number), info.bytes);
  return TVMF_OK;
}

static int run(const Any* args, int32_t count) {
  (void)args, (void)count;
  return net ? tvmf_run(net) : misused();
}

static int time_runs(const Any* args, int32_t count) {
  const DlTensor* times = count == 2 ? tensor_of(&args[1]) : NULL;
  if (!net || !is_list_of(times, TVMF_UINT, 64)) return misused();
  return tvmf_time(net, (int32_t)args[0].value.number, (int32_t)times->shape[0],
                   (uint64_t*)(void*)data_of(times));
}

static int last_error(const Any* args, int32_t count) {
  const DlTensor* text = count == 1 ? tensor_of(&args[0]) : NULL;
  if (!is_list_of(text, TVMF_UINT, 8)) return misused();
  size_t most = (size_t)text->shape[0] - 1, bytes = strlen(tvmf_last_error());
  if (bytes > most) bytes = most;
  memcpy(data_of(text), tvmf_last_error(), bytes);
  data_of(text)[bytes] = 0;
  return TVMF_OK;
}

// `name` as TVM finds and calls it.
#define FOR_TVM(name, function)                                                             \
  __attribute__((visibility("default"))) int __tvm_ffi_##name(void* self, const Any* args,  \
                                                              int32_t count, Any* result) { \
    (void)self;                                                                             \
    *result = (Any){.type_index = INTEGER, .value.number = function(args, count)};          \
    return 0;                                                                               \
  }

FOR_TVM(open, open_bundle)
FOR_TVM(set_input, set_input)
FOR_TVM(get_output, get_output)
FOR_TVM(run, run)
FOR_TVM(time, time_runs)
FOR_TVM(last_error, last_error)
