// tvm-flow's runtime: loads a compiled network (a bundle) and runs it. Needs nothing but the C library.
//
//   tvmf_model* model;
//   tvmf_instance* net;
//   if (tvmf_load("bundle", 0, &model) || tvmf_open(model, NULL, &net)) puts(tvmf_last_error());
//   fill(tvmf_input(net, 0));
//   tvmf_run(net);
//   use(tvmf_output(net, 0));
//   tvmf_close(net);
//   tvmf_unload(model);
//
// Functions that can fail return a tvmf_status; the sentence that says what happened, why, and what
// to do is then in tvmf_last_error() of the same thread.
//
// Threads: a model may be used by any number of threads. An instance is used by one thread at a
// time; a second one is refused with TVMF_BUSY, never served wrongly. Instances of one model share
// code and weights, have memory and worker threads of their own, and run beside each other.
//
// Processes: forking is allowed at any time. In the child an instance starts worker threads of its
// own at its first run; one that was running in another thread while the process forked is idle.
#ifndef TVM_FLOW_H_
#define TVM_FLOW_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Grows when functions are added; programs built with an older header keep working.
#define TVMF_API_VERSION 1

#define TVMF_API __attribute__((visibility("default")))

typedef enum {
  TVMF_OK = 0,
  TVMF_USAGE = 2,         // an argument cannot mean anything; NaN or infinity of an input
  TVMF_BUSY = 3,          // another thread is running the instance
  TVMF_BUNDLE = 7,        // damaged, incomplete, or made for another machine
  TVMF_NUMERICS = 8,      // wrong values in a check
  TVMF_ENVIRONMENT = 10,  // the system refuses memory, threads or files
} tvmf_status;

typedef struct tvmf_model tvmf_model;
typedef struct tvmf_instance tvmf_instance;

// TVMF_API_VERSION of the library, and the version of tvm-flow that it is part of.
TVMF_API int tvmf_api_version(void);
TVMF_API const char* tvmf_version(void);

// XXH64 with seed 0: the checksum in plan.bin of the files beside it.
TVMF_API uint64_t tvmf_checksum(const void* data, size_t bytes);

// About the last failure in this thread; valid until the next one. Never NULL.
TVMF_API const char* tvmf_last_error(void);

// ---- Models ------------------------------------------------------------------------------------

enum {
  // Map the file of weights, so that all processes on the machine share it. Otherwise weights are
  // read into huge pages where the system has those, which is faster. The file is not to be changed
  // while it is mapped: what is cut off ends the process with SIGBUS. To renew it, replace it.
  TVMF_SHARED_WEIGHTS = 1,
};

// Load the bundle in `directory`; NULL: the one inside this library (compile --single-file). Sizes
// and checksums, architecture and CPU are checked before any of its code runs.
TVMF_API int tvmf_load(const char* directory, uint32_t flags, tvmf_model** model);

// The same from memory: the contents of plan.bin, weights.bin and model.so. Weights are used where
// they lie if that is a multiple of tvmf_model_info.alignment, and must stay until tvmf_unload; the
// other two are copied.
TVMF_API int tvmf_load_memory(const void* plan, size_t plan_bytes, const void* weights,
                              size_t weights_bytes, const void* code, size_t code_bytes,
                              tvmf_model** model);

// Give the model back: `model` is not to be used any more, by any thread. Its memory and code go with
// its last instance.
TVMF_API void tvmf_unload(tvmf_model* model);

typedef struct {
  const char* name;    // of the network
  const char* target;  // the board it was compiled for
  const char* version; // of tvm-flow that compiled it
  int32_t threads;     // that it was compiled for
  int32_t alignment;   // bytes; of memory that is bound to inputs and outputs
  int32_t sets;        // sets of input shapes
  int32_t labels;      // class names
  uint64_t weights_bytes, code_bytes;
  double tolerance;    // the largest max_rel_error that tvmf_check accepts
} tvmf_model_info;

TVMF_API void tvmf_get_model_info(const tvmf_model* model, tvmf_model_info* info);

// The name of class `index`; NULL where there is none.
TVMF_API const char* tvmf_label(const tvmf_model* model, int32_t index);

// ---- Instances ---------------------------------------------------------------------------------

enum {
  // Bind the calling thread, which computes too, to the first core. Instances that it opens later
  // still have all the cores that it had before.
  TVMF_PIN = 1,
  // Do not look at every run for NaN and infinity that came in with an input.
  TVMF_UNCHECKED = 2,
};

typedef struct {
  uint32_t size;         // sizeof(tvmf_options)
  uint32_t flags;
  int32_t set;           // which set of input shapes
  int32_t threads;       // 0: as compiled for, at most one per core and what a cgroup's quota allows
  const int32_t* cores;  // where threads are bound; NULL: those it was compiled for, or the fastest
  int32_t core_count;
} tvmf_options;

// An instance ready to run: all memory that runs need, and worker threads. `options` may be NULL.
TVMF_API int tvmf_open(tvmf_model* model, const tvmf_options* options, tvmf_instance** instance);

// End the instance. TVMF_BUSY, and nothing is done, while it runs.
TVMF_API int tvmf_close(tvmf_instance* instance);

// DLPack's type codes.
enum { TVMF_INT = 0, TVMF_UINT = 1, TVMF_FLOAT = 2, TVMF_BFLOAT = 4, TVMF_BOOL = 6 };

typedef struct {
  const char* name;
  const char* layout;     // such as "NCHW"; empty where it says nothing
  const uint64_t* shape;  // `dimensions` numbers
  int32_t dimensions;     // 0: a scalar
  uint8_t type;           // TVMF_FLOAT and so on
  uint8_t bits;
  uint64_t bytes;
} tvmf_tensor_info;

TVMF_API int32_t tvmf_input_count(const tvmf_instance* instance);
TVMF_API int32_t tvmf_output_count(const tvmf_instance* instance);
TVMF_API int tvmf_input_info(const tvmf_instance* instance, int32_t index, tvmf_tensor_info* info);
TVMF_API int tvmf_output_info(const tvmf_instance* instance, int32_t index, tvmf_tensor_info* info);

// Where the next run reads and writes: the instance's own memory, or what was bound. NULL for an
// index that does not exist. The content of an output changes with the next run.
TVMF_API void* tvmf_input(tvmf_instance* instance, int32_t index);
TVMF_API void* tvmf_output(tvmf_instance* instance, int32_t index);

// Let runs read from and write to the caller's memory, which is `bytes` long and begins at a multiple
// of tvmf_model_info.alignment. NULL: the instance's own again.
TVMF_API int tvmf_bind_input(tvmf_instance* instance, int32_t index, void* memory, size_t bytes);
TVMF_API int tvmf_bind_output(tvmf_instance* instance, int32_t index, void* memory, size_t bytes);

TVMF_API int tvmf_run(tvmf_instance* instance);

// Begin a run in a thread of the instance's own, and wait for its end, which any thread may do.
// Between the two everything else with this instance is refused with TVMF_BUSY. A child that is
// forked meanwhile has no part in the run: there is nothing to wait for, and it may begin its own.
TVMF_API int tvmf_start(tvmf_instance* instance);
TVMF_API int tvmf_wait(tvmf_instance* instance);

// Worker threads, the caller's included; and the core of each, -1 beyond.
TVMF_API int32_t tvmf_threads(const tvmf_instance* instance);
TVMF_API int32_t tvmf_core(const tvmf_instance* instance, int32_t thread);

// Bytes of memory for intermediate results.
TVMF_API uint64_t tvmf_arena_bytes(const tvmf_instance* instance);

// ---- Measuring ---------------------------------------------------------------------------------

// `warm_up` runs, then the nanoseconds of each of `runs` further ones.
TVMF_API int tvmf_time(tvmf_instance* instance, int32_t warm_up, int32_t runs, uint64_t* nanoseconds);

// The steps of a run, and the name of the function each calls.
TVMF_API int32_t tvmf_step_count(const tvmf_instance* instance);
TVMF_API const char* tvmf_step_name(const tvmf_instance* instance, int32_t index);

// One run; the nanoseconds of each step.
TVMF_API int tvmf_profile(tvmf_instance* instance, uint64_t* nanoseconds);

// How many parallel loops a worker had no part in, so far: something else had its core.
TVMF_API uint32_t tvmf_absences(const tvmf_instance* instance);

// ---- Inputs ------------------------------------------------------------------------------------

typedef enum { TVMF_RGB = 0, TVMF_BGR = 1, TVMF_RGBA = 2, TVMF_BGRA = 3, TVMF_GRAY = 4 } tvmf_pixels;

// Resize, crop and normalise a picture into the input, as the bundle says: bit for bit what Pillow's
// resize(BILINEAR) and crop and NumPy's float32 make of it. `pixels`: uint8, `height` rows of `width`
// pixels, `stride` bytes apart, 0 for rows without gaps. Alpha is dropped; gray becomes three equal
// channels, and colors become gray (ITU-R 601-2) where the input has one. Allocates only where a
// picture is larger than those before it. TVMF_USAGE where the input takes no pictures: it is a batch
// of 1, NCHW or NHWC, float32, or uint8, which gets the pixels as they are.
TVMF_API int tvmf_set_picture(tvmf_instance* instance, int32_t index, const void* pixels,
                              int32_t width, int32_t height, size_t stride, tvmf_pixels order);

// Read a file into the input: .npy (of the input's shape and type), raw little-endian .bin (of its
// size), or a binary picture, .ppm or .pgm, with values of one byte (the first in the file). After a
// failure the content of the input is undefined. TVMF_USAGE where it contains NaN or infinity.
TVMF_API int tvmf_read_input(tvmf_instance* instance, int32_t index, const char* path);

// Run the sample in the bundle's `directory` and compare with what its reference computed for it.
// `max_rel_error`: the largest absolute difference as a fraction of the largest expected magnitude,
// of the worst output; infinite for NaN in one alone; untouched where there was no result to compare.
// May be NULL. TVMF_NUMERICS where it is above tvmf_model_info.tolerance. The inputs are the sample's afterwards,
// which lies in sample_input.npy, sample_input_2.npy and so on, and sample_expected.npy and so on.
TVMF_API int tvmf_check(tvmf_instance* instance, const char* directory, double* max_rel_error);

#ifdef __cplusplus
}
#endif
#endif  // TVM_FLOW_H_
