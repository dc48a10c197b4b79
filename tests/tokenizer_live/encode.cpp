// What peers.js does, by our tokenizer: encode special|plain TOKENIZER TEXT IDS_OUT TEXT_OUT; plain
// reads special tokens as any text. Writes the ids as
// little-endian u32 and the text that they decode to; prints {"seconds": the best of several runs}.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const bool special = std::string_view(argv[1]) == "special";
  try {
    const wb::Tokenizer tokenizer = wb::Tokenizer::load(argv[2]);
    std::ifstream in(argv[3], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::uint32_t> ids;
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      ids = tokenizer.encode(text, {.add_special = false, .find_special = special});
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      best = std::min(best, took.count());
    }
    std::ofstream(argv[4], std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()),
               static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
    std::ofstream(argv[5], std::ios::binary) << tokenizer.decode(ids);
    fmt::print("{{\"seconds\": {}}}\n", best);
  } catch (const wb::Error& e) {
    fmt::print(stderr, "{}\n", e.sentence());
    return 3;
  }
  return 0;
}
