// Lines with libedit: keys as in any shell, arrows through earlier lines, Ctrl-R to search them.
// Built only where libedit is there. Reads bytes itself, so that signals are met while it waits.
#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cwchar>
#include <utility>

#include "base/progress.h"
#include "cli/line_reader.h"

namespace wb::cli {

namespace {

constexpr int kMostEarlier = 1000;

// libedit takes bytes for characters by the locale. Where that is not UTF-8, one that is.
void take_utf8_locale() {
  for (const char* name : {"", "C.UTF-8", "en_US.UTF-8"}) {
    if (std::setlocale(LC_CTYPE, name) != nullptr &&
        std::string_view(::nl_langinfo(CODESET)) == "UTF-8") {
      return;
    }
  }
}

class EditedLines : public LineReader {
 public:
  EditedLines(TerminalSignals& signals, std::FILE* out) : signals_(signals), out_(out) {
    take_utf8_locale();
    history_ = ::history_init();
    editor_ = ::el_init("weightbridge", stdin, out, stderr);
    if (editor_ == nullptr || history_ == nullptr) return;
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, kMostEarlier);
    ::history(history_, &event, H_SETUNIQUE, 1);
    ::el_set(editor_, EL_CLIENTDATA, this);
    ::el_set(editor_, EL_PROMPT_ESC, &EditedLines::prompt, '\1');
    ::el_set(editor_, EL_GETCFN, &EditedLines::read_character);
    ::el_set(editor_, EL_HIST, ::history, history_);
    ::el_set(editor_, EL_EDITOR, "emacs");
    constexpr const char* kKeys[][2] = {
        {"^R", "em-inc-search-prev"}, {"\\e[3~", "ed-delete-next-char"},
        {"\\e[H", "ed-move-to-beg"},  {"\\e[F", "ed-move-to-end"},
        {"\\e[1;5D", "ed-prev-word"}, {"\\e[1;5C", "em-next-word"}};
    for (const auto& [key, what] : kKeys) ::el_set(editor_, EL_BIND, key, what, nullptr);
    ::el_source(editor_, nullptr);  // the user's own ~/.editrc
  }
  ~EditedLines() override {
    if (editor_ != nullptr) ::el_end(editor_);
    if (history_ != nullptr) ::history_end(history_);
  }
  EditedLines(const EditedLines&) = delete;
  EditedLines& operator=(const EditedLines&) = delete;

  bool works() const { return editor_ != nullptr && history_ != nullptr; }

  LineRead read(const std::string& prompt, std::string& line) override {
    // What stands between two \1 takes no place.
    prompt_ = wants_color(::fileno(out_)) ? "\1\x1b[1m\1" + prompt + "\1\x1b[0m\1" : prompt;
    why_ = LineRead::ended;
    at_start_ = true;
    int n = 0;
    const char* got = ::el_gets(editor_, &n);
    if (got == nullptr || n <= 0) {
      std::fputs(why_ == LineRead::cleared ? "^C\n" : "\n", out_);
      std::fflush(out_);
      return why_;
    }
    line.assign(got, static_cast<std::size_t>(n));
    if (line.ends_with('\n')) line.pop_back();
    return LineRead::line;
  }

  void remember(const std::string& line) override {
    HistEvent event;
    ::history(history_, &event, H_ENTER, line.c_str());
  }

 private:
  static EditedLines& self(EditLine* editor) {
    void* found = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &found);
    return *static_cast<EditedLines*>(found);
  }
  static char* prompt(EditLine* editor) { return self(editor).prompt_.data(); }
  // As EL_GETCFN has it: 1 with a character, 0 at the end, -1 where the line is given up.
  static int read_character(EditLine* editor, wchar_t* out) {
    return self(editor).next_character(out);
  }

  int next_character(wchar_t* out) {
    std::mbstate_t state{};
    while (true) {
      switch (signals_.wait(STDIN_FILENO)) {
        case TerminalEvent::input:
          break;
        case TerminalEvent::interrupt:
          why_ = LineRead::cleared;
          return -1;
        case TerminalEvent::leave:
          return -1;
        case TerminalEvent::resized:
          ::el_resize(editor_);
          ::el_set(editor_, EL_REFRESH);
          continue;
        case TerminalEvent::resumed:
          ::el_set(editor_, EL_PREP_TERM, 1);
          ::el_set(editor_, EL_REFRESH);
          continue;
      }
      char byte = 0;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return static_cast<int>(n);
      // Ctrl-D that was typed before the line began, while the terminal still kept lines, is read
      // as a zero.
      const bool first = std::exchange(at_start_, false);
      if (byte == '\0') {
        *out = first ? L'\x04' : L'\0';
        return 1;
      }
      const std::size_t made = std::mbrtowc(out, &byte, 1, &state);
      if (made == 1) return 1;
      if (made == static_cast<std::size_t>(-1)) state = {};  // no character: passed over
    }
  }

  TerminalSignals& signals_;
  std::FILE* out_;
  EditLine* editor_ = nullptr;
  ::History* history_ = nullptr;
  std::string prompt_;
  LineRead why_ = LineRead::ended;
  bool at_start_ = true;  // nothing of the line was read yet
};

}  // namespace

std::unique_ptr<LineReader> edited_lines(TerminalSignals& signals,
                                         const std::vector<std::string>& earlier, std::FILE* out) {
  auto lines = std::make_unique<EditedLines>(signals, out);
  if (!lines->works()) return nullptr;
  for (const std::string& line : earlier) lines->remember(line);
  return lines;
}

}  // namespace wb::cli
