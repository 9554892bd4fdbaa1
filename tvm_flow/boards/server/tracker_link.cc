#include "tracker_link.h"

#include <poll.h>
#include <tvm/ffi/extra/json.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "log.h"

namespace board {
namespace {

namespace ffi = tvm::ffi;

constexpr int32_t kTrackerMagic = 0x2F271;  // tvm/rpc/base.py
constexpr double kRetryS = 2, kConnectS = 5, kAnswerS = 10;
constexpr int32_t kLongestMessage = 1 << 20;

void append_int(std::string* text, int32_t value) {
  text->append(reinterpret_cast<const char*>(&value), sizeof value);  // little endian, as both are
}

}  // namespace

TrackerLink::TrackerLink(std::string host, std::string port, std::function<void()> on_up)
    : host_(std::move(host)), port_(std::move(port)), on_up_(std::move(on_up)) {}

short TrackerLink::wanted_events() const {
  bool to_write = state_ == State::kConnecting || !outgoing_.empty();
  return to_write ? POLLIN | POLLOUT : POLLIN;
}

void TrackerLink::send(const std::string& message, Reply on_reply) {
  if (!up()) return;
  append_int(&outgoing_, static_cast<int32_t>(message.size()));
  outgoing_ += message;
  if (waiting_.empty()) due_ = Clock::now() + seconds(kAnswerS);
  waiting_.push_back(std::move(on_reply));
}

void TrackerLink::tick(Time now) {
  if (now < due_) return;
  if (state_ == State::kDown) {
    connect_next(now);
  } else if (up() && waiting_.empty()) {
    due_ = now + seconds(kAnswerS);
  } else {
    drop(now, "no answer");
  }
}

void TrackerLink::connect_next(Time now) {
  if (untried_.empty()) untried_ = resolve(host_, port_, false);
  if (untried_.empty()) return drop(now, "unknown host");
  Address address = untried_.front();
  untried_.erase(untried_.begin());
  socket_ = start_connect(address);
  if (!socket_.valid()) return drop(now, std::strerror(errno));
  state_ = State::kConnecting;
  due_ = now + seconds(kConnectS);
}

void TrackerLink::drop(Time now, const std::string& cause) {
  if (up()) {
    log("tracker " + place() + " lost: " + cause);
  } else if (!reported_down_ && untried_.empty()) {
    log("tracker " + place() + " not reachable (" + cause + "), trying every 2 s");
    reported_down_ = true;
  }
  socket_.reset();
  outgoing_.clear();
  incoming_.clear();
  waiting_.clear();
  // the other addresses of the host follow at once
  due_ = state_ == State::kUp || untried_.empty() ? now + seconds(kRetryS) : now;
  state_ = State::kDown;
}

void TrackerLink::handle(short events, Time now) {
  if (state_ == State::kDown || events == 0) return;
  if (state_ == State::kConnecting) {
    if (!connected(fd())) return drop(now, "connection refused");
    state_ = State::kGreeting;
    append_int(&outgoing_, kTrackerMagic);
    keep_alive(fd());
  }
  if (events & (POLLIN | POLLHUP | POLLERR)) {
    bool open = receive();
    read_messages(now);
    if (!open && state_ != State::kDown) return drop(now, "it closed the connection");
  }
  if (state_ != State::kDown && !flush()) drop(now, "it closed the connection");
}

bool TrackerLink::flush() {
  while (!outgoing_.empty()) {
    ssize_t sent = ::send(fd(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    outgoing_.erase(0, sent);
  }
  return true;
}

bool TrackerLink::receive() {
  char buffer[4096];
  while (true) {
    ssize_t got = recv(fd(), buffer, sizeof buffer, 0);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    incoming_.append(buffer, got);
  }
}

void TrackerLink::read_messages(Time now) {
  int32_t head = 0;
  while (incoming_.size() >= sizeof head) {
    std::memcpy(&head, incoming_.data(), sizeof head);
    if (state_ == State::kGreeting) {
      if (head != kTrackerMagic) return drop(now, "it is no RPC tracker");
      incoming_.erase(0, sizeof head);
      state_ = State::kUp;
      due_ = now + seconds(kAnswerS);
      reported_down_ = false;
      untried_.clear();
      on_up_();
      continue;
    }
    if (head < 1 || head > kLongestMessage || waiting_.empty()) return drop(now, "it sent garbage");
    if (incoming_.size() < sizeof head + head) return;
    ffi::String error;
    ffi::Any answer = ffi::json::Parse(incoming_.substr(sizeof head, head), &error);
    if (!error.empty()) return drop(now, "it sent garbage");
    incoming_.erase(0, sizeof head + head);
    Reply on_reply = std::move(waiting_.front());
    waiting_.pop_front();
    due_ = now + seconds(kAnswerS);
    if (on_reply) on_reply(answer);
  }
}

}  // namespace board
