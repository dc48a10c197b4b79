// The commands of a chat: lines that begin with a slash. Owns their names, their help and what
// they do to a session; transcripts are read and written here. Refuses what it does not know, by
// name (Code::usage).
#pragma once

#include <string>

namespace wb::cli {

class ChatSession;

// `line` begins with a slash. False where the chat is to end.
bool run_command(ChatSession& session, const std::string& line);

}  // namespace wb::cli
