// Calls a kernel once on given arguments, between two marker instructions that plugin.cc knows.
//
//   driver LIBRARY ARGUMENTS
//
// ARGUMENTS is a binary file, written by run.py and overwritten in place with the memory after the
// call. Little-endian: u64 count; per argument u64 ndim, dims (ndim), u64 type code and u64 bits of an
// element (DLPack's), u64 bytes of memory, u64 offset of the tensor in it; then the memories, each
// starting at a multiple of 64 bytes.
// Exit codes: 0 done; 2 wrong usage or file; 3 the library does not load; 4 the kernel refused.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__aarch64__)
#define MARK_ON() asm volatile("hint #100" ::: "memory")
#define MARK_OFF() asm volatile("hint #101" ::: "memory")
#else
#define MARK_ON() asm volatile("nopl 0x7f00a5a5(%%rax)" ::: "memory")
#define MARK_OFF() asm volatile("nopl 0x7f00a5a6(%%rax)" ::: "memory")
#endif

namespace {

constexpr size_t kAlignment = 64;  // of every tensor, as TVM's runtime guarantees

void* allocate(int, int, uint64_t bytes, int, int) {
  return aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}
int release(int, int, void* memory) {
  free(memory);
  return 0;
}

// Kernels find the runtime through pointers of their own, which whoever loads them fills in.
void connect(void* library, const char* name, void* function) {
  if (void* slot = dlsym(library, name)) memcpy(slot, &function, sizeof function);
}

// Maps the arguments; the tensors point into the mapping, so that what is written is kept.
std::vector<DLTensor> arguments(const char* path) {
  std::vector<DLTensor> tensors;
  int file = open(path, O_RDWR);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) return tensors;
  auto size = static_cast<size_t>(status.st_size);
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return tensors;
  auto* base = static_cast<char*>(mapped);
  auto* header = reinterpret_cast<uint64_t*>(base);
  std::vector<uint64_t*> entries;
  uint64_t* at = header + 1;
  for (uint64_t i = 0; i < header[0]; i++, at += at[0] + 5) entries.push_back(at);
  auto offset = static_cast<size_t>(reinterpret_cast<char*>(at) - base);
  for (uint64_t* entry : entries) {
    uint64_t ndim = entry[0];
    offset = (offset + kAlignment - 1) / kAlignment * kAlignment;
    DLTensor tensor{};
    tensor.data = base + offset + entry[ndim + 4];
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int32_t>(ndim);
    tensor.dtype.code = static_cast<uint8_t>(entry[ndim + 1]);
    tensor.dtype.bits = static_cast<uint8_t>(entry[ndim + 2]);
    tensor.dtype.lanes = 1;
    tensor.shape = reinterpret_cast<int64_t*>(entry + 1);
    auto* strides = new int64_t[ndim + 1];  // kept until the program ends
    strides[ndim] = 1;
    for (uint64_t d = ndim; d-- > 0;)
      strides[d] = d + 1 < ndim ? strides[d + 1] * tensor.shape[d + 1] : 1;
    tensor.strides = strides;
    tensors.push_back(tensor);
    offset += entry[ndim + 3];
  }
  return tensors;
}

}  // namespace

// Kernels call this to say which of their arguments they refuse.
extern "C" __attribute__((visibility("default"))) void TVMFFIErrorSetRaisedFromCStrParts(
    const char* kind, const char** parts, int32_t count) {
  fprintf(stderr, "%s: ", kind);
  for (int32_t i = 0; i < count; i++)
    if (parts[i]) fputs(parts[i], stderr);
  fputc('\n', stderr);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::vector<DLTensor> tensors = arguments(argv[2]);
  if (tensors.empty()) {
    fprintf(stderr, "cannot read %s\n", argv[2]);
    return 2;
  }
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  void* symbol = library ? dlsym(library, "__tvm_ffi_candidate") : nullptr;
  if (!symbol) {
    fprintf(stderr, "%s\n", dlerror());
    return 3;
  }
  connect(library, "__TVMBackendAllocWorkspace", reinterpret_cast<void*>(&allocate));
  connect(library, "__TVMBackendFreeWorkspace", reinterpret_cast<void*>(&release));
  auto kernel = reinterpret_cast<TVMFFISafeCallType>(symbol);
  std::vector<TVMFFIAny> values(tensors.size());
  for (size_t i = 0; i < tensors.size(); i++) {
    values[i] = {};
    values[i].type_index = kTVMFFIDLTensorPtr;
    values[i].v_ptr = &tensors[i];
  }
  TVMFFIAny result{};
  MARK_ON();
  int code = kernel(nullptr, values.data(), static_cast<int32_t>(values.size()), &result);
  MARK_OFF();
  return code == 0 ? 0 : 4;
}
