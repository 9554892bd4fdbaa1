// One line per event on standard error, with the time.
#pragma once

#include <unistd.h>

#include <ctime>
#include <string>

namespace board {

inline void log(const std::string& message) {
  char stamp[32];
  std::time_t now = std::time(nullptr);
  std::tm local{};
  std::strftime(stamp, sizeof stamp, "%F %T ", localtime_r(&now, &local));
  std::string line = stamp + message + "\n";
  // one write, so that lines of the server and its session do not mix
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace board
