// TVM's RPC server for a board, without Python: registers with the tracker, gives each client a
// process of its own, and survives whatever the client's code does.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <stdexcept>

#include "cores.h"
#include "health.h"
#include "log.h"
#include "server.h"

namespace {

int signal_pipe[2];

void on_signal(int number) {
  int before = errno;
  char byte = static_cast<char>(number);
  if (write(signal_pipe[1], &byte, 1) < 0) errno = before;  // full: the loop is awake anyway
  errno = before;
}

void catch_signals() {
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("no pipe");
  struct sigaction action{};
  action.sa_handler = on_signal;
  for (int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaction(number, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

void load_library(const std::string& path) {
  if (!path.empty() && !dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL))
    throw std::runtime_error(dlerror());
}

void introduce(const board::Options& options, int port) {
  std::string cores;
  for (int core : board::session_cores(options))
    cores += (cores.empty() ? "" : ",") + std::to_string(core);
  board::log("board " + options.name + " (" + options.key + ") listens on " +
             board::place_text(options.host, std::to_string(port)) + ", cores " + cores + ", " +
             std::to_string(board::session_threads(options)) + " thread(s)" +
             (board::is_emulated(options) ? ", emulated: its timings mean nothing" : ""));
  if (!options.local_only()) {
    board::log("WARNING: whoever reaches this port can run any code on this machine. Use it only "
               "on a network you trust, behind a firewall.");
  } else if (!options.tracker_is_local() && options.custom_addr.empty()) {
    board::log("WARNING: only this machine can connect to " + options.host +
               ", but the tracker is another one; see --host and --custom-addr");
  }
}

}  // namespace

int main(int argc, char** argv) {
  board::Options options = board::parse_options(argc, argv);
  try {
    board::allowed_cores();  // before this process changes its own
    catch_signals();
    load_library(options.load_library);
    board::Server server(options, signal_pipe[0]);
    introduce(options, server.port());
    server.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
