// A token allocates nothing, whatever the model is: counted by operators new of this executable's
// own. Memory for what is remembered doubles when it is full, which is the one exception, and a
// prompt may allocate. Not under sanitizers, which bring operators of their own.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>

#include "engine/generation.h"
#include "runtime/load.h"
#include "unit/runtime/axes_fixture.h"
#include "unit/runtime/runtime_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WB_COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WB_COUNTS 0
#endif
#endif
#ifndef WB_COUNTS
#define WB_COUNTS 1
#endif

namespace {

std::atomic<std::size_t> allocations{0};

#if WB_COUNTS
void* counted_new(std::size_t size, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, whole > 0 ? whole : alignment)) return p;
  throw std::bad_alloc();
}
#endif

}  // namespace

#if WB_COUNTS
void* operator new(std::size_t size) { return counted_new(size, 16); }
void* operator new[](std::size_t size) { return counted_new(size, 16); }
void* operator new(std::size_t size, std::align_val_t a) {
  return counted_new(size, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t size, std::align_val_t a) {
  return counted_new(size, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
#endif

namespace wb::engine {
namespace {

using nlohmann::json;
using Tokens = std::vector<std::uint32_t>;

class Allocation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (WB_COUNTS == 0) GTEST_SKIP() << "SKIPPED: a sanitizer has operators new of its own";
    const std::size_t before = allocations;
    ::operator delete(::operator new(4));  // a compiler may leave out `delete new int`
    ASSERT_EQ(allocations, before + 1) << "operator new is not this file's";
  }
};

// Allocations of each of `count` tokens after a prompt of two and four tokens to warm up.
std::vector<std::size_t> by_token(Engine& engine, const Tokens& tokens, std::size_t count) {
  Sequence sequence;
  engine.feed(sequence, std::span(tokens).first(2));
  std::vector<std::size_t> out;
  out.reserve(count);
  for (std::size_t t = 0; t < 4 + count; ++t) {
    const std::uint32_t token = tokens[t % tokens.size()];
    const std::size_t before = allocations;
    engine.feed(sequence, std::span(&token, 1));
    if (t >= 4) out.push_back(allocations - before);
  }
  return out;
}

TEST_F(Allocation, NoTokenOfAnyVariantAllocates) {
  const json variants = json::parse(std::ifstream(fixture("runtime/axes.json")));
  ASSERT_GT(variants.size(), 60u);
  for (const json& v : variants) {
    test::TempFolder folder;
    write_variant(variants, v, folder.path());
    const CanonicalModel model = load_model(folder.path());
    Engine engine(model, {.threads = 2});
    const std::size_t count = std::min<std::size_t>(40, engine.longest() - 6);
    EXPECT_EQ(by_token(engine, v["tokens"], count), std::vector<std::size_t>(count))
        << v["name"].get<std::string>();
  }
}

TEST_F(Allocation, NoTokenOfAQuantisedModelAllocates) {
  const CanonicalModel model = load_model(fixture("goldens/deepseek_v3-4bit"));
  Engine engine(model, {.threads = 2});
  const Tokens tokens = {3, 1, 4, 1, 5, 9, 2, 6};
  EXPECT_EQ(by_token(engine, tokens, 100), std::vector<std::size_t>(100));
}

TEST_F(Allocation, MemoryOfWhatIsRememberedDoubles) {
  const CanonicalModel model = load_model(fixture("goldens/deepseek_v2"));
  Engine engine(model, {.threads = 2});
  const Tokens tokens = {3, 1, 4, 1, 5, 9, 2, 6};
  const std::vector<std::size_t> counts = by_token(engine, tokens, 2000);
  // Two places for the prompt reserve 512; then 1024 and 2048.
  std::size_t with = 0;
  for (std::size_t t = 0; t < counts.size(); ++t) {
    if (counts[t] == 0) continue;
    ++with;
    const std::size_t size = 2 + 4 + t + 1;  // after this token
    EXPECT_TRUE(size == 513 || size == 1025) << "at " << size << " places";
  }
  EXPECT_EQ(with, 2u);
}

TEST_F(Allocation, NeitherDoesSampling) {
  const CanonicalModel model = load_model(fixture("goldens/deepseek_v2"));
  Engine engine(model, {.threads = 2});
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 0.8, .top_k = 5, .repetition_penalty = 1.1},
        SamplerOptions{.temperature = 1.2, .top_p = 0.9, .min_p = 0.01}}) {
    Generation generation(engine, {1, 2, 3}, options);
    for (int t = 0; t < 140; ++t) generation.next();  // the text's own vector holds 192 then
    const std::size_t before = allocations;
    for (int t = 0; t < 40; ++t) generation.next();
    EXPECT_EQ(allocations, before) << "temperature " << options.temperature;
  }
}

}  // namespace
}  // namespace wb::engine
