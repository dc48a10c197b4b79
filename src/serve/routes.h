// What the server answers to: every path, its handler, and answers as they are streamed. Owns the
// mapping from HTTP to requests, jobs and documents, and back; knows sockets only through
// Connection. Refusals of every kind leave here in OpenAI's shape.
#pragma once

#include <httplib.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "serve/answer.h"
#include "serve/guard.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/server.h"

namespace wb::serve {

class Routes {
 public:
  // All of them outlive it; installs itself in `http`.
  Routes(HttpServer& http, Scheduler& scheduler, const std::vector<ServedModel>& models,
         const ServerOptions& options);

 private:
  using Req = httplib::Request;
  using Res = httplib::Response;

  httplib::Server::HandlerResponse before(const Req& req, Res& res);
  httplib::Server::HandlerResponse explain(Res& res);
  void page(Res& res) const;
  void models(Res& res) const;
  void model(const std::string& id, Res& res) const;
  void health(Res& res) const;
  void metrics(Res& res) const;

  void post(Endpoint endpoint, const Req& req, Res& res, const httplib::ContentReader& reader);
  std::optional<std::string> read_body(const Req& req, Res& res,
                                       const httplib::ContentReader& reader) const;
  const ServedModel* find_model(const std::string& id) const;
  void answer(const ServedModel& model, const Ask& ask, Res& res, bool chunked);

  std::uint64_t random();

  HttpServer& http_;
  Scheduler& scheduler_;
  const std::vector<ServedModel>& models_;
  const ServerOptions& options_;
  const GuardRules rules_;
  const std::int64_t created_;
  std::string page_policy_;  // Content-Security-Policy of the page
  Metrics metrics_;
  std::mutex random_mutex_;
  std::mt19937_64 random_;
};

// The policy for one HTML file with its style and script inside: nothing else runs, loads or is
// called but this server.
std::string page_policy(std::string_view html);

}  // namespace wb::serve
