// What the words in a name say: "attn.W_DKV" speaks of keys, values and going down. Owns the
// vocabulary (the field's abbreviations, as home-made models spell them) and refuses to decide:
// words only add to the score of a role that the shapes allow.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wb::draft {

// Lower-case words of a name: split at '.', '_', '-' and where lower case meets upper case.
std::vector<std::string> words_of(std::string_view name);

struct Features {
  bool q = false, k = false, v = false, kv = false, qkv = false, o = false;
  bool rope = false, nope = false, down = false, up = false, latent = false;
  bool norm = false, router = false, gate = false, expert = false, shared = false, bias = false;
  bool attention = false, feed_forward = false;
  bool embed = false, position = false, head = false, final = false;
  bool pre = false, post = false, first = false, second = false;
  bool counter = false, noise = false, combine = false, previous = false;
  bool buffer = false;  // mask, inv_freq, cos, sin, freqs, theta
  int number = -1;      // of w1, fc2, norm1: the number
  std::vector<std::string> words;
  bool any(std::initializer_list<std::string_view> list) const;
};
Features features_of(std::string_view name);

}  // namespace wb::draft
