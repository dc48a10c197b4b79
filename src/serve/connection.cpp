// See connection.h.
#include "serve/connection.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace wb::serve {

namespace {

thread_local Connection* served_here = nullptr;

#ifdef MSG_NOSIGNAL
constexpr int kQuiet = MSG_NOSIGNAL;
#else
constexpr int kQuiet = 0;  // SIGPIPE is ignored by the library
#endif
#ifdef POLLRDHUP
constexpr short kHangUp = POLLRDHUP;
#else
constexpr short kHangUp = 0;
#endif

int milliseconds_until(std::chrono::steady_clock::time_point until) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
}

void address_of(const sockaddr_storage& address, socklen_t size, std::string& ip, int& port) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                    service.data(), service.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  ip = host.data();
  port = std::atoi(service.data());
}

}  // namespace

Connection::Connection(int socket, int stop, const ConnectionLimits& limits)
    : socket_(socket), stop_(stop), limits_(limits) {
  served_here = this;
}

Connection::~Connection() {
  served_here = nullptr;
  ::close(socket_);
}

Connection* Connection::current() { return served_here; }

// Whether `events` came before `until`; a hang-up counts, the next read or write tells.
bool Connection::wait(short events, Clock::time_point until) const {
  while (true) {
    pollfd one{socket_, events, 0};
    const int n = ::poll(&one, 1, milliseconds_until(until));
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

bool Connection::fill(Clock::time_point until) {
  while (true) {
    const ssize_t n = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (n > 0) {
      begin_ = 0;
      end_ = static_cast<std::size_t>(n);
      return true;
    }
    if (n == 0) return false;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
    if (!wait(POLLIN, until)) return false;
  }
}

bool Connection::wait_for_request() {
  body_ = false;
  const Clock::time_point idle_until = Clock::now() + limits_.idle;
  while (begin_ == end_) {
    std::array<pollfd, 2> both{{{socket_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    const int n = ::poll(both.data(), both.size(), milliseconds_until(idle_until));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || both[1].revents != 0) return false;
    if (!fill(Clock::now())) return false;
  }
  arrived_ = Clock::now();
  header_until_ = arrived_ + limits_.header;
  until_ = arrived_ + limits_.whole;
  header_left_ = limits_.header_bytes;
  return true;
}

void Connection::begin_body() { body_ = true; }

bool Connection::gone() const {
  pollfd one{socket_, static_cast<short>(POLLIN | kHangUp), 0};
  if (::poll(&one, 1, 0) <= 0) return false;
  if ((one.revents & (POLLERR | POLLHUP | POLLNVAL | kHangUp)) != 0) return true;
  char byte = 0;
  const ssize_t n = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void Connection::linger() {
  ::shutdown(socket_, SHUT_WR);
  const Clock::time_point until = Clock::now() + std::chrono::seconds(1);
  for (std::size_t read = 0; read < (1u << 20) && fill(until);) read += end_;
}

bool Connection::is_readable() const { return begin_ < end_ || wait(POLLIN, until_); }
bool Connection::is_writable() const { return !gone(); }

ssize_t Connection::read(char* data, std::size_t size) {
  if (!body_) {
    // The library reads the headers through here; a flood of them ends as if the client had gone.
    if (header_left_ == 0) return -1;
    size = std::min(size, header_left_);
  }
  if (begin_ == end_) {
    const Clock::time_point until = body_ ? Clock::now() + limits_.read : header_until_;
    if (!fill(std::min(until, until_))) {
      slow_ = Clock::now() >= std::min(until, until_);
      return -1;
    }
  }
  const std::size_t n = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, n);
  begin_ += n;
  if (!body_) header_left_ -= n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::send(socket_, data + done, size - done, MSG_DONTWAIT | kQuiet);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (!wait(POLLOUT, std::min(Clock::now() + limits_.write, until_))) return -1;
  }
  return static_cast<ssize_t>(size);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    address_of(address, size, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    address_of(address, size, ip, port);
}

}  // namespace wb::serve
