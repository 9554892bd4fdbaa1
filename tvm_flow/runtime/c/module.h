// What model.so and libtvm_flow tell each other. A library of kernels exports one symbol,
// `tvmf_module`; its source is generated when a network is compiled.
#ifndef TVM_FLOW_MODULE_H_
#define TVM_FLOW_MODULE_H_

#include <stdint.h>

#define TVMF_MODULE_ABI 1

// tvm/runtime/c_backend_api.h
typedef struct {
  void* sync_handle;
  int32_t num_task;
} tvmf_parallel_env;
typedef int (*tvmf_task)(int task, tvmf_parallel_env* env, void* data);

// What kernels call; the signatures are those of TVM's backend.
typedef struct {
  int (*launch)(tvmf_task task, void* data, int tasks);
  void* (*alloc)(int device_type, int device, uint64_t bytes, int type, int bits);
  int (*free)(int device_type, int device, void* memory);
} tvmf_services;

typedef struct {
  const char* name;
  int (*call)(void* const* arguments);
  uint32_t arguments, outputs;  // the last `outputs` arguments are written
  const uint64_t* bytes;        // that the kernel may touch of each argument
} tvmf_kernel;

typedef struct {
  uint32_t abi, kernel_count;
  const tvmf_kernel* kernels;
  void (*attach)(const tvmf_services* services);
} tvmf_module_table;

#endif  // TVM_FLOW_MODULE_H_
