// One recipe that extends another: its document with that of the other merged in. Owns
// where `extends` leads, the rules of merging, and a document's way back to TOML text.
// Knows the names of the sections that merge, and nothing of what they mean.
#pragma once

#include <string>
#include <vector>

#include "recipe/document.h"

namespace wb {

struct MergedDocument {
  DocValue root;
  std::vector<std::string>
      files;  // Place::file and RecipeMistake::file count in it; 0 = the recipe
};
// `file` is for messages, and a file that is extended is looked for beside it. A mistake in
// what is extended is a mistake at its own file and line.
MergedDocument merged_document(const std::string& toml, const std::string& file,
                               std::vector<RecipeMistake>& mistakes);

// The document as TOML; comments are not part of it.
std::string to_toml(const DocValue& root);

}  // namespace wb
