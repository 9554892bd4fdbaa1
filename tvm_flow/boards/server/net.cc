#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace board {

void Socket::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

std::string Address::text() const {
  char host[NI_MAXHOST] = "?";
  getnameinfo(get(), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

std::string place_text(const std::string& host, const std::string& port) {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

std::vector<Address> resolve(const std::string& host, const std::string& port, bool to_listen) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = to_listen ? AI_PASSIVE : 0;
  std::vector<Address> found;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &list) != 0) return found;
  for (addrinfo* item = list; item; item = item->ai_next) {
    Address address;
    std::memcpy(&address.storage, item->ai_addr, item->ai_addrlen);
    address.size = item->ai_addrlen;
    found.push_back(address);
  }
  freeaddrinfo(list);
  return found;
}

Socket listen_on(const std::string& host, int* port) {
  std::string place = place_text(host, std::to_string(*port));
  auto addresses = resolve(host, std::to_string(*port), true);
  if (addresses.empty()) throw std::runtime_error("cannot listen on " + place + ": unknown host");
  Address& address = addresses[0];
  Socket made(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int on = 1;
  setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(made.fd(), address.get(), address.size) != 0 || listen(made.fd(), 64) != 0)
    throw std::runtime_error("cannot listen on " + place + ": " + std::strerror(errno) +
                             ". Fix: choose another --host or --port (0 takes any free port)");
  address.size = sizeof address.storage;
  getsockname(made.fd(), reinterpret_cast<sockaddr*>(&address.storage), &address.size);
  const void* data = &address.storage;
  *port = ntohs(address.storage.ss_family == AF_INET6
                    ? static_cast<const sockaddr_in6*>(data)->sin6_port
                    : static_cast<const sockaddr_in*>(data)->sin_port);
  return made;
}

Socket start_connect(const Address& address) {
  Socket made(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (made.valid() && connect(made.fd(), address.get(), address.size) != 0 && errno != EINPROGRESS)
    made.reset();
  return made;
}

bool connected(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

Socket accept_from(int listener, std::string* peer) {
  Address address;
  address.size = sizeof address.storage;
  auto* storage = reinterpret_cast<sockaddr*>(&address.storage);
  Socket made(accept4(listener, storage, &address.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (made.valid()) *peer = address.text();
  return made;
}

void keep_alive(int fd) {
  int on = 1, idle_s = 20, interval_s = 10, tries = 4;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void set_blocking(int fd, bool blocking) {
  int flags = fcntl(fd, F_GETFL, 0);
  fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

}  // namespace board
