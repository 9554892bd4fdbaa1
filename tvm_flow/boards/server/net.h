// Sockets that never block, and time.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <string>
#include <vector>

namespace board {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

inline Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

// A file descriptor that is closed with its owner.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Socket() { reset(); }
  int fd() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  std::string text() const;  // "192.168.1.5", without the port
};

// "192.168.1.5:9190", "[fd00::5]:9190".
std::string place_text(const std::string& host, const std::string& port);

// All addresses of a host, empty where it is unknown. May wait for a name server.
std::vector<Address> resolve(const std::string& host, const std::string& port, bool to_listen);

// A listening socket; `port` becomes the one in use. Throws std::runtime_error with the cause.
Socket listen_on(const std::string& host, int* port);

// Starts to connect; the socket becomes writable when that is done. Invalid on failure.
Socket start_connect(const Address& address);
// Whether the connection that was started stands.
bool connected(int fd);

// The next waiting connection, non-blocking, or an invalid socket.
Socket accept_from(int listener, std::string* peer);

// Lets the kernel notice within about a minute that the other machine is gone.
void keep_alive(int fd);
void set_blocking(int fd, bool blocking);

}  // namespace board
