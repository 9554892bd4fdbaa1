// Runs a tvm-flow bundle without Python: loads model.so through TVM's runtime, reads one input,
// prints the top classes and the time per run. Needs libtvm_runtime.so and libtvm_ffi.so.
// The build command is in README.md and, as "cpp_build", in manifest.json.
//
// Exit codes are tvm-flow's: 2 wrong usage, 7 bad bundle, 8 wrong numbers.
#include <sched.h>
#include <sys/mman.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "runner_inputs.h"
#include "runner_manifest.h"
#include "tvm_calls.h"

namespace ffi = tvm::ffi;
using tvm_calls::call;

struct AlignedMemory {
  void AllocData(DLTensor* t) {
    t->data = std::aligned_alloc(64, (ffi::GetDataSize(*t) + 63) / 64 * 64);
  }
  void FreeData(DLTensor* t) { std::free(t->data); }
};

// A tensor in memory that belongs to somebody else.
struct BorrowedMemory {
  char* data;
  void AllocData(DLTensor* t) { t->data = data; }
  void FreeData(DLTensor*) {}
};

ffi::Tensor input_tensor(const fs::path& path, const Spec& spec) {
  Floats values = read_input(path, spec);
  auto x = ffi::Tensor::FromNDAlloc(AlignedMemory(), ffi::Shape(spec.shape), {kDLFloat, 32, 1},
                                    {kDLCPU, 0});
  std::copy(values.begin(), values.end(), static_cast<float*>(x.data_ptr()));
  return x;
}

// The weights, in the order of main's last parameters, in huge pages: a network streams through
// them in every run. What does not fill a huge page is left in small ones: it would take up to 2 MiB
// more. They are there until the process ends.
std::vector<ffi::Tensor> read_weights(const fs::path& path, const ffi::json::Array& places) {
  constexpr size_t kHugePage = size_t{1} << 21;
  std::vector<ffi::Tensor> weights;
  if (places.empty()) return weights;
  size_t size = fs::file_size(path), whole = size / kHugePage * kHugePage;
  auto block = static_cast<char*>(std::aligned_alloc(kHugePage, whole + kHugePage));
  if (block == nullptr) broken("not enough memory for " + path.string());
  madvise(block, whole, MADV_HUGEPAGE);  // a kernel without them ignores that
  std::ifstream file(path, std::ios::binary);
  if (!file.read(block, size)) broken("cannot read " + path.string());
  for (const ffi::Any& place : places) {
    ffi::Shape shape(integers(list(place, "shape")));
    DLDataType type = ffi::StringToDLDataType(get(place, "dtype").cast<ffi::String>());
    char* data = block + get(place, "offset").cast<int64_t>();
    weights.push_back(
        ffi::Tensor::FromNDAlloc(BorrowedMemory{data}, shape, type, DLDevice{kDLCPU, 0}));
  }
  return weights;
}

// main with its last parameters bound to the weights.
ffi::Function bind_weights(const ffi::Module& vm, const std::vector<ffi::Tensor>& weights) {
  const char* name = "tvm_flow_network";
  std::vector<ffi::AnyView> arguments{"main", name, true};
  arguments.insert(arguments.end(), weights.begin(), weights.end());
  tvm_calls::call_packed(tvm_calls::function_of(vm, "save_function"), arguments.data(),
                         arguments.size());
  return tvm_calls::function_of(vm, name);
}

std::vector<int64_t> choose_cores(const ffi::Any& target) {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  std::vector<int64_t> all, wanted = integers(list(target, "cores"));
  for (int64_t i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &allowed)) all.push_back(i);
  bool usable = std::all_of(wanted.begin(), wanted.end(),
                            [&](int64_t core) { return CPU_ISSET(core, &allowed); });
  return usable ? wanted : all;
}

void use_threads(const ffi::Module& library, int64_t threads, const std::vector<int64_t>& cores) {
  if (threads < 1 || threads > static_cast<int64_t>(cores.size()))
    usage("--threads must be 1 to " + std::to_string(cores.size()));
  // The library's own pool (see thread_pool.c); TVM's where it was linked without one.
  if (auto pool = tvm_calls::find_function(library, "tvm_flow_pool")) {
    std::vector<ffi::AnyView> arguments{threads};
    arguments.insert(arguments.end(), cores.begin(), cores.begin() + threads);
    ffi::Any made = tvm_calls::call_packed(*pool, arguments.data(), arguments.size());
    if (made.cast<int64_t>() != threads) broken("the system gives no further threads");
  } else {
    ffi::Array<ffi::String> names;
    for (int64_t core : cores) names.push_back(ffi::String(std::to_string(core)));
    const int one_core_per_thread = -2;
    tvm_calls::call_global("runtime.config_threadpool", one_core_per_thread, threads, names);
  }
  cpu_set_t first;  // this thread computes too: bind it as the others are
  CPU_ZERO(&first);
  CPU_SET(cores[0], &first);
  sched_setaffinity(0, sizeof first, &first);
}

double percentile(const std::vector<double>& sorted, double share) {
  double place = share * (sorted.size() - 1);
  size_t low = static_cast<size_t>(place), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

struct Options {
  fs::path bundle, input;
  int64_t threads = 0, runs = 50, top = 5;
  bool check = false;
};

const char kUsage[] =
    "runner [FILE.npy|.bin|.ppm] [--bundle DIR] [--threads N] [--runs N] [--top K] [--check]";

Options parse(int argc, char** argv) {
  Options o;
  o.bundle = fs::read_symlink("/proc/self/exe").parent_path();
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (++i == argc) usage(word + " needs a value");
      return argv[i];
    };
    auto number = [&] { return std::strtoll(value().c_str(), nullptr, 10); };
    if (word == "--help" || word == "-h") {
      std::printf("usage: %s\n", kUsage);
      std::exit(0);
    }
    if (word == "--bundle") {
      o.bundle = value();
    } else if (word == "--threads") {
      if ((o.threads = number()) < 1) usage("--threads must be 1 or more");
    } else if (word == "--runs") {
      o.runs = number();
    } else if (word == "--top") {
      o.top = number();
    } else if (word == "--check") {
      o.check = true;
    } else if (word[0] == '-') {
      usage("unknown option " + word + "; " + kUsage);
    } else {
      o.input = word;
    }
  }
  return o;
}

// Largest difference as a fraction of the largest expected magnitude.
double max_rel_error(const Floats& result, const Floats& expected) {
  double scale = 1e-30, worst = 0;
  for (float e : expected) scale = std::max(scale, std::abs(double(e)));
  for (size_t i = 0; i < result.size(); i++) {
    double difference = std::abs(double(result[i]) - expected[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst / scale;
}

void compare(const std::vector<Floats>& results, const fs::path& bundle, const ffi::Any& sample,
             const std::vector<Spec>& outputs) {
  double tolerance = get(sample, "tolerance").cast<double>(), worst = 0;
  ffi::json::Array files = list(sample, "expected");
  if (files.size() != outputs.size()) broken("manifest.json lacks results to compare with");
  for (size_t i = 0; i < outputs.size(); i++) {
    fs::path file = bundle / std::string(files[i].cast<ffi::String>());
    worst = std::max(worst, max_rel_error(results[i], read_npy(file, outputs[i])));
  }
  std::printf("max relative error %.2e (tolerance %.0e)\n", worst, tolerance);
  if (!(worst <= tolerance)) throw Failure{8, "wrong values on this machine"};
  std::printf("check passed\n");
}

std::vector<Floats> run(const ffi::Function& network, const ffi::Tensor& x,
                        const std::vector<Spec>& outputs) {
  ffi::Any answer = call(network, x);
  std::vector<ffi::Tensor> tensors;
  if (auto single = answer.as<ffi::Tensor>()) {
    tensors.push_back(*single);
  } else {
    for (const ffi::Any& item : answer.cast<ffi::Array<ffi::Any>>())
      tensors.push_back(item.cast<ffi::Tensor>());
  }
  if (tensors.size() != outputs.size()) broken("model.so has other outputs than manifest.json");
  std::vector<Floats> results;
  for (size_t i = 0; i < tensors.size(); i++) {
    auto values = static_cast<const float*>(tensors[i].data_ptr());
    results.emplace_back(values, values + outputs[i].size());
  }
  return results;
}

void print_classes(const Floats& result, int64_t top) {
  std::vector<size_t> order(result.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return result[a] > result[b]; });
  double sum = 0;
  for (float v : result) sum += std::exp(double(v) - result[order[0]]);
  for (size_t k = 0; k < std::min<size_t>(std::max<int64_t>(top, 1), order.size()); k++)
    std::printf("%6.2f %%  %5zu  %.6g\n",
                100 * std::exp(double(result[order[k]]) - result[order[0]]) / sum, order[k],
                result[order[k]]);
}

// QEMU's user mode shows AArch64 programs the host's /proc/cpuinfo, which names no Arm core.
bool emulated() {
#if defined(__aarch64__)
  return slurp("/proc/cpuinfo").find("CPU implementer") == std::string::npos;
#else
  return false;
#endif
}

void print_time(const ffi::Function& network, const ffi::Tensor& x, int64_t runs) {
  if (runs < 1) return;
  std::vector<double> times;
  for (int64_t i = -5; i < runs; i++) {  // the first five warm up
    auto start = std::chrono::steady_clock::now();
    call(network, x);
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (i >= 0) times.push_back(took.count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%.3f ms median (p10 %.3f, p90 %.3f, %zu runs)%s\n", percentile(times, 0.5),
              percentile(times, 0.1), percentile(times, 0.9), times.size(),
              emulated() ? " EMULATED: says nothing about a board" : "");
}

// The largest resident size this process has had. QEMU's own where that emulates.
void print_memory() {
  if (emulated()) return;
  std::string status = slurp("/proc/self/status");
  size_t place = status.find("VmHWM:");
  if (place == std::string::npos) return;
  std::printf("%.1f MiB peak memory\n", std::strtod(status.c_str() + place + 6, nullptr) / 1024);
}

int main(int argc, char** argv) try {
  Options o = parse(argc, argv);
  ffi::Any manifest = read_manifest(o.bundle), target = get(manifest, "target");
  ffi::json::Array inputs = list(manifest, "inputs"), outputs = list(manifest, "outputs");
  if (inputs.size() != 1) usage("this runner gives a network one input");
  bool nhwc = get(manifest, "layout").cast<ffi::String>() == "NHWC";
  Spec in{integers(list(inputs[0], "shape")), nhwc};
  std::vector<Spec> out;
  for (const ffi::Any& o : outputs) out.push_back({integers(list(o, "shape")), nhwc});
  ffi::Any sample = get(manifest, "sample");
  fs::path stored = o.bundle / std::string(get(sample, "input").cast<ffi::String>());
  ffi::Tensor x = input_tensor(o.check || o.input.empty() ? stored : o.input, in);

  ffi::Module library = tvm_calls::load_module((o.bundle / "model.so").string());
  auto vm = call(tvm_calls::function_of(library, "vm_load_executable")).cast<ffi::Module>();
  call(tvm_calls::function_of(vm, "vm_initialization"), int{kDLCPU}, 0, 2);
  std::vector<int64_t> cores = choose_cores(target);
  int64_t compiled = std::min<int64_t>(get(target, "threads").cast<int64_t>(), cores.size());
  use_threads(library, o.threads ? o.threads : compiled, cores);
  ffi::Function network =
      bind_weights(vm, read_weights(o.bundle / "weights.bin", list(manifest, "weights")));

  std::vector<Floats> results = run(network, x, out);

  if (o.check) compare(results, o.bundle, sample, out);
  print_classes(results[0], o.top);
  print_time(network, x, o.runs);
  print_memory();
  return 0;
} catch (const Failure& failure) {
  std::fprintf(stderr, "error: %s\n", failure.message.c_str());
  return failure.code;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 7;
}
