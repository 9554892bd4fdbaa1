#include "greeting.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "log.h"

namespace board {
namespace {

// tvm/rpc/base.py
constexpr int32_t kMagic = 0xFF271, kMismatch = kMagic + 2;
constexpr size_t kHeader = 8, kLongestKey = 4096, kMostGuests = 64;
constexpr double kPatienceS = 2;

enum class Heard { kMore, kAll, kNonsense };

int32_t int_at(const std::string& text, size_t offset) {
  int32_t value = 0;
  std::memcpy(&value, text.data() + offset, sizeof value);
  return value;
}

// How much has to be in `heard`, as far as is known by now; 0 for nonsense.
size_t expected_bytes(const std::string& heard) {
  if (heard.size() >= 4 && int_at(heard, 0) != kMagic) return 0;
  if (heard.size() < kHeader) return kHeader;
  int32_t length = int_at(heard, 4);
  return length < 1 || length > static_cast<int32_t>(kLongestKey) ? 0 : kHeader + length;
}

Heard hear(Guest* guest) {
  while (true) {
    size_t expected = expected_bytes(guest->heard);
    if (expected == 0) return Heard::kNonsense;
    if (guest->heard.size() == expected && expected > kHeader) return Heard::kAll;
    char buffer[kHeader + kLongestKey];  // never more than the greeting: the rest is the session's
    ssize_t got = recv(guest->socket.fd(), buffer, expected - guest->heard.size(), 0);
    if (got > 0) {
      guest->heard.append(buffer, got);
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      return Heard::kMore;
    } else {
      return Heard::kNonsense;
    }
  }
}

Caller caller_of(Guest* guest) {
  Caller caller;
  caller.socket = std::move(guest->socket);
  caller.peer = guest->peer;
  std::istringstream words(guest->heard.substr(kHeader));
  words >> caller.key;
  const std::string timeout = "-timeout=";
  for (std::string word; words >> word;)
    if (word.rfind(timeout, 0) == 0)
      caller.timeout_s = std::max(0.0, std::strtod(word.c_str() + timeout.size(), nullptr));
  return caller;
}

bool send_all(int fd, const std::string& text) {  // short: it fits an empty socket buffer
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::string int_text(int32_t value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

void Lobby::accept_from(int listener, Time now) {
  std::string peer;
  for (Socket made = board::accept_from(listener, &peer); made.valid();
       made = board::accept_from(listener, &peer)) {
    if (guests_.size() >= kMostGuests) guests_.erase(guests_.begin());
    guests_.push_back({std::move(made), peer, "", now + seconds(kPatienceS)});
  }
}

std::vector<Caller> Lobby::listen_to(const std::vector<int>& readable) {
  std::vector<Caller> callers;
  for (int fd : readable) {
    auto guest = std::find_if(guests_.begin(), guests_.end(),
                              [&](const Guest& g) { return g.socket.fd() == fd; });
    if (guest == guests_.end()) continue;
    Heard heard = hear(&*guest);
    if (heard == Heard::kMore) continue;
    if (heard == Heard::kAll) callers.push_back(caller_of(&*guest));
    if (heard == Heard::kNonsense) log("dropped " + guest->peer + ": it is no RPC client");
    guests_.erase(guest);
  }
  return callers;
}

void Lobby::drop_late(Time now) {
  for (auto guest = guests_.begin(); guest != guests_.end();) {
    bool late = guest->deadline <= now;
    if (late) log("dropped " + guest->peer + ": it did not say who it is");
    guest = late ? guests_.erase(guest) : guest + 1;
  }
}

Time Lobby::due() const {
  Time first = Time::max();
  for (const Guest& guest : guests_) first = std::min(first, guest.deadline);
  return first;
}

void refuse_key(const Caller& caller) { send_all(caller.socket.fd(), int_text(kMismatch)); }

bool welcome(const Caller& caller, const std::string& server_key) {
  return send_all(caller.socket.fd(), int_text(kMagic) + int_text(server_key.size()) + server_key);
}

}  // namespace board
