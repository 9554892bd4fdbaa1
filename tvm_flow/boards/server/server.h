// The server: one loop over the tracker, new clients and the running session.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "greeting.h"
#include "options.h"
#include "session.h"
#include "tracker_link.h"

namespace board {

class Server {
 public:
  // Listens. `signals`: a descriptor that becomes readable when a signal came, with its number
  // as one byte. Throws std::runtime_error where it cannot listen.
  Server(Options options, int signals);
  // Until SIGTERM, SIGINT or SIGHUP, or the end of standard input where that was asked for.
  void run();
  int port() const { return port_; }

 private:
  void wait();
  void tick(Time now);
  bool stop_asked();
  bool input_ended() const;
  void on_tracker_up();
  void send_info();
  void offer();
  tvm::ffi::Any told_address() const;
  void ask_whether_taken();
  void answer(Caller caller);
  void begin_session(Caller caller);
  void end_session();
  std::vector<int> descriptors() const;

  Options options_;
  int signals_, port_;
  Socket listener_;
  Lobby lobby_;
  TrackerLink tracker_;
  std::unique_ptr<Session> session_;
  std::string match_key_;  // what the next client must know; empty: nobody is expected
  int periods_without_client_ = 0, sessions_ = 0, crashes_ = 0;
  Time next_question_ = Clock::now(), next_info_ = Clock::now();
};

}  // namespace board
