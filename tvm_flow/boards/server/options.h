// Command line of board_server.
#pragma once

#include <string>
#include <vector>

namespace board {

struct Options {
  std::string tracker_host, tracker_port;
  std::string key;
  std::string name;                // the host's name unless given
  std::string host = "127.0.0.1";  // address to listen on
  int port = 9090;                 // 0: any free one
  std::string custom_addr;         // address clients are told; empty: as the tracker sees us
  std::vector<int> cores;          // empty: all this process may use
  int threads = 0;                 // 0: one per core
  double session_limit_s = 0;      // 0: none
  bool emulated = false;
  bool until_eof = false;          // stop when standard input ends
  std::string load_library;

  // Where clients connect to; empty: the address the tracker sees. A server that only this machine
  // can reach tells its own: the tracker may see ::1 where it listens on 127.0.0.1.
  std::string told_address() const;
  bool local_only() const { return is_local(host); }
  bool tracker_is_local() const { return is_local(tracker_host); }

 private:
  static bool is_local(const std::string& name) {
    return name == "localhost" || name == "::1" || name.rfind("127.", 0) == 0;
  }
};

// Exits with status 0 after --help, and with 2 and one line on standard error where the command
// line means nothing.
Options parse_options(int argc, char** argv);

}  // namespace board
