#include "health.h"

#include <dirent.h>
#include <gnu/libc-version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>

#include "cores.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;

constexpr const char* kCpu = "/sys/devices/system/cpu/cpu";

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<double> number_in(const std::string& path, int base = 10) {
  auto line = first_line(path);
  if (!line) return std::nullopt;
  char* end = nullptr;
  double value = base == 10 ? std::strtod(line->c_str(), &end)
                            : static_cast<double>(std::strtoul(line->c_str(), &end, base));
  return end == line->c_str() ? std::nullopt : std::optional<double>(value);
}

ffi::Any any(const std::string& text) { return ffi::String(text); }
ffi::Any any(double value) { return value; }

template <typename T>
ffi::Any or_null(const std::optional<T>& value) {
  return value ? any(*value) : ffi::Any(nullptr);
}

std::optional<double> scaled(std::optional<double> value, double factor) {
  return value ? std::optional<double>(*value * factor) : std::nullopt;
}

// Paths of the entries of `folder` that begin with `prefix`.
std::vector<std::string> entries(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> found;
  if (DIR* directory = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(directory))
      if (std::string(entry->d_name).rfind(prefix, 0) == 0)
        found.push_back(folder + "/" + entry->d_name);
    closedir(directory);
  }
  return found;
}

// The value after "name :" of each block of /proc/cpuinfo.
std::vector<std::string> cpuinfo(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  std::vector<std::string> values;
  for (std::string line; std::getline(file, line);) {
    size_t colon = line.find(':');
    if (line.rfind(name, 0) == 0 && colon != std::string::npos)
      values.push_back(line.substr(std::min(colon + 2, line.size())));
  }
  return values;
}

// "implementer 0x41 part 0xd08" for a Cortex-A72, distinct over the cores in use.
std::optional<std::string> cpu_model(const std::vector<int>& cores) {
  auto models = cpuinfo("model name");
  auto makers = cpuinfo("CPU implementer"), parts = cpuinfo("CPU part");
  std::vector<std::string> seen;
  for (int core : cores) {
    size_t i = core;
    std::string text;
    if (i < makers.size() && i < parts.size()) {
      text = "implementer " + makers[i] + " part " + parts[i];
    } else if (i < models.size()) {
      text = models[i];
    }
    if (!text.empty() && std::find(seen.begin(), seen.end(), text) == seen.end())
      seen.push_back(text);
  }
  std::string joined;
  for (const auto& text : seen) joined += (joined.empty() ? "" : " + ") + text;
  return joined.empty() ? std::nullopt : std::optional<std::string>(joined);
}

std::optional<double> hottest() {
  std::optional<double> most;
  for (const auto& zone : entries("/sys/class/thermal", "thermal_zone"))
    if (auto value = scaled(number_in(zone + "/temp"), 1e-3))
      most = std::max(most.value_or(*value), *value);
  return most;
}

// Cooling devices that slow the processor down.
std::vector<std::string> cpu_coolers() {
  std::vector<std::string> found;
  for (const auto& cooler : entries("/sys/class/thermal", "cooling_device"))
    if (first_line(cooler + "/type").value_or("").find("cpufreq") != std::string::npos)
      found.push_back(cooler);
  return found;
}

// How often the processor was slowed down since it started. Raspberry Pi's firmware does not count.
std::optional<double> throttle_events(const std::vector<int>& cores) {
  std::optional<double> sum;
  for (int core : cores)
    if (auto n = number_in(kCpu + std::to_string(core) + "/thermal_throttle/core_throttle_count"))
      sum = sum.value_or(0) + *n;
  if (sum) return sum;
  for (const auto& cooler : cpu_coolers())
    if (auto n = number_in(cooler + "/stats/total_trans")) sum = sum.value_or(0) + *n;
  return sum;
}

// Whether it is slowed down now: by Raspberry Pi's firmware (bits 0 to 3), or by the kernel.
ffi::Any throttled() {
  if (auto bits = number_in("/sys/devices/platform/soc/soc:firmware/get_throttled", 16))
    return (static_cast<unsigned>(*bits) & 0xF) != 0;
  ffi::Any found(nullptr);
  bool any_active = false;
  for (const auto& cooler : cpu_coolers())
    if (auto state = number_in(cooler + "/cur_state")) found = any_active |= *state > 0;
  return found;
}

json::Array per_core(const std::vector<int>& cores,
                     const std::function<ffi::Any(std::string)>& get) {
  json::Array list;
  for (int core : cores) list.push_back(get(kCpu + std::to_string(core) + "/cpufreq/"));
  return list;
}

void add_clocks(const Options& options, json::Object* result) {
  auto cores = session_cores(options);
  bool real = !is_emulated(options);
  auto khz = [&](const std::string& file) {
    return per_core(cores, [&](const std::string& folder) {
      return real ? or_null(scaled(number_in(folder + file), 1e-3)) : ffi::Any(nullptr);
    });
  };
  auto governor = [&](const std::string& folder) {
    return real ? or_null(first_line(folder + "scaling_governor")) : ffi::Any(nullptr);
  };
  ffi::Any unknown(nullptr);
  result->Set(ffi::String("cpu_model"), real ? or_null(cpu_model(cores)) : unknown);
  result->Set(ffi::String("governor"), per_core(cores, governor));
  result->Set(ffi::String("mhz"), khz("scaling_cur_freq"));
  result->Set(ffi::String("max_mhz"), khz("cpuinfo_max_freq"));
  result->Set(ffi::String("temperature_c"), real ? or_null(hottest()) : unknown);
  result->Set(ffi::String("throttled"), real ? throttled() : unknown);
  result->Set(ffi::String("throttle_events"), real ? or_null(throttle_events(cores)) : unknown);
}

std::optional<double> available_mb() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  double kib = 0;
  while (file >> name) {
    if (name == "MemAvailable:" && file >> kib) return kib / 1024;
    std::getline(file, name);
  }
  return std::nullopt;
}

#if defined(__aarch64__)
// By sysfs, which QEMU's user mode leaves as it is.
bool on_x86() {
  std::ifstream file("/sys/devices/system/cpu/modalias");
  std::string kind;
  return std::getline(file, kind) && kind.rfind("cpu:type:x86", 0) == 0;
}
#endif

}  // namespace

bool is_emulated(const Options& options) {
#if defined(__aarch64__)
  static const bool no_arm_core = on_x86() || cpuinfo("CPU implementer").empty();
  return options.emulated || no_arm_core;
#else
  return options.emulated;
#endif
}

json::Object health(const Options& options) {
  utsname system{};
  uname(&system);
  json::Array cores;
  for (int core : session_cores(options)) cores.push_back(core);
  json::Object result;
  auto set = [&](const char* name, const ffi::Any& value) { result.Set(ffi::String(name), value); };
  set("name", ffi::String(options.name));
  set("key", ffi::String(options.key));
  set("arch", ffi::String(system.machine));
  set("kernel", ffi::String(system.release));
  set("cores", cores);
  set("threads", session_threads(options));
  set("emulated", is_emulated(options));
  add_clocks(options, &result);
  set("load1", or_null(number_in("/proc/loadavg")));
  set("uptime_s", or_null(number_in("/proc/uptime")));
  set("mem_available_mb", or_null(available_mb()));
  set("glibc", ffi::String(gnu_get_libc_version()));
  set("pid", static_cast<int64_t>(getpid()));
  return result;
}

}  // namespace board
