// The first words of a client: [magic, length, "client:<match key> [-timeout=S]"], read without
// waiting for anybody.
#pragma once

#include <string>
#include <vector>

#include "net.h"

namespace board {

// A client that has said who it is.
struct Caller {
  Socket socket;
  std::string peer;
  std::string key;       // "client:<match key>"
  double timeout_s = 0;  // the session time it asks for; 0: no limit
};

// A connection that has not said everything yet.
struct Guest {
  Socket socket;
  std::string peer, heard;
  Time deadline;
};

// Every connection that is no session yet. Whoever says nothing, garbage or too much is dropped,
// after two seconds at the latest.
class Lobby {
 public:
  void accept_from(int listener, Time now);
  const std::vector<Guest>& guests() const { return guests_; }
  // Read from the guests with these file descriptors; those that said everything leave as callers.
  std::vector<Caller> listen_to(const std::vector<int>& readable);
  void drop_late(Time now);
  Time due() const;  // when drop_late is next needed

 private:
  std::vector<Guest> guests_;
};

// The two answers; the second is false where the caller is gone.
void refuse_key(const Caller& caller);
bool welcome(const Caller& caller, const std::string& server_key);

}  // namespace board
