// The connection to TVM's RPC tracker: never blocks, comes back by itself.
#pragma once

#include <tvm/ffi/any.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "net.h"

namespace board {

class TrackerLink {
 public:
  using Reply = std::function<void(const tvm::ffi::Any& answer)>;

  // `on_up` is called whenever a connection to the tracker was made.
  TrackerLink(std::string host, std::string port, std::function<void()> on_up);

  bool up() const { return state_ == State::kUp; }
  // Send a message (JSON text); the tracker answers in order. Dropped while there is no connection.
  void send(const std::string& message, Reply on_reply = nullptr);

  int fd() const { return socket_.fd(); }
  short wanted_events() const;
  void handle(short events, Time now);
  // Connect, retry, give up on a silent tracker: whatever is due.
  void tick(Time now);
  // When tick is next needed.
  Time due() const { return due_; }

 private:
  enum class State { kDown, kConnecting, kGreeting, kUp };

  void connect_next(Time now);
  void drop(Time now, const std::string& cause);
  bool flush();
  bool receive();
  void read_messages(Time now);
  std::string place() const { return place_text(host_, port_); }

  std::string host_, port_;
  std::function<void()> on_up_;
  State state_ = State::kDown;
  Socket socket_;
  std::vector<Address> untried_;
  std::string outgoing_, incoming_;
  std::deque<Reply> waiting_;
  Time due_ = Clock::now();
  bool reported_down_ = false;
};

}  // namespace board
