#include "cores.h"

#include <sched.h>

#include <algorithm>

namespace board {

const std::vector<int>& allowed_cores() {
  static const std::vector<int> allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::vector<int> found;
    for (int core = 0; core < CPU_SETSIZE; core++)
      if (CPU_ISSET(core, &set)) found.push_back(core);
    return found;
  }();
  return allowed;
}

std::vector<int> session_cores(const Options& options) {
  const auto& allowed = allowed_cores();
  bool exist = std::all_of(options.cores.begin(), options.cores.end(), [&](int core) {
    return std::find(allowed.begin(), allowed.end(), core) != allowed.end();
  });
  return exist && !options.cores.empty() ? options.cores : allowed;
}

int session_threads(const Options& options) {
  int cores = static_cast<int>(session_cores(options).size());
  return options.threads ? std::min(options.threads, cores) : cores;
}

void run_on(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace board
