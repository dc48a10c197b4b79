// See words.h.
#include "draft/words.h"

#include <algorithm>
#include <map>

namespace wb::draft {

namespace {

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Entry {
  std::string_view word;
  std::vector<bool Features::*> sets;
};

const std::vector<Entry>& vocabulary() {
  using F = Features;
  static const std::vector<Entry> table = {
      {"q", {&F::q}},
      {"query", {&F::q}},
      {"queries", {&F::q}},
      {"k", {&F::k}},
      {"key", {&F::k}},
      {"keys", {&F::k}},
      {"v", {&F::v}},
      {"val", {&F::v}},
      {"value", {&F::v}},
      {"values", {&F::v}},
      {"kv", {&F::kv}},
      {"qkv", {&F::qkv}},
      {"qr", {&F::q, &F::rope}},
      {"qpe", {&F::q, &F::rope}},
      {"qrope", {&F::q, &F::rope}},
      {"kr", {&F::k, &F::rope}},
      {"kpe", {&F::k, &F::rope}},
      {"krope", {&F::k, &F::rope}},
      {"qc", {&F::q, &F::nope}},
      {"kc", {&F::k, &F::nope}},
      {"dq", {&F::q, &F::down}},
      {"uq", {&F::q, &F::up}},
      {"dkv", {&F::kv, &F::down}},
      {"ukv", {&F::kv, &F::up}},
      {"uk", {&F::k, &F::up}},
      {"uv", {&F::v, &F::up}},
      {"qa", {&F::q, &F::down}},
      {"qb", {&F::q, &F::up}},
      {"kva", {&F::kv, &F::down}},
      {"kvb", {&F::kv, &F::up}},
      {"o", {&F::o}},
      {"out", {&F::o}},
      {"output", {&F::o}},
      {"rope", {&F::rope}},
      {"pe", {&F::rope, &F::position}},
      {"rot", {&F::rope}},
      {"rotary", {&F::rope}},
      {"rotated", {&F::rope}},
      {"nope", {&F::nope}},
      {"content", {&F::nope}},
      {"nonrope", {&F::nope}},
      {"down", {&F::down}},
      {"a", {&F::down}},
      {"compress", {&F::down}},
      {"compressed", {&F::down}},
      {"up", {&F::up}},
      {"b", {&F::up}},
      {"decompress", {&F::up}},
      {"expand", {&F::up}},
      {"latent", {&F::latent}},
      {"lora", {&F::latent}},
      {"norm", {&F::norm}},
      {"ln", {&F::norm}},
      {"layernorm", {&F::norm}},
      {"rmsnorm", {&F::norm}},
      {"router", {&F::router}},
      {"routing", {&F::router}},
      {"gating", {&F::router}},
      {"gate", {&F::gate}},
      {"expert", {&F::expert}},
      {"experts", {&F::expert}},
      {"shared", {&F::shared}},
      {"bias", {&F::bias}},
      {"correction", {&F::bias}},
      {"attn", {&F::attention}},
      {"attention", {&F::attention}},
      {"attend", {&F::attention}},
      {"mla", {&F::attention}},
      {"mha", {&F::attention}},
      {"gqa", {&F::attention}},
      {"mlp", {&F::feed_forward}},
      {"ffn", {&F::feed_forward}},
      {"ff", {&F::feed_forward}},
      {"moe", {&F::feed_forward}},
      {"feed", {&F::feed_forward}},
      {"feedforward", {&F::feed_forward}},
      {"wte", {&F::embed}},
      {"tok", {&F::embed}},
      {"tkn", {&F::embed}},
      {"token", {&F::embed}},
      {"tokens", {&F::embed}},
      {"word", {&F::embed}},
      {"embed", {&F::embed}},
      {"embedding", {&F::embed}},
      {"embeddings", {&F::embed}},
      {"emb", {&F::embed}},
      {"wpe", {&F::position}},
      {"pos", {&F::position, &F::rope}},
      {"position", {&F::position, &F::rope}},
      {"positions", {&F::position}},
      {"positional", {&F::position, &F::rope}},
      {"head", {&F::head}},
      {"unembed", {&F::head}},
      {"logits", {&F::head}},
      {"lm", {&F::head}},
      {"final", {&F::final}},
      {"f", {&F::final}},
      {"pre", {&F::pre}},
      {"input", {&F::pre}},
      {"post", {&F::post}},
      {"count", {&F::counter}},
      {"counts", {&F::counter}},
      {"counter", {&F::counter}},
      {"load", {&F::counter}},
      {"usage", {&F::counter}},
      {"steps", {&F::counter}},
      {"step", {&F::counter}},
      {"total", {&F::counter}},
      {"processed", {&F::counter}},
      {"tracked", {&F::counter}},
      {"noise", {&F::noise}},
      {"noisy", {&F::noise}},
      {"combine", {&F::combine}},
      {"merge", {&F::combine}},
      {"eh", {&F::combine}},
      {"concat", {&F::combine}},
      {"fuse", {&F::combine}},
      {"prev", {&F::previous}},
      {"hidden", {&F::previous}},
      {"hnorm", {&F::previous, &F::norm}},
      {"enorm", {&F::embed, &F::norm}},
      {"mask", {&F::buffer}},
      {"causal", {&F::buffer}},
      {"tril", {&F::buffer}},
      {"freq", {&F::buffer}},
      {"freqs", {&F::buffer}},
      {"cos", {&F::buffer}},
      {"sin", {&F::buffer}},
      {"theta", {&F::buffer}},
      {"cached", {&F::buffer}},
  };
  return table;
}

const Entry* find(std::string_view word) {
  for (const Entry& e : vocabulary()) {
    if (e.word == word) return &e;
  }
  return nullptr;
}

// The word as the vocabulary has it: "wq" and "w_q" are "q", "q2" is "q".
const Entry* look_up(std::string word) {
  if (const Entry* e = find(word)) return e;
  while (!word.empty() && is_digit(word.back())) word.pop_back();
  if (const Entry* e = find(word)) return e;
  if (word.size() > 1 && word[0] == 'w') {
    if (const Entry* e = find(std::string_view(word).substr(1))) return e;
  }
  for (std::string_view tail : {"proj", "norm", "embed"}) {
    if (word.size() > tail.size() && word.ends_with(tail)) {
      return find(std::string_view(word).substr(0, word.size() - tail.size()));
    }
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> out;
  std::string word;
  const auto close = [&] {
    if (!word.empty()) out.push_back(std::move(word));
    word.clear();
  };
  for (std::size_t i = 0; i < name.size(); ++i) {
    char c = name[i];
    if (c == '{') {  // an index says nothing
      close();
      while (i < name.size() && name[i] != '}') ++i;
      continue;
    }
    if (!is_upper(c) && !is_lower(c) && !is_digit(c)) {
      close();
      continue;
    }
    if (is_upper(c) && i > 0 && is_lower(name[i - 1])) close();
    word += static_cast<char>(is_upper(c) ? c + 32 : c);
  }
  close();
  return out;
}

bool Features::any(std::initializer_list<std::string_view> list) const {
  return std::any_of(words.begin(), words.end(), [&](const std::string& w) {
    return std::find(list.begin(), list.end(), w) != list.end();
  });
}

Features features_of(std::string_view name) {
  Features f;
  f.words = words_of(name);
  for (const std::string& word : f.words) {
    if (const Entry* e = look_up(word)) {
      for (bool Features::*set : e->sets) f.*set = true;
    }
    if (word.ends_with("norm") || word.starts_with("norm") || word.starts_with("ln")) f.norm = true;
    std::size_t end = word.size();
    while (end > 0 && is_digit(word[end - 1])) --end;
    if (end < word.size() && word.size() - end <= 3) f.number = std::stoi(word.substr(end));
  }
  if (f.k && f.v && !f.q) f.kv = true;
  if (f.q && f.k && f.v) f.qkv = true;
  if (f.kv || f.qkv) f.k = f.v = false;
  if (f.qkv) f.q = f.kv = false;
  return f;
}

}  // namespace wb::draft
