// Connections for cpp-httplib: the library parses requests, routes them and frames answers; this
// class binds, accepts and gives every connection a thread of its own, so that slow and idle
// clients keep nobody else waiting (the library's pool has a few threads and ties one to each
// connection that is kept alive). Owns the listening socket, the threads and their count. Beyond
// its bound of connections it answers 503 at once, without a thread.
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <set>
#include <string>

#include "serve/connection.h"

namespace wb::serve {

class HttpServer : public httplib::Server {
 public:
  HttpServer(const ConnectionLimits& limits, std::size_t most_connections);
  ~HttpServer() override;

  // `port` 0: any that is free. Throws Code::usage: no such host, or the port cannot be had.
  void bind(const std::string& host, int port);
  int port() const { return port_; }
  bool is_loopback() const { return loopback_; }

  // Accepts until stop(), which may be called from any thread and from a signal handler. Then
  // connections without a request end, those with one end after their answer.
  void accept_until_stopped();
  void stop_accepting();
  bool stopping() const { return stopping_; }
  // Whether all connections have ended, waiting at most so long or, with `patient` false, until
  // hurry().
  bool wait_for_connections(std::chrono::milliseconds most, bool patient = false);
  void hurry();
  void close_connections();  // at once, whatever they are doing
  std::size_t connections() const;

 private:
  void take(int socket);
  void serve(int socket);
  void turn_away(int socket) const;

  const ConnectionLimits limits_;
  const std::size_t most_connections_;
  int listening_ = -1, port_ = 0;
  bool loopback_ = false;
  int stop_read_ = -1, stop_write_ = -1;  // a pipe that stays readable once the server stops
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::set<int> sockets_;
  std::size_t threads_ = 0;
  bool hurry_ = false;
};

}  // namespace wb::serve
