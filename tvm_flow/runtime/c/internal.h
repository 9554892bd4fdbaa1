// Shared by the sources of the library; not for users.
#ifndef TVM_FLOW_INTERNAL_H_
#define TVM_FLOW_INTERNAL_H_

#include <stdbool.h>

#include "pool.h"
#include "tvm_flow.h"

// ---- error.c
int tvmf_fail(int status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// ---- plan.c: what is run. Everything in it is checked before code is loaded.
enum { TVMF_PLACE_ARENA, TVMF_PLACE_WEIGHTS, TVMF_PLACE_INPUT, TVMF_PLACE_OUTPUT, TVMF_PLACES };
enum { TVMF_STEP_KERNEL, TVMF_STEP_COPY, TVMF_STEPS };
enum { TVMF_DEVICE_CPU = 1 };

typedef struct {
  uint8_t place, device, type, bits;
  uint32_t dimensions;
  uint64_t* shape;
  uint64_t bytes;
  uint64_t offset;  // in the arena or the weights; else which input or output
} Tensor;

typedef struct {
  char *name, *layout;
  uint32_t tensor;
} Port;

typedef struct {
  uint8_t kind, device;
  uint32_t kernel;
  uint32_t grid[3], block[3], shared_bytes;  // of kernels of a GPU
  uint32_t argument_count;
  uint32_t* arguments;  // tensors
} Step;

typedef struct {
  uint64_t* arenas;  // bytes on each device
  uint32_t tensor_count, input_count, output_count, step_count;
  Tensor* tensors;
  Port *inputs, *outputs;
  Step* steps;
} Set;

typedef struct {
  char* symbol;
  uint32_t device;
} KernelName;

typedef struct {
  uint32_t input;
  uint32_t resize;          // the shorter side is resized to this many pixels
  uint32_t width, height;   // cut out of its middle
  uint32_t bgr;             // the network's channel order
  float scale;              // a value of 255 becomes this
  float mean[4], std[4];
} Picture;

typedef struct {
  void* memory;  // everything below lies in blocks of this list
  char *model, *board, *version;
  uint32_t machine, feature_count, threads, core_count, alignment;
  char** features;
  uint32_t* cores;
  uint64_t code_bytes, code_sum, weights_bytes, weights_sum;
  double tolerance;
  uint32_t device_count, kernel_count, set_count, picture_count, label_count;
  uint32_t* devices;
  KernelName* kernels;
  Set* sets;
  Picture* pictures;
  char** labels;
} Plan;

// `plan` is to be freed in any case.
int tvmf_plan_read(Plan* plan, const void* data, size_t bytes);
void tvmf_plan_free(Plan* plan);

// ---- file.c
typedef struct {
  const void* data;
  size_t bytes;
  void* mapping;  // to be unmapped; NULL: the caller's
  size_t mapping_bytes;
} Content;

// Open for reading, or -1 after tvmf_fail. `path` is what messages name.
int tvmf_file_open(const char* path);
// Of anything that is no regular file too, without a word: `why` says it.
int tvmf_file_regular(const char* path, const char** why);
// All `bytes` from the beginning; NULL, or why not.
const char* tvmf_file_read(int file, void* to, size_t bytes);
// The whole file. Read and not mapped: what a map shows may change or vanish while it is checked, and
// a medium that fails sends a signal.
int tvmf_file_content(int file, const char* path, Content* content);
int tvmf_file_map(int file, const char* path, Content* content);
// Into huge pages where there are any, and read-only afterwards.
int tvmf_file_read_huge(int file, const char* path, uint64_t bytes, Content* content);
int tvmf_copy_huge(const void* data, size_t bytes, const char* path, Content* content);
bool tvmf_huge_pages(void);
int tvmf_file_from_memory(const void* data, size_t bytes);
void tvmf_content_free(Content* content);
void* tvmf_memory(size_t bytes);  // zeroed pages, or NULL
void tvmf_memory_free(void* memory, size_t bytes);

// ---- code.c
typedef struct {
  void* library;
  const tvmf_module_table* table;
} Code;

int tvmf_code_check(const Plan* plan, const Content* content, const char* path);
// `directory`: where it lies as model.so; NULL: nowhere.
int tvmf_code_load(Code* code, int file, const char* directory, const char* path);
int tvmf_code_link(Code* code, const Plan* plan, const char* path, const tvmf_kernel** kernels);
void tvmf_code_unload(Code* code);

// ---- machine.c
int tvmf_machine_check(const Plan* plan, const char* path);
// Cores this process may use, the fastest first; their number, at most `most`.
int tvmf_machine_cores(int32_t* cores, int most);
// Bind the calling thread to a core; cores() still tells those it had before.
void tvmf_machine_pin(int32_t core);

// ---- quota.c
// CPUs that control groups allow, rounded up, or a large number. `root`: the folder that has proc and
// sys; "" but in tests.
int tvmf_quota(const char* root);

// ---- scratch.c: memory that kernels ask for while they run
void* tvmf_scratch_alloc(int device_type, int device, uint64_t bytes, int type, int bits);
int tvmf_scratch_free(int device_type, int device, void* memory);
// What this thread has is free again: after a kernel that failed, and did not free it.
void tvmf_scratch_reset(void);

// ---- model.c
struct tvmf_model {
  Plan plan;
  Content weights;
  Code code;
  const tvmf_kernel** kernels;  // of plan.kernels
  _Atomic uint32_t users;       // tvmf_load and open instances
};
void tvmf_model_retain(tvmf_model* model);

// ---- instance.c, run.c
typedef struct {
  int (*call)(void* const* arguments);
  void** arguments;
} Call;

typedef struct Runner Runner;  // async.c

struct tvmf_instance {
  tvmf_model* model;
  const Set* set;
  Pool* pool;
  uint32_t flags;
  char* memory;  // arena, inputs, outputs
  size_t memory_bytes;
  void **inputs, **outputs;          // what runs use
  void **own_inputs, **own_outputs;  // the instance's
  Call* calls;
  void** arguments;  // of all calls
  _Atomic int user;     // the process in which it is in use; 0: none
  _Atomic int process;  // whose threads these are
  Runner* _Atomic runner;
  void* picture_buffer;  // picture.c
  size_t picture_bytes;
};

// Have the instance for oneself, and give it back.
int tvmf_enter(tvmf_instance* instance);
void tvmf_leave(tvmf_instance* instance);
int tvmf_run_entered(tvmf_instance* instance);
// The same, and what each step took where there is a place for it.
int tvmf_run_steps(tvmf_instance* instance, uint64_t* nanoseconds, uint64_t (*now)(void));
int tvmf_pool_launch(tvmf_task task, void* data, int tasks);
void tvmf_runner_free(Runner* runner, bool forked);
bool tvmf_all_finite(const Tensor* tensor, const void* data);
// Whether its numbers can be NaN, and are looked at.
bool tvmf_may_be_nan(const Tensor* tensor);
static inline const Tensor* tvmf_port_tensor(const Set* set, const Port* port) {
  return &set->tensors[port->tensor];
}

// ---- tensor_file.c
// The .npy at `path`, which must be of the tensor's shape and type, into `memory`. `status`: what a
// file that is not is answered with, TVMF_USAGE of a given one and TVMF_BUNDLE of a bundle's.
int tvmf_npy_read(const char* path, int status, const Tensor* tensor, void* memory);
// NumPy's name for a type, such as "<f4"; false where it has none.
bool tvmf_npy_type(int type, int bits, char name[4]);

// ---- picture.c
int tvmf_set_picture_entered(tvmf_instance* instance, int32_t index, const void* pixels,
                             int32_t width, int32_t height, size_t stride, tvmf_pixels order);

// ---- check.c
// The file of the sample's "input" or "expected" number `index`; false where the path is too long.
bool tvmf_sample_path(char* path, size_t bytes, const char* directory, const char* what,
                      uint32_t index);
// A number of a tensor of any type.
double tvmf_element(int type, int bits, const void* data, uint64_t index);

#endif  // TVM_FLOW_INTERNAL_H_
