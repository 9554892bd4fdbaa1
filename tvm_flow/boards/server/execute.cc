#include "execute.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <tvm/ffi/extra/json.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cores.h"
#include "net.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;

constexpr size_t kMostOutput = 1 << 20;
constexpr double kMostSeconds = 86400;

struct Order {
  std::vector<std::string> argv;
  double timeout_s = 60;
  bool in_folder = true;
};

struct Outcome {
  int status = 0;
  bool timed_out = false;
  std::string out, err;
};

Order parse(const std::string& text) {
  ffi::String error;
  ffi::Any value = json::Parse(text, &error);
  auto object = error.empty() ? value.as<json::Object>() : std::nullopt;
  if (!object) TVM_FFI_THROW(ValueError) << "tvm_flow.board.exec takes a JSON object";
  Order order;
  for (const auto& [name, item] : *object) {
    auto key = std::string(name.cast<ffi::String>());
    if (key == "argv") {
      for (const ffi::Any& word : item.cast<json::Array>())
        order.argv.push_back(word.cast<ffi::String>());
    } else if (key == "timeout_s") {
      order.timeout_s = item.cast<double>();
    } else if (key == "cwd_is_workdir") {
      order.in_folder = item.cast<bool>();
    } else {
      TVM_FFI_THROW(ValueError) << "tvm_flow.board.exec: unknown key " << key;
    }
  }
  if (order.argv.empty()) TVM_FFI_THROW(ValueError) << "tvm_flow.board.exec: argv is empty";
  if (!(order.timeout_s > 0 && order.timeout_s <= kMostSeconds))
    TVM_FFI_THROW(ValueError) << "tvm_flow.board.exec: timeout_s must be 0 to " << kMostSeconds;
  return order;
}

// In the new process. Only calls that are safe after fork: this process may have threads.
[[noreturn]] void become(char* const* argv, const char* folder, const std::vector<int>& cores,
                         int out, int err) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  run_on(cores);
  int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  signal(SIGPIPE, SIG_DFL);
  if (!folder || chdir(folder) == 0) execvp(argv[0], argv);
  const char* reason = std::strerror(errno);
  if (write(STDERR_FILENO, reason, std::strlen(reason)) < 0) _exit(127);
  _exit(127);
}

// Append what can be read; false at the end of the stream.
bool drain(int fd, std::string* text) {
  char buffer[65536];
  ssize_t got = read(fd, buffer, sizeof buffer);
  if (got > 0) text->append(buffer, std::min<size_t>(got, kMostOutput - text->size()));
  return got > 0 || (got < 0 && errno == EINTR);
}

// Read both pipes until they close or the time is over.
bool collect(Socket* out, Socket* err, Time deadline, Outcome* outcome) {
  while (out->valid() || err->valid()) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd ready[] = {{out->fd(), POLLIN, 0}, {err->fd(), POLLIN, 0}};
    if (poll(ready, 2, static_cast<int>(left.count()) + 1) < 0 && errno != EINTR) return false;
    if (ready[0].revents && !drain(out->fd(), &outcome->out)) out->reset();
    if (ready[1].revents && !drain(err->fd(), &outcome->err)) err->reset();
  }
  return true;
}

// The program may close its outputs and go on: wait for its end as well.
bool ended(pid_t pid, Time deadline, int* status) {
  while (waitpid(pid, status, WNOHANG) == 0) {
    if (Clock::now() >= deadline) return false;
    usleep(2000);
  }
  return true;
}

void make_pipe(Socket* to_read, Socket* to_write) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    TVM_FFI_THROW(RuntimeError) << "no pipe: " << std::strerror(errno);
  to_read->reset(ends[0]);
  to_write->reset(ends[1]);
}

Outcome run(const Order& order, const std::string& folder, const std::vector<int>& cores) {
  std::vector<char*> argv;
  for (const auto& word : order.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Socket out_read, out_write, err_read, err_write;
  make_pipe(&out_read, &out_write);
  make_pipe(&err_read, &err_write);
  Time deadline = Clock::now() + seconds(order.timeout_s);
  pid_t pid = fork();
  if (pid < 0) TVM_FFI_THROW(RuntimeError) << "no process: " << std::strerror(errno);
  if (pid == 0)
    become(argv.data(), order.in_folder ? folder.c_str() : nullptr, cores, out_write.fd(),
           err_write.fd());
  out_write.reset();
  err_write.reset();
  Outcome outcome;
  outcome.timed_out = !collect(&out_read, &err_read, deadline, &outcome) ||
                      !ended(pid, deadline, &outcome.status);
  if (outcome.timed_out) {
    kill(pid, SIGKILL);
    kill(-pid, SIGKILL);
    waitpid(pid, &outcome.status, 0);
  }
  return outcome;
}

// Length of the UTF-8 character that begins with `lead`; 0 where none does.
size_t character_bytes(unsigned char lead) {
  if (lead < 0x80) return 1;
  return lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
}

// JSON must be UTF-8: every byte that is not becomes '?'.
std::string readable(std::string text) {
  size_t i = 0;
  while (i < text.size()) {
    size_t bytes = character_bytes(text[i]);
    bool valid = bytes > 0 && i + bytes <= text.size();
    for (size_t k = 1; valid && k < bytes; k++) valid = (text[i + k] & 0xC0) == 0x80;
    if (!valid) text[i] = '?';
    i += valid ? bytes : 1;
  }
  return text;
}

}  // namespace

std::string execute(const std::string& text, const std::string& folder,
                    const std::vector<int>& cores) {
  Outcome outcome = run(parse(text), folder, cores);
  int status = outcome.status;
  json::Object result;
  int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  result.Set(ffi::String("code"), code);
  result.Set(ffi::String("stdout"), ffi::String(readable(std::move(outcome.out))));
  result.Set(ffi::String("stderr"), ffi::String(readable(std::move(outcome.err))));
  result.Set(ffi::String("timed_out"), outcome.timed_out);
  return json::Stringify(result);
}

}  // namespace board
