// See server.h.
#include "serve/server.h"

#include "serve/routes.h"

namespace wb::serve {

namespace {

ConnectionLimits connection_limits(const ServerOptions& o) {
  ConnectionLimits out;
  out.idle = o.idle_timeout;
  out.header = o.header_timeout;
  out.read = o.read_timeout;
  out.write = o.write_timeout;
  // Reading the body, making the answer, and its last bytes.
  out.whole = o.header_timeout + o.read_timeout + o.time_limit + o.write_timeout;
  return out;
}

}  // namespace

struct Server::Impl {
  const std::vector<ServedModel> models;
  const ServerOptions options;
  Scheduler scheduler;
  HttpServer http;
  std::optional<Routes> routes;

  Impl(std::vector<ServedModel> with, const ServerOptions& o)
      : models(std::move(with)),
        options(o),
        scheduler({.most_active = o.most_active,
                   .most_waiting = o.most_waiting,
                   .time_limit = o.time_limit}),
        http(connection_limits(o), o.most_connections) {
    http.bind(options.host, options.port);
    routes.emplace(http, scheduler, models, options);
  }
};

Server::Server(std::vector<ServedModel> models, const ServerOptions& options)
    : impl_(std::make_unique<Impl>(std::move(models), options)) {}
Server::~Server() = default;

int Server::port() const { return impl_->http.port(); }
bool Server::is_loopback() const { return impl_->http.is_loopback(); }

void Server::run() {
  impl_->http.accept_until_stopped();
  impl_->scheduler.close();
  if (impl_->http.wait_for_connections(impl_->options.grace)) return;
  impl_->scheduler.cut();
  // For last events to be written; readers that do not take them are cut off.
  if (impl_->http.wait_for_connections(std::chrono::seconds(3), /*patient=*/true)) return;
  impl_->http.close_connections();
  impl_->http.wait_for_connections(std::chrono::hours(1), /*patient=*/true);
}

void Server::stop() {
  if (impl_->http.stopping()) return impl_->http.hurry();
  impl_->http.stop_accepting();
}

}  // namespace wb::serve
