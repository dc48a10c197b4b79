// See text_stream.h.
#include "speak/text_stream.h"

#include <algorithm>
#include <string_view>

namespace wb::speak {

namespace {

// Length of the longest end of `text` with which one of `stops` begins.
std::size_t pending(std::string_view text, const std::vector<std::string>& stops) {
  std::size_t most = 0;
  for (const std::string& stop : stops) {
    for (std::size_t n = std::min(stop.size() - 1, text.size()); n > most; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) most = n;
    }
  }
  return most;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : decoder_(tokenizer, /*skip_special=*/true), stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
}

std::string TextStream::release(const std::string& text) {
  held_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    return held_.substr(0, first);
  }
  std::string out = held_.substr(0, held_.size() - pending(held_, stops_));
  held_.erase(0, out.size());
  return out;
}

std::string TextStream::push(std::uint32_t token) {
  return stopped_ ? std::string() : release(decoder_.push(token));
}

std::string TextStream::finish() {
  if (stopped_) return {};
  std::string out = release(decoder_.finish());
  if (!stopped_) out += held_;
  held_.clear();
  return out;
}

}  // namespace wb::speak
