// Who may ask: keys, names in Host, origins of pages, and how a body's length is said.
#include "serve/guard.h"

#include <gtest/gtest.h>

#include "serve/metrics.h"

namespace wb::serve {
namespace {

int status(const GuardRules& rules, const RequestHead& head) {
  const auto refusal = guard(rules, head, 100);
  return refusal ? refusal->status : 200;
}
RequestHead post(const char* authorization = "") {
  RequestHead out;
  out.method = "POST";
  out.path = "/v1/completions";
  out.host = "127.0.0.1:8080";
  out.content_length = "10";
  out.authorization = authorization;
  return out;
}

TEST(Guard, Keys) {
  GuardRules rules;
  EXPECT_EQ(status(rules, post()), 200) << "none is asked for";
  rules.api_key = "secret";
  for (const char* bad : {"", "secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets",
                          "Bearer SECRET", "Basic secret", "Bearer secretsecret"})
    EXPECT_EQ(status(rules, post(bad)), 401) << bad;
  for (const char* good : {"Bearer secret", "bearer secret"})
    EXPECT_EQ(status(rules, post(good)), 200) << good;
  RequestHead get = post();
  get.method = "GET";
  for (const char* path : {"/v1/models", "/v1/models/x", "/metrics"}) {
    get.path = path;
    EXPECT_EQ(status(rules, get), 401) << path;
  }
  for (const char* path : {"/", "/health"}) {
    get.path = path;
    EXPECT_EQ(status(rules, get), 200) << path;
  }
}

TEST(Guard, SecretsAreEqualOnlyWhenTheyAre) {
  EXPECT_TRUE(equal_secrets("abc", "abc"));
  EXPECT_TRUE(equal_secrets("", ""));
  for (const char* other : {"", "a", "ab", "abd", "abcabc", "xbc"})
    EXPECT_FALSE(equal_secrets(other, "abc")) << other;
  EXPECT_FALSE(equal_secrets("abc", ""));
}

TEST(Guard, NamesThatALoopbackServerAnswersFor) {
  GuardRules rules;
  RequestHead head = post();
  for (const char* good : {"127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]", ""}) {
    head.host = good;
    EXPECT_EQ(status(rules, head), 200) << good;
  }
  for (const char* bad : {"evil.example:8080", "127.0.0.1.evil.example", "[::2]", "["}) {
    head.host = bad;
    EXPECT_EQ(status(rules, head), 403) << bad;
  }
  head.host = "box.local:8080";
  rules.hosts = {"box.local"};
  EXPECT_EQ(status(rules, head), 200);
  rules.hosts.clear();
  rules.loopback = false;
  EXPECT_EQ(status(rules, head), 200) << "elsewhere names are the network's affair";
}

TEST(Guard, PagesOfOtherOrigins) {
  GuardRules rules;
  RequestHead head = post();
  head.origin = "http://127.0.0.1:8080";
  EXPECT_EQ(status(rules, head), 200) << "our own page";
  for (const char* bad : {"http://evil.example", "null", "http://127.0.0.1:9090"}) {
    head.origin = bad;
    EXPECT_EQ(status(rules, head), 403) << bad;
  }
  head.origin = "https://app.example";
  rules.cors_origin = "https://app.example";
  EXPECT_EQ(status(rules, head), 200);
  EXPECT_FALSE(shares_with(rules, "https://other.example"));
  rules.cors_origin = "*";
  EXPECT_TRUE(shares_with(rules, "https://other.example"));
}

TEST(Guard, Bodies) {
  const GuardRules rules;
  RequestHead head = post();
  const std::pair<const char*, int> lengths[] = {
      {"0", 200},  {"100", 200}, {"101", 413},  {"", 411},
      {"-1", 400}, {"1e2", 400}, {"0x10", 400}, {"9999999999999999999999", 400}};
  for (const auto& [length, wanted] : lengths) {
    head.content_length = length;
    EXPECT_EQ(status(rules, head), wanted) << length;
  }
  head.content_length = "";
  head.transfer_encoding = "chunked";
  EXPECT_EQ(status(rules, head), 200);
  head.transfer_encoding = "gzip, chunked";
  EXPECT_EQ(status(rules, head), 400);
  head.transfer_encoding = "chunked";
  head.content_length = "5";
  EXPECT_EQ(status(rules, head), 400) << "two lengths";
  head = post();
  head.content_type = "multipart/form-data; boundary=x";
  EXPECT_EQ(status(rules, head), 415);
  head.content_type = "application/x-www-form-urlencoded";
  EXPECT_EQ(status(rules, head), 200) << "what curl -d says of JSON";
}

TEST(Metrics, PageIsPrometheusText) {
  Metrics metrics;
  metrics.request("/v1/completions", 200);
  metrics.request("/v1/completions", 200);
  metrics.request("other", 404);
  metrics.made_tokens("a\"b", 7);
  metrics.first_token(0.05);
  metrics.first_token(0.3);
  metrics.first_token(1000);
  const std::string page = metrics.page({3, 4}, 5);
  for (const char* line : {"weightbridge_requests_total{path=\"/v1/completions\",code=\"200\"} 2\n",
                           "weightbridge_requests_total{path=\"other\",code=\"404\"} 1\n",
                           "weightbridge_generated_tokens_total{model=\"a\\\"b\"} 7\n",
                           "weightbridge_texts_running 3\n", "weightbridge_texts_waiting 4\n",
                           "weightbridge_connections 5\n",
                           "# TYPE weightbridge_time_to_first_token_seconds histogram\n",
                           "weightbridge_time_to_first_token_seconds_bucket{le=\"0.025\"} 0\n",
                           "weightbridge_time_to_first_token_seconds_bucket{le=\"0.05\"} 1\n",
                           "weightbridge_time_to_first_token_seconds_bucket{le=\"0.5\"} 2\n",
                           "weightbridge_time_to_first_token_seconds_bucket{le=\"60\"} 2\n",
                           "weightbridge_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3\n",
                           "weightbridge_time_to_first_token_seconds_count 3\n"})
    EXPECT_NE(page.find(line), std::string::npos) << line << page;
}

// A proxy in front may have taken the other one.
TEST(Guard, HeadersThatAreThereTwiceAreRefused) {
  RequestHead head = post();
  head.content_length = "10, 20";
  EXPECT_EQ(status({}, head), 400);
  head = post();
  head.host = "127.0.0.1, evil.example";
  EXPECT_EQ(status({}, head), 403);
  head = post();
  head.content_length.clear();
  head.transfer_encoding = "chunked, chunked";
  EXPECT_EQ(status({}, head), 400);
}

TEST(Guard, ManyRangesAreRefused) {
  RequestHead head = post();
  head.range = "bytes=0-1";
  EXPECT_EQ(status({}, head), 200);
  head.range = "bytes=0-1,2-3";
  EXPECT_EQ(status({}, head), 416);
}

}  // namespace
}  // namespace wb::serve
