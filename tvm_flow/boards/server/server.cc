#include "server.h"

#include <poll.h>
#include <signal.h>
#include <tvm/ffi/extra/json.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <stdexcept>

#include "cores.h"
#include "health.h"
#include "log.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;

// tvm/rpc/base.py
enum TrackerCode { kPing = 1, kPut = 3, kUpdateInfo = 5, kPendingKeys = 7 };

constexpr double kQuestionS = 2, kInfoS = 5;
// A client that took the key and does not come within so many questions has changed its mind.
constexpr int kPatience = 3;

std::string random_key(const std::string& key) {
  std::random_device source;
  char digits[40];
  std::snprintf(digits, sizeof digits, ":0.%08u%08u", source() % 100000000u, source() % 100000000u);
  return key + digits;
}

// What is being measured on must not be disturbed by our own wake-ups.
void leave_session_cores(const Options& options) {
  auto used = session_cores(options);
  std::vector<int> others;
  for (int core : allowed_cores())
    if (std::find(used.begin(), used.end(), core) == used.end()) others.push_back(core);
  if (!others.empty()) run_on(others);
}

}  // namespace

Server::Server(Options options, int signals)
    : options_(std::move(options)),
      signals_(signals),
      port_(options_.port),
      listener_(listen_on(options_.host, &port_)),
      tracker_(options_.tracker_host, options_.tracker_port, [this] { on_tracker_up(); }) {
  leave_session_cores(options_);
}

void Server::run() {
  while (!stop_asked()) {
    if (session_ && session_->finished()) end_session();
    tick(Clock::now());
    wait();
  }
  session_.reset();
}

void Server::tick(Time now) {
  lobby_.drop_late(now);
  tracker_.tick(now);
  if (session_) session_->tick(now);
  if (now >= next_question_) {
    next_question_ = now + seconds(kQuestionS);
    if (session_) tracker_.send("[" + std::to_string(kPing) + "]");
    else ask_whether_taken();
  }
  if (now >= next_info_) send_info();
}

// Sleep until something happens or is due, and look after the sockets.
void Server::wait() {
  Time due = std::min({next_question_, next_info_, lobby_.due(), tracker_.due()});
  if (session_) due = std::min(due, session_->due());
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(due - Clock::now()).count();
  std::vector<pollfd> ready{{signals_, POLLIN, 0},
                            {options_.until_eof ? STDIN_FILENO : -1, POLLIN, 0},
                            {listener_.fd(), POLLIN, 0},
                            {tracker_.fd(), tracker_.wanted_events(), 0}};
  for (const Guest& guest : lobby_.guests()) ready.push_back({guest.socket.fd(), POLLIN, 0});
  int patience_ms = static_cast<int>(std::max<int64_t>(left, 0) + 1);
  if (poll(ready.data(), ready.size(), patience_ms) <= 0) return;
  Time now = Clock::now();
  tracker_.handle(ready[3].revents, now);
  std::vector<int> readable;
  for (size_t i = 4; i < ready.size(); i++)
    if (ready[i].revents) readable.push_back(ready[i].fd);
  for (Caller& caller : lobby_.listen_to(readable)) answer(std::move(caller));
  if (ready[2].revents) lobby_.accept_from(listener_.fd(), now);
}

bool Server::stop_asked() {
  char number = 0;
  while (read(signals_, &number, 1) == 1) {
    if (number == SIGCHLD) continue;
    log("stops");
    return true;
  }
  return options_.until_eof && input_ended();
}

bool Server::input_ended() const {
  char ignored[256];
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
}

void Server::on_tracker_up() {
  send_info();
  if (!session_) offer();
  // Answers come in order: with this one the tracker knows all of the above.
  tracker_.send("[" + std::to_string(kPing) + "]", [this](const ffi::Any&) {
    log("registered with tracker " + place_text(options_.tracker_host, options_.tracker_port) +
        " as " + options_.key);
  });
}

void Server::send_info() {
  next_info_ = Clock::now() + seconds(kInfoS);
  if (!tracker_.up()) return;
  json::Object info;
  auto set = [&](const char* name, const ffi::Any& value) { info.Set(ffi::String(name), value); };
  set("key", ffi::String("server:" + options_.key));
  set("addr", json::Array{told_address(), port_});
  set("name", ffi::String(options_.name));
  set("emulated", is_emulated(options_));
  set("busy", session_ != nullptr);
  set("client", session_ ? ffi::Any(ffi::String(session_->peer())) : ffi::Any(nullptr));
  set("sessions", sessions_);
  set("crashes", crashes_);
  set("health", health(options_));
  tracker_.send(std::string(json::Stringify(json::Array{static_cast<int>(kUpdateInfo), info})));
}

// null: the tracker takes the one it sees.
ffi::Any Server::told_address() const {
  std::string address = options_.told_address();
  return address.empty() ? ffi::Any(nullptr) : ffi::Any(ffi::String(address));
}

// Tell the tracker that a client may come, and what it must say.
void Server::offer() {
  match_key_ = random_key(options_.key);
  periods_without_client_ = 0;
  json::Array place{port_, ffi::String(match_key_)};
  json::Array message{static_cast<int>(kPut), ffi::String(options_.key), place,
                      told_address()};
  tracker_.send(std::string(json::Stringify(message)));
}

void Server::ask_whether_taken() {
  std::string asked = match_key_;
  tracker_.send("[" + std::to_string(kPendingKeys) + "]", [this, asked](const ffi::Any& answer) {
    if (session_ || asked != match_key_) return;
    auto keys = answer.as<json::Array>();
    bool pending = false;
    if (keys)
      for (const ffi::Any& key : *keys)
        pending |= key.as<ffi::String>().value_or(ffi::String()) == ffi::String(asked);
    periods_without_client_ = pending ? 0 : periods_without_client_ + 1;
    if (periods_without_client_ <= kPatience) return;
    log("a client asked for this board and did not come");
    offer();
  });
}

void Server::answer(Caller caller) {
  if (match_key_.empty() || session_ || caller.key != "client:" + match_key_) {
    log("refused " + caller.peer + ": it does not know the key of the next session");
    refuse_key(caller);
  } else if (welcome(caller, "server:" + options_.key)) {
    begin_session(std::move(caller));
  }
}

void Server::begin_session(Caller caller) {
  try {
    session_ = std::make_unique<Session>(std::move(caller), options_, sessions_ + 1, descriptors());
    match_key_.clear();
    sessions_++;
    send_info();
  } catch (const std::runtime_error& error) {
    log(error.what());
    offer();
  }
}

void Server::end_session() {
  crashes_ += session_->crashed();
  session_.reset();
  send_info();
  offer();
}

// Everything a session must not inherit.
std::vector<int> Server::descriptors() const {
  std::vector<int> fds{signals_, listener_.fd()};
  if (tracker_.fd() >= 0) fds.push_back(tracker_.fd());
  for (const Guest& guest : lobby_.guests()) fds.push_back(guest.socket.fd());
  return fds;
}

}  // namespace board
