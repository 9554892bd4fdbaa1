#include "session.h"

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tvm/ffi/container/array.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "cores.h"
#include "functions.h"
#include "log.h"
#include "tvm_calls.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;
namespace fs = std::filesystem;

constexpr int kOneCorePerThread = -2;  // tvm/src/runtime/threading_backend.h

std::string make_folder() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base && *base ? base : "/tmp") + "/tvm-flow-board-XXXXXX";
  if (!mkdtemp(pattern.data()))
    throw std::runtime_error("cannot make a folder " + pattern + ": " + std::strerror(errno));
  return pattern;
}

std::string signal_name(int number) {
  static const struct {
    int number;
    const char* name;
  } known[] = {{SIGSEGV, "SIGSEGV"}, {SIGILL, "SIGILL"},   {SIGABRT, "SIGABRT"},
               {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},   {SIGKILL, "SIGKILL"},
               {SIGTERM, "SIGTERM"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"}};
  for (const auto& item : known)
    if (item.number == number) return item.name;
  return "signal " + std::to_string(number);
}

// Every process of the session `leader` leads, whatever groups they made, the leader excepted.
std::vector<pid_t> members(pid_t leader) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = proc ? readdir(proc) : nullptr) {
    pid_t pid = static_cast<pid_t>(std::atol(entry->d_name));
    if (pid > 1 && pid != leader && getsid(pid) == leader) found.push_back(pid);
  }
  if (proc) closedir(proc);
  return found;
}

void kill_members(pid_t leader) {
  constexpr int kRounds = 10;  // one may fork while the others are being killed
  for (int round = 0; round < kRounds; round++) {
    auto pids = members(leader);
    if (pids.empty()) return;
    for (pid_t pid : pids) kill(pid, SIGKILL);
    usleep(1000);
  }
}

void configure_threads(const Options& options) {
  auto cores = session_cores(options);
  // The pool never grows after its first use, so it is made for all cores and then limited.
  setenv("TVM_NUM_THREADS", std::to_string(cores.size()).c_str(), 1);
  setenv("TVM_BIND_THREADS", "1", 1);
  ffi::Array<ffi::String> names;
  for (int core : cores) names.push_back(ffi::String(std::to_string(core)));
  tvm_calls::call_global("runtime.config_threadpool", kOneCorePerThread, session_threads(options),
                         names);
  run_on({cores[0]});  // this thread computes too, and TVM binds only the others
}

[[noreturn]] void serve(int fd, const std::string& folder, const Options& options, pid_t server) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server) _exit(1);  // it died before it was agreed that we follow
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) signal(number, SIG_DFL);
  rlimit no_core_files{0, 0};
  setrlimit(RLIMIT_CORE, &no_core_files);
  try {
    if (chdir(folder.c_str()) != 0) throw std::runtime_error("cannot enter " + folder);
    run_on(session_cores(options));
    configure_threads(options);
    register_functions(options, folder);
    set_blocking(fd, true);
    tvm_calls::call_global("rpc.ServerLoop", static_cast<int64_t>(fd));
  } catch (const std::exception& error) {
    std::string text = error.what();
    log("session failed: " + text.substr(0, text.find('\n')));
    _exit(1);
  }
  _exit(0);
}

double smaller_limit(double a, double b) {
  return a > 0 && b > 0 ? std::min(a, b) : std::max(a, b);
}

std::string decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

Session::Session(Caller caller, const Options& options, int number,
                 const std::vector<int>& to_close)
    : caller_(std::move(caller)),
      label_("session " + std::to_string(number)),
      folder_(make_folder()),
      limit_s_(smaller_limit(caller_.timeout_s, options.session_limit_s)) {
  if (limit_s_ > 0) deadline_ = started_ + seconds(limit_s_);
  keep_alive(caller_.socket.fd());
  pid_t server = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    for (int fd : to_close) close(fd);
    serve(caller_.socket.fd(), folder_, options, server);
  }
  if (pid_ < 0) {
    std::string cause = std::strerror(errno);
    fs::remove(folder_);
    throw std::runtime_error("cannot start a process: " + cause);
  }
  log(label_ + " for " + caller_.peer + ", process " + std::to_string(pid_) +
      (limit_s_ > 0 ? ", at most " + decimals(limit_s_) + " s" : ""));
}

Session::~Session() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    kill_members(pid_);
    log(label_ + " ended with the server");
  }
  std::error_code failed;
  fs::remove_all(folder_, failed);
  if (failed) log("cannot remove " + folder_ + ": " + failed.message());
}

void Session::tick(Time now) {
  if (expired_ || now < deadline_) return;
  expired_ = true;
  kill(pid_, SIGKILL);
}

bool Session::finished() {
  int status = 0;
  if (pid_ < 0 || waitpid(pid_, &status, WNOHANG) == 0) return pid_ < 0;
  kill_members(pid_);
  pid_ = -1;
  report(status);
  caller_.socket.reset();  // the client knows at once
  return true;
}

void Session::report(int status) {
  std::string after =
      " after " + decimals(std::chrono::duration<double>(Clock::now() - started_).count()) + " s";
  if (expired_) {
    log(label_ + " killed: its " + decimals(limit_s_) + " s are over");
    set_blocking(caller_.socket.fd(), false);
    std::string message = "RPCSessionTimeoutError: Your " + decimals(limit_s_) +
                          "s session has expired, try to increase the \"session_timeout\" value.";
    try {
      tvm_calls::call_global("rpc.ReturnException", static_cast<int64_t>(caller_.socket.fd()),
                             ffi::String(message));
    } catch (const std::exception&) {  // the client has gone as well
    }
  } else if (WIFSIGNALED(status)) {
    crashed_ = true;
    log(label_ + " died of " + signal_name(WTERMSIG(status)) + after);
  } else {
    log(label_ + (WEXITSTATUS(status) ? " failed" : " ended") + after);
  }
}

}  // namespace board
