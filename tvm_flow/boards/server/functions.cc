#include "functions.h"

#include <map>

#include "cores.h"
#include "execute.h"
#include "health.h"
#include "log.h"
#include "net.h"
#include "tvm_calls.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;

// The libraries of this session, by file name.
class Libraries {
 public:
  explicit Libraries(std::string folder) : folder_(std::move(folder)) {}

  std::string path(const std::string& name) const {
    bool inside = name.empty() || name[0] != '/';
    for (size_t at = name.find(".."); at != std::string::npos; at = name.find("..", at + 1))
      inside = false;
    if (!inside) TVM_FFI_THROW(ValueError) << name << " is not a name inside the session's folder";
    return folder_ + "/" + name;
  }

  ffi::Module load(const std::string& name) {
    auto known = loaded_.find(name);
    if (known != loaded_.end()) return known->second;
    log("loads " + name);
    ffi::Module made = tvm_calls::load_module(path(name));
    loaded_.emplace(name, made);
    return made;
  }

  ffi::Function function(const std::string& name, const std::string& symbol) {
    return tvm_calls::function_of(load(name), symbol);
  }

 private:
  std::string folder_;
  std::map<std::string, ffi::Module> loaded_;
};

// Mean seconds per call; the sets of `per_set` arguments are taken in turn.
double mean_seconds(const ffi::Function& function, const ffi::AnyView* arguments, int64_t number,
                    int64_t sets, int64_t per_set) {
  Time start = Clock::now();
  for (int64_t call = 0, set = 0; call < number; call++) {
    tvm_calls::call_packed(function, arguments + set * per_set, static_cast<int>(per_set));
    if (++set == sets) set = 0;
  }
  return std::chrono::duration<double>(Clock::now() - start).count() / number;
}

void time_calls(Libraries* libraries, ffi::PackedArgs args, ffi::Any* result) {
  auto number = args[2].cast<int64_t>(), sets = args[3].cast<int64_t>(),
       per_set = args[4].cast<int64_t>();
  constexpr int kFixed = 5;
  if (number < 1 || sets < 1 || per_set < 0 || args.size() - kFixed != sets * per_set)
    TVM_FFI_THROW(ValueError) << "tvm_flow.board.time takes (file, symbol, number, sets, per_set, "
                                 "sets * per_set tensors)";
  auto function = libraries->function(args[0].cast<std::string>(), args[1].cast<std::string>());
  *result = mean_seconds(function, args.data() + kFixed, number, sets, per_set);
}

template <typename Body>
void typed(const char* name, Body body) {
  ffi::Function::SetGlobal(name, tvm_calls::for_tvm(ffi::Function::FromTyped(body, name)), true);
}

template <typename Body>
void packed(const char* name, Body body) {
  ffi::Function::SetGlobal(name, tvm_calls::for_tvm(ffi::Function::FromPacked(body)), true);
}

}  // namespace

void register_functions(const Options& options, const std::string& folder) {
  static Libraries libraries(folder);
  typed("tvm.rpc.server.workpath", [](std::string name) { return libraries.path(name); });
  typed("tvm.rpc.server.load_module",
        [](std::string name) { return tvm_calls::load_module(libraries.path(name)); });
  typed("tvm_flow.board.status", [options] { return ffi::json::Stringify(health(options)); });
  typed("tvm_flow.board.exec", [options, folder](std::string order) {
    return ffi::String(execute(order, folder, session_cores(options)));
  });
  typed("tvm_flow.board.load", [](std::string name) { libraries.load(name); });
  packed("tvm_flow.board.run", [](ffi::PackedArgs args, ffi::Any* result) {
    auto symbol = args[1].cast<std::string>();
    auto function = libraries.function(args[0].cast<std::string>(), symbol);
    *result = tvm_calls::call_packed(function, args.data() + 2, args.size() - 2);
  });
  packed("tvm_flow.board.time", [](ffi::PackedArgs args, ffi::Any* result) {
    time_calls(&libraries, args, result);
  });
}

}  // namespace board
