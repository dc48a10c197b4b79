// Reading templates; see post_processor.h.
#include "tokenizer/post_processor.h"

#include "tokenizer/bpe.h"

namespace wb {

namespace {

// The ids of the special token that a piece of a template names.
std::vector<std::uint32_t> ids_of(const JsonNode& piece, const JsonNode& special_tokens,
                                  const PostProcessor::Known& known) {
  piece.only({"id", "type_id"});
  std::string name = piece.at("id").string();
  if (!special_tokens.find(name.c_str()))
    piece.at("id").fail("\"" + name + "\" is not among special_tokens");
  JsonNode token = special_tokens.at(name.c_str());
  token.only({"id", "ids", "tokens"});
  std::vector<std::uint32_t> ids;
  for (std::size_t i = 0, n = token.at("ids").array_size(); i < n; ++i) {
    JsonNode id = token.at("ids").element(i);
    check_token_id(id.u32(), id);
    if (!known(id.u32())) id.fail("no token has the id " + std::to_string(id.u32()));
    ids.push_back(id.u32());
  }
  return ids;
}

}  // namespace

PostProcessor PostProcessor::parse(const std::optional<JsonNode>& node, const Known& known) {
  PostProcessor post;
  if (node) post.add(*node, known);
  return post;
}

void PostProcessor::add(const JsonNode& node, const Known& known) {
  std::string type = node.type();
  if (type == "Sequence") {
    node.only({"type", "processors"});
    for (std::size_t i = 0, n = node.at("processors").array_size(); i < n; ++i)
      add(node.nested("processors", i), known);
  } else if (type == "TemplateProcessing") {
    add_template(node, known);
  } else if (type == "ByteLevel") {
    node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else {
    node.refuse_type("post-processor", "Sequence, TemplateProcessing and ByteLevel");
  }
}

void PostProcessor::add_template(const JsonNode& node, const Known& known) {
  node.only({"type", "single", "pair", "special_tokens"});
  JsonNode single = node.at("single");
  JsonNode special_tokens = node.at("special_tokens");
  Frame frame;
  bool text_seen = false;
  for (std::size_t i = 0, n = single.array_size(); i < n; ++i) {
    JsonNode piece = single.element(i);
    piece.only({"SpecialToken", "Sequence"});
    if (auto special = piece.find("SpecialToken")) {
      auto ids = ids_of(*special, special_tokens, known);
      auto& side = text_seen ? frame.behind : frame.before;
      side.insert(side.end(), ids.begin(), ids.end());
    } else {
      JsonNode sequence = piece.at("Sequence");
      sequence.only({"id", "type_id"});
      if (sequence.at("id").string() != "A" || text_seen)
        sequence.fail("the template for a single text must hold the sequence A once");
      text_seen = true;
    }
  }
  if (!text_seen) single.fail("the template for a single text must hold the sequence A once");
  frames_.push_back(std::move(frame));
}

std::vector<std::uint32_t> PostProcessor::apply(std::vector<std::uint32_t> ids) const {
  for (const Frame& frame : frames_) {
    ids.insert(ids.begin(), frame.before.begin(), frame.before.end());
    ids.insert(ids.end(), frame.behind.begin(), frame.behind.end());
  }
  return ids;
}

}  // namespace wb
