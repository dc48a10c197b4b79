// What to ask a person about each field of ModelSpec that weights can't tell: one
// question in words, for recipes that leave it open and for drafts. Owns wording only.
#pragma once

#include <string_view>

namespace wb {

// The question for the field `path` ("router.score"); fields of a norm or a network share one by
// their last part. Never empty: a path without a question of its own is asked for as such.
std::string_view field_help(std::string_view path);

}  // namespace wb
