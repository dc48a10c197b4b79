// What a user typed in earlier chats, a line each, for that user's eyes only (mode 0600):
// $XDG_STATE_HOME/weightbridge/chat_history, else under ~/.local/state. Each line is appended as it
// is typed, so that chats side by side lose none. Refuses to be a reason to stop: what cannot be
// read or written is said once and left.
#pragma once

#include <string>
#include <vector>

namespace wb::cli {

class HistoryFile {
 public:
  // Nothing is read or written with `off`, or where there is no home.
  explicit HistoryFile(bool off);
  // At most the last 1000; a file that holds twice as many is shortened to them.
  std::vector<std::string> load();
  void append(const std::string& line);

 private:
  void give_up(const std::string& why);
  std::string path_;  // empty: none is kept
};

}  // namespace wb::cli
