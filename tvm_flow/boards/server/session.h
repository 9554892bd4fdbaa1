// One client's session: a process of its own, so that nothing it does can hurt the server.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "greeting.h"
#include "options.h"

namespace board {

class Session {
 public:
  // Forks. `to_close`: descriptors the new process must not keep. Throws std::runtime_error where
  // there is no folder or no process to be had.
  Session(Caller caller, const Options& options, int number, const std::vector<int>& to_close);
  // Ends it, with whatever it started, and removes its folder.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Whether the process has ended (which is then logged, and a timeout told to the client).
  bool finished();
  // Kill it if its time is over.
  void tick(Time now);
  Time due() const { return expired_ ? Time::max() : deadline_; }
  // The client's address, without the port.
  const std::string& peer() const { return caller_.peer; }
  // Once finished: whether a signal ended it that was not ours.
  bool crashed() const { return crashed_; }

 private:
  void report(int status);

  Caller caller_;
  std::string label_, folder_;
  pid_t pid_ = -1;
  double limit_s_ = 0;  // 0: none
  Time started_ = Clock::now(), deadline_ = Time::max();
  bool expired_ = false, crashed_ = false;
};

}  // namespace board
