// See http_server.h.
#include "serve/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

#include "base/error.h"

namespace wb::serve {

namespace {

// What the system keeps of an answer for a slow client: little, so that its text pauses.
constexpr int kSendBuffer = 64 * 1024;
constexpr int kBacklog = 128;

[[noreturn]] void cannot_listen(const std::string& host, int port, const std::string& why) {
  throw Error(Code::usage,
              fmt::format("the server cannot listen on {} port {}: {}", host, port, why))
      .advice("Give another --port (0 takes any that is free) or --host.");
}

void close_on_exec(int fd) { ::fcntl(fd, F_SETFD, ::fcntl(fd, F_GETFD) | FD_CLOEXEC); }

bool is_loopback_address(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  return address.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

// A listening socket, or -1 with errno.
int listen_on(const addrinfo& place) {
  const int fd = ::socket(place.ai_family, place.ai_socktype, place.ai_protocol);
  if (fd < 0) return -1;
  close_on_exec(fd);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (::bind(fd, place.ai_addr, place.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  const int why = errno;
  ::close(fd);
  errno = why;
  return -1;
}

// Held by a connection's thread until its own objects are gone; then whoever waits for it may take
// the server away. std::notify_all_at_thread_exit would notify after unlocking, when the server may
// already be gone.
struct Leaving {
  std::unique_lock<std::mutex> lock;
  std::condition_variable* ended = nullptr;
  ~Leaving() {
    if (ended != nullptr) ended->notify_all();
  }
};

}  // namespace

HttpServer::HttpServer(const ConnectionLimits& limits, std::size_t most_connections)
    : limits_(limits), most_connections_(most_connections) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0)
    throw Error(Code::file_open, std::strerror(errno)).advice("Close other programs.");
  stop_read_ = ends[0];
  stop_write_ = ends[1];
  for (const int fd : ends) close_on_exec(fd);
  set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(limits.idle).count());
  set_keep_alive_max_count(1'000'000);
}

HttpServer::~HttpServer() {
  for (const int fd : {listening_, stop_read_, stop_write_}) {
    if (fd >= 0) ::close(fd);
  }
}

void HttpServer::bind(const std::string& host, int port) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (const int why = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found))
    cannot_listen(host, port, ::gai_strerror(why));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  for (const addrinfo* place = found; place != nullptr && listening_ < 0; place = place->ai_next)
    listening_ = listen_on(*place);
  if (listening_ < 0) cannot_listen(host, port, std::strerror(errno));
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ =
      ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                          : reinterpret_cast<const sockaddr_in&>(address).sin_port);
  loopback_ = is_loopback_address(address);
  // The library cuts answers short where this says that the server is gone.
  svr_sock_ = listening_;
}

void HttpServer::stop_accepting() {
  stopping_ = true;
  const char byte = 0;
  [[maybe_unused]] const auto n = ::write(stop_write_, &byte, 1);  // full is as good as written
}

void HttpServer::accept_until_stopped() {
  while (!stopping_) {
    std::array<pollfd, 2> both{{{listening_, POLLIN, 0}, {stop_read_, POLLIN, 0}}};
    if (::poll(both.data(), both.size(), -1) < 0 || both[0].revents == 0) continue;
    const int socket = ::accept(listening_, nullptr, nullptr);
    if (socket >= 0) {
      take(socket);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Nothing to accept with: those that are served will end.
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  ::close(listening_);
  listening_ = -1;
}

void HttpServer::take(int socket) {
  close_on_exec(socket);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
  std::lock_guard lock(mutex_);
  if (sockets_.size() >= most_connections_) return turn_away(socket);
  try {
    std::thread([this, socket] { serve(socket); }).detach();
  } catch (const std::system_error&) {
    return turn_away(socket);
  }
  sockets_.insert(socket);
  ++threads_;
}

// Best effort: what does not fit the system's buffers is not waited for.
void HttpServer::turn_away(int socket) const {
  constexpr std::string_view kBody =
      "{\"error\":{\"message\":\"The server has too many connections. Try again.\","
      "\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
  const std::string answer = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Connection: close\r\nContent-Length: {}\r\n\r\n{}",
      kBody.size(), kBody);
  [[maybe_unused]] const auto n = ::send(socket, answer.data(), answer.size(), MSG_DONTWAIT);
  ::shutdown(socket, SHUT_WR);
  std::array<char, 4096> rest{};
  while (::recv(socket, rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
  }
  ::close(socket);
}

void HttpServer::serve(int socket) {
  // The first of the thread's own objects is the last to go.
  static thread_local Leaving leaving;
  Connection connection(socket, stop_read_, limits_);
  while (connection.wait_for_request()) {
    bool closes = false;
    // Ranges are not served: of a short request they would make a long answer. The guard sees them.
    const bool well = process_request(connection, stopping_, closes,
                                      [](httplib::Request& req) { req.ranges.clear(); });
    if (well && !closes && !connection.closes() && !stopping_) continue;
    if (well) connection.linger();
    break;
  }
  leaving.lock = std::unique_lock(mutex_);
  leaving.ended = &ended_;
  sockets_.erase(socket);
  --threads_;
}

bool HttpServer::wait_for_connections(std::chrono::milliseconds most, bool patient) {
  std::unique_lock lock(mutex_);
  ended_.wait_for(lock, most, [&] { return threads_ == 0 || (hurry_ && !patient); });
  return threads_ == 0;
}

void HttpServer::hurry() {
  std::lock_guard lock(mutex_);
  hurry_ = true;
  ended_.notify_all();
}

void HttpServer::close_connections() {
  std::lock_guard lock(mutex_);
  for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
}

std::size_t HttpServer::connections() const {
  std::lock_guard lock(mutex_);
  return sockets_.size();
}

}  // namespace wb::serve
