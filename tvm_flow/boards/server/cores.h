// Which cores this machine has, and which of them sessions use.
#pragma once

#include <vector>

#include "options.h"

namespace board {

// Cores this process was allowed to use when it started.
const std::vector<int>& allowed_cores();
// Where sessions run: the cores asked for if all of them exist, else every allowed one.
std::vector<int> session_cores(const Options& options);
// How many threads TVM's pool gets: at most one per core.
int session_threads(const Options& options);
// Binds the calling thread.
void run_on(const std::vector<int>& cores);

}  // namespace board
