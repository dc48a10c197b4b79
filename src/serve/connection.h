// One client's connection under cpp-httplib: a Stream over a socket with the bounds that the
// library leaves out. Owns the socket. Refuses a request line and headers that are too long or too
// slow, a body that is slow, a reader that takes nothing for too long, and a request that lasts
// beyond its deadline: reads and writes fail then, and the connection ends. One thread.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

namespace wb::serve {

struct ConnectionLimits {
  std::chrono::milliseconds idle{60'000};    // between two requests
  std::chrono::milliseconds header{10'000};  // for request line and headers, all of them
  std::chrono::milliseconds read{15'000};    // for the next bytes of a body
  std::chrono::milliseconds write{30'000};   // for the client to take anything
  std::chrono::milliseconds whole{420'000};  // a request from its first byte to its answer's last
  std::size_t header_bytes = 64 * 1024;
};

class Connection : public httplib::Stream {
 public:
  // Takes `socket` over. `stop`: a descriptor that becomes readable when the server stops.
  Connection(int socket, int stop, const ConnectionLimits& limits);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The connection that this thread serves.
  static Connection* current();

  // Waits for the first byte of a request. False: the client is gone or idle, or the server stops.
  bool wait_for_request();
  // From here on what is read is the body.
  void begin_body();
  // The client has closed its side; nobody will read the answer.
  bool gone() const;
  // The connection does not outlive this answer.
  void close_after() { last_ = true; }
  bool closes() const { return last_; }
  // Whether the last read failed because nothing came in time.
  bool slow() const { return slow_; }
  std::chrono::steady_clock::time_point arrived() const { return arrived_; }
  // Ends without cutting off what was just written: reads on for a moment what the client still
  // sends.
  void linger();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, std::size_t size) override;
  ssize_t write(const char* data, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, Clock::time_point until) const;
  bool fill(Clock::time_point until);

  const int socket_, stop_;
  const ConnectionLimits limits_;
  std::array<char, 8192> buffer_{};
  std::size_t begin_ = 0, end_ = 0;  // of what is read and not taken
  std::size_t header_left_ = 0;
  bool body_ = false, last_ = false, slow_ = false;
  Clock::time_point arrived_{}, header_until_{}, until_{};
};

}  // namespace wb::serve
