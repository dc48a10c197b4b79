// Settings that compute the same: two values of one field that no evidence can tell
// apart, with the proof in a sentence. Owns those proofs; what is merely not told apart
// by one reference is no proof.
#pragma once

#include <string>
#include <vector>

#include "model/canonical.h"

namespace wb {

// Why two readings of one checkpoint, which differ in the field `path` alone, compute the same for
// every input; "" when that is not proven. May read tensors.
std::string why_same(const std::string& path, const CanonicalModel& chosen,
                     const CanonicalModel& other);

// A value of the field `path` that computes the same together with a value of another field: what
// it is, with its condition and proof in words.
struct JointlySame {
  std::string value;
  std::string proof;
};
std::vector<JointlySame> jointly_same(const std::string& path, const ModelSpec& chosen);

// What evidence could tell values of this field apart, in words.
std::string what_would_tell(const std::string& path);

}  // namespace wb
