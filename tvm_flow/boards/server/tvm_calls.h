// Calls into TVM's runtime that may fail.
//
// These programs are linked with libc++, TVM's libraries with libstdc++: a C++ exception that
// crosses from one into the other cannot be caught there and ends the process. So calls go through
// TVM's C interface, which carries errors as values, and an exception is made on this side. (And
// nothing of these programs may be visible to the libraries: -fvisibility=hidden -DTVM_FFI_DLL=.)
#pragma once

#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <optional>
#include <string>
#include <utility>

namespace tvm_calls {

namespace ffi = tvm::ffi;

inline ffi::Any call_packed(const ffi::Function& function, const ffi::AnyView* args, int count) {
  ffi::Any result;
  // the C interface lacks const
  auto* handle = ffi::details::ObjectUnsafe::GetHeader(function.get());
  auto* values = reinterpret_cast<TVMFFIAny*>(const_cast<ffi::AnyView*>(args));
  TVM_FFI_CHECK_SAFE_CALL(
      TVMFFIFunctionCall(handle, values, count, reinterpret_cast<TVMFFIAny*>(&result)));
  return result;
}

template <typename... Args>
ffi::Any call(const ffi::Function& function, const Args&... args) {
  const ffi::AnyView packed[sizeof...(args) + 1] = {ffi::AnyView(args)...};
  return call_packed(function, packed, sizeof...(args));
}

template <typename... Args>
ffi::Any call_global(const char* name, const Args&... args) {
  return call(ffi::Function::GetGlobalRequired(name), args...);
}

inline ffi::Module load_module(const std::string& path) {
  return call_global("ffi.ModuleLoadFromFile", ffi::String(path)).cast<ffi::Module>();
}

// A function of the module or of what it imports, if there is one.
inline std::optional<ffi::Function> find_function(const ffi::Module& module,
                                                  const std::string& name) {
  auto found = call_global("ffi.ModuleGetFunction", module, ffi::String(name), true);
  if (found == nullptr) return std::nullopt;
  return found.cast<ffi::Function>();
}

inline ffi::Function function_of(const ffi::Module& module, const std::string& name) {
  auto function = find_function(module, name);
  if (!function) TVM_FFI_THROW(ValueError) << "there is no function " << name;
  return *function;
}

inline int called_by_tvm(void* function, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  TVM_FFI_SAFE_CALL_BEGIN();
  static_cast<ffi::Function*>(function)->CallPacked(reinterpret_cast<const ffi::AnyView*>(args),
                                                    count, reinterpret_cast<ffi::Any*>(result));
  TVM_FFI_SAFE_CALL_END();
}

// A function of ours as TVM may call it: its errors leave it as values, too.
inline ffi::Function for_tvm(ffi::Function function) {
  return ffi::Function::FromExternC(
      new ffi::Function(std::move(function)), called_by_tvm,
      [](void* owned) { delete static_cast<ffi::Function*>(owned); });
}

}  // namespace tvm_calls
