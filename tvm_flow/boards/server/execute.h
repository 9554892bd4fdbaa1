// Run a program on the board for a session.
#pragma once

#include <string>
#include <vector>

namespace board {

// `text`: {"argv": [...], "timeout_s": T, "cwd_is_workdir": bool}; the result is {"code", "stdout",
// "stderr", "timed_out"}, each output cut at 1 MiB. The program runs on `cores`, in `folder` where
// asked; past the time it is killed with all it started. A code of 127 means it could not be
// started, 128 + n that signal n ended it. Throws where `text` makes no sense.
std::string execute(const std::string& text, const std::string& folder,
                    const std::vector<int>& cores);

}  // namespace board
