// The server: models behind OpenAI's API and a page, until it is told to stop. Owns the scheduler,
// the connections and the counts; models are the caller's and outlive it. Refuses to know how a
// model is loaded, what a flag is called, and to print.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/voice.h"

namespace wb::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                         // 0: any that is free
  std::string api_key;                     // empty: none is asked for
  std::string cors_origin;                 // pages of this origin may call; "*": all; empty: none
  std::vector<std::string> allowed_hosts;  // names in Host besides those of a loopback address
  std::size_t most_connections = 256;
  std::size_t most_active = 8, most_waiting = 64;  // texts (scheduler.h)
  std::size_t most_body = 4u << 20;                // bytes of a request's body
  VoiceLimits voice;
  std::chrono::milliseconds time_limit{300'000};  // of a request, waiting included
  std::chrono::milliseconds header_timeout{10'000}, read_timeout{15'000}, write_timeout{30'000},
      idle_timeout{60'000};
  std::chrono::milliseconds grace{10'000};  // for running answers once the server stops
  std::string_view page;                    // the HTML of /; outlives the server
};

class Server {
 public:
  // Listens at once, and answers from run() on. At least one model; ids differ. Throws Code::usage
  // where the address cannot be had.
  Server(std::vector<ServedModel> models, const ServerOptions& options);
  ~Server();

  int port() const;
  // Whether only programs of this machine reach it.
  bool is_loopback() const;
  // Until stop(): then takes nothing new, lets running answers end within the grace time, ends what
  // is left with a proper last event, and returns.
  void run();
  // From any thread. A second call takes the rest of the grace time away.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wb::serve
