// Reading patterns and cutting at their matches; see pattern.h.
#include "tokenizer/pattern.h"

namespace wb {

PatternSource read_pattern(const JsonNode& node) {
  node.only({"String", "Regex"});
  auto literal = node.find("String");
  auto regex = node.find("Regex");
  if (literal.has_value() == regex.has_value())
    node.fail("must hold either \"String\" or \"Regex\"");
  PatternSource source{literal ? literal->string() : regex->string(), regex.has_value()};
  if (source.text.empty()) node.fail("the pattern is empty");
  return source;
}

Regex compile_pattern(const PatternSource& source, const JsonNode& node) {
  return Regex(source.is_regex ? source.text : Regex::escape(source.text), node);
}

SplitBehavior read_behavior(const JsonNode& node) {
  std::string name = node.string();
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  node.fail("\"" + name + "\" is not one of Isolated, Removed, MergedWithPrevious, " +
            "MergedWithNext, Contiguous");
}

std::vector<Span> find_spans(const Regex& regex, std::string_view text) {
  std::vector<Span> spans;
  std::size_t done = 0;
  regex.for_each(text, [&](std::size_t begin, std::size_t end) {
    if (begin != done) spans.push_back({done, begin, false});
    spans.push_back({begin, end, true});
    done = end;
  });
  if (done != text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

namespace {
// A match joins the piece before it, unless that piece is itself a match.
std::vector<Span> merge_backward(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool previous = false;
  for (const Span& s : spans) {
    if (s.match && !previous && !merged.empty())
      merged.back().end = s.end;
    else
      merged.push_back(s);
    previous = s.match;
  }
  return merged;
}

// The mirror image: a match joins the piece behind it, looking from the end.
std::vector<Span> merge_forward(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool previous = false;
  for (auto s = spans.rbegin(); s != spans.rend(); ++s) {
    if (s->match && !previous && !merged.empty())
      merged.back().begin = s->begin;
    else
      merged.push_back(*s);
    previous = s->match;
  }
  return {merged.rbegin(), merged.rend()};
}

// Neighbours of the same kind become one piece. Starting from "no match" as the kind before,
// as Hugging Face does, makes no difference: the first span has nothing to join.
std::vector<Span> merge_runs(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  for (const Span& s : spans) {
    if (!merged.empty() && merged.back().match == s.match)
      merged.back().end = s.end;
    else
      merged.push_back(s);
  }
  return merged;
}
}  // namespace

void cut(std::string_view text, std::vector<Span> spans, SplitBehavior behavior, bool invert,
         std::vector<std::string_view>& out) {
  if (invert)
    for (Span& s : spans) s.match = !s.match;
  switch (behavior) {
    case SplitBehavior::isolated:
      break;
    case SplitBehavior::removed:
      std::erase_if(spans, [](const Span& s) { return s.match; });
      break;
    case SplitBehavior::merged_with_previous:
      spans = merge_backward(spans);
      break;
    case SplitBehavior::merged_with_next:
      spans = merge_forward(spans);
      break;
    case SplitBehavior::contiguous:
      spans = merge_runs(spans);
      break;
  }
  for (const Span& s : spans)
    if (s.end > s.begin) out.push_back(text.substr(s.begin, s.end - s.begin));
}

}  // namespace wb
