// Functions a client finds in its session.
#pragma once

#include <string>

#include "options.h"

namespace board {

// Register them; `folder` is where the session's files are.
void register_functions(const Options& options, const std::string& folder);

}  // namespace board
