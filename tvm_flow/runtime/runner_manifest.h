// Reads manifest.json, and refuses a bundle that is damaged or made for something else.
#pragma once

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/extra/json.h>

#include "runner_inputs.h"

namespace ffi = tvm::ffi;

[[noreturn]] inline void broken(const std::string& message) { throw Failure{7, message}; }

inline ffi::Any get(const ffi::Any& object, const char* key) {
  auto map = object.cast<ffi::json::Object>();
  if (map.find(ffi::String(key)) == map.end()) broken(std::string("manifest.json lacks ") + key);
  return map[ffi::String(key)];
}
inline ffi::json::Array list(const ffi::Any& object, const char* key) {
  return get(object, key).cast<ffi::json::Array>();
}
inline std::vector<int64_t> integers(const ffi::json::Array& array) {
  std::vector<int64_t> values;
  for (const ffi::Any& item : array) values.push_back(item.cast<int64_t>());
  return values;
}

inline ffi::Any read_manifest(const fs::path& bundle) {
  if (!fs::exists(bundle / "manifest.json")) broken(bundle.string() + " is not a bundle");
  ffi::String error;
  ffi::Any manifest = ffi::json::Parse(slurp(bundle / "manifest.json"), &error);
  if (!error.empty()) broken("cannot read manifest.json: " + std::string(error));
  if (get(manifest, "schema").cast<int64_t>() != 2) broken("manifest.json has another schema");
  for (const auto& [name, entry] : get(manifest, "files").cast<ffi::json::Object>()) {
    fs::path path = bundle / std::string(name.cast<ffi::String>());
    std::error_code missing;
    auto size = fs::file_size(path, missing);
    if (missing || static_cast<int64_t>(size) != get(entry, "size").cast<int64_t>())
      broken("the bundle is damaged: " + path.string() + " is missing or has another size");
  }
  int64_t machine = get(get(manifest, "target"), "elf_machine").cast<int64_t>();
#if defined(__x86_64__)
  const int64_t here = 62;
#elif defined(__aarch64__)
  const int64_t here = 183;
#endif
  if (machine != here) broken("model.so is for another architecture (ELF machine " +
                              std::to_string(machine) + ", this is " + std::to_string(here) + ")");
  TVMFFIVersion loaded;
  TVMFFIGetVersion(&loaded);
  if (loaded.minor != TVM_FFI_VERSION_MINOR || loaded.patch != TVM_FFI_VERSION_PATCH)
    broken("libtvm_ffi.so is another version than this runner was built for");
  return manifest;
}
