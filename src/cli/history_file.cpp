// See history_file.h.
#include "cli/history_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "cli/output.h"
#include "cli/replace_file.h"
#include "package/texts.h"
#include "tokenizer/utf8.h"

namespace wb::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostLines = 1000;

fs::path state_folder() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return state;
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? fs::path(home) / ".local" / "state" : fs::path();
}

// With all that is missing above it, for the user alone, as the XDG specification has it.
void make_folder(const fs::path& folder) {
  if (folder.has_parent_path() && folder != folder.parent_path()) make_folder(folder.parent_path());
  ::mkdir(folder.c_str(), 0700);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace

HistoryFile::HistoryFile(bool off) {
  const fs::path folder = off ? fs::path() : state_folder();
  if (!folder.empty()) path_ = (folder / "weightbridge" / "chat_history").string();
}

void HistoryFile::give_up(const std::string& why) {
  remark("The history of lines is not kept: " + why);
  path_.clear();
}

std::vector<std::string> HistoryFile::load() {
  std::error_code failed;
  if (path_.empty() || !fs::exists(path_, failed)) return {};
  try {
    std::vector<std::string> out = lines_of(utf8::replace_invalid(read_text_file(path_)));
    const bool many = out.size() >= 2 * kMostLines;
    if (out.size() > kMostLines) out.erase(out.begin(), out.end() - kMostLines);
    if (many) {
      std::string text;
      for (const std::string& line : out) text += line + '\n';
      replace_file(path_, text);
    }
    return out;
  } catch (const Error& error) {
    give_up(error.sentence());
    return {};
  }
}

void HistoryFile::append(const std::string& line) {
  if (path_.empty()) return;
  make_folder(fs::path(path_).parent_path());
  const int fd = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const std::string text = line + '\n';
  // One made by another program may be open to others.
  const bool written = fd >= 0 && ::fchmod(fd, 0600) == 0 &&
                       ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int why = errno;
  if (fd >= 0) ::close(fd);
  if (!written) give_up(path_ + ": " + std::strerror(why));
}

}  // namespace wb::cli
