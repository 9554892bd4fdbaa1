// What the board is and how it does, from /sys and /proc.
#pragma once

#include <tvm/ffi/extra/json.h>

#include "options.h"

namespace board {

// Whether timings mean nothing here: said so, or AArch64 code on something that is no Arm core
// (QEMU's user mode shows the host's sysfs, and older versions its /proc/cpuinfo).
bool is_emulated(const Options& options);

// {"name", "key", "arch", "kernel", "cpu_model", "cores", "threads", "emulated", "governor", "mhz",
// "max_mhz", "temperature_c", "throttled", "throttle_events", "load1", "uptime_s",
// "mem_available_mb", "glibc", "pid"}. What cannot be read is null, and so is on an emulated board
// everything that would be true of its host only.
tvm::ffi::json::Object health(const Options& options);

}  // namespace board
