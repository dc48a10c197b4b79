// See merge.h.
#include "recipe/merge.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "recipe/check_expr.h"
#include "recipe/expr.h"
#include "recipe/shipped.h"

namespace wb {

namespace {

constexpr std::size_t kMostFiles = 8;  // a longer chain is a mistake, or a trap

Member* find_member(DocValue& table, const std::string& key) {
  for (Member& member : table.members) {
    if (member.key == key) return &member;
  }
  return nullptr;
}

// Lines of `over` in place of those of `base`, new ones after them. Groups of fields and
// settings are merged within; a line of any other section is one thing.
void merge_table(DocValue& base, const DocValue& over, unsigned depth) {
  for (const Member& line : over.members) {
    Member* old = find_member(base, line.key);
    if (old == nullptr) {
      base.members.push_back(line);
    } else if (depth > 0 && old->value.kind == ValueKind::table &&
               line.value.kind == ValueKind::table) {
      merge_table(old->value, line.value, depth - 1);
      old->place = line.place;
      old->value.place = line.value.place;
    } else {
      *old = line;
    }
  }
}

unsigned merged_depth(const std::string& section) {
  if (section == "model") return 8;
  return section == "ask" ? 1 : 0;
}

// Lines of [dims] after those that they use, else in the order they have.
void order_dims(DocValue& dims) {
  std::map<std::string, std::size_t, std::less<>> line_of;
  for (std::size_t i = 0; i < dims.members.size(); ++i) line_of[dims.members[i].key] = i;
  std::vector<Member> ordered;
  std::vector<char> state(dims.members.size());  // 0 new, 1 begun, 2 done
  std::function<void(std::size_t)> place = [&](std::size_t i) {
    if (state[i] != 0) return;  // a cycle is left for the checker to report
    state[i] = 1;
    std::vector<RecipeMistake> ignored;
    const DocValue& value = dims.members[i].value;
    ExprPtr expr = value.kind == ValueKind::text ? parse_expr(value, ignored) : nullptr;
    if (expr != nullptr) {
      each_node(*expr, [&](Expr& node) {
        auto it = node.kind == Expr::Kind::name ? line_of.find(node.name) : line_of.end();
        if (it != line_of.end()) place(it->second);
      });
    }
    state[i] = 2;
    ordered.push_back(dims.members[i]);
  };
  for (std::size_t i = 0; i < dims.members.size(); ++i) place(i);
  dims.members = std::move(ordered);
}

class Merger {
 public:
  Merger(MergedDocument& out, std::vector<RecipeMistake>& mistakes)
      : out_(out), mistakes_(mistakes) {}

  DocValue load(const std::string& toml, const std::string& file) {
    unsigned index = static_cast<unsigned>(out_.files.size());
    out_.files.push_back(file);
    std::size_t before = mistakes_.size();
    DocValue doc = parse_document(toml, mistakes_, index);
    if (mistakes_.size() > before) return doc;
    const DocValue* extends = doc.find("extends");
    if (extends == nullptr) {
      if (const DocValue* without = doc.find("without")) {
        mistake(without->place,
                "[without] takes lines out of the recipe that extends = ... names, and this one "
                "extends none");
      }
      return doc;
    }
    std::optional<DocValue> base = extended(*extends, file);
    if (!base) return doc;
    return merged(std::move(*base), doc);
  }

 private:
  void mistake(Place place, std::string text) {
    mistakes_.push_back({place.line, place.column, std::move(text), place.file});
  }

  std::optional<DocValue> extended(const DocValue& extends, const std::string& from) {
    if (extends.kind != ValueKind::text) {
      mistake(extends.place,
              "extends should be a string, the name of a shipped recipe or a file "
              "that ends in .toml, not " +
                  std::string(in_words(extends.kind)));
      return std::nullopt;
    }
    bool is_file = extends.text.ends_with(".toml");
    std::string file = "recipes/" + extends.text + ".toml", toml;
    if (is_file) {
      if (leads_outside(extends.text)) {
        mistake(extends.place,
                "a file that is extended stands in the recipe's folder or below it; '" +
                    extends.text + "' leads outside");
        return std::nullopt;
      }
      file = (std::filesystem::path(from).parent_path() / extends.text).lexically_normal().string();
    }
    if (std::find(out_.files.begin(), out_.files.end(), file) != out_.files.end()) {
      mistake(extends.place, "this recipe extends itself, by way of " + file);
      return std::nullopt;
    }
    if (out_.files.size() >= kMostFiles) {
      mistake(extends.place, "a chain of more than " + std::to_string(kMostFiles) +
                                 " recipes that extend each other");
      return std::nullopt;
    }
    if (!(is_file ? read_file(file, toml) : find_shipped(file, toml))) {
      mistake(extends.place, is_file ? "the file " + file + " cannot be read"
                                     : "no shipped recipe is called '" + extends.text + "'" +
                                           shipped_hint(extends));
      return std::nullopt;
    }
    return load(toml, file);
  }

  static bool leads_outside(const std::filesystem::path& path) {
    const bool up = std::find(path.begin(), path.end(), "..") != path.end();
    return path.is_absolute() || up;
  }
  static bool read_file(const std::string& file, std::string& toml) {
    try {
      toml = read_document(file);
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  static bool find_shipped(const std::string& file, std::string& toml) {
    for (const EmbeddedRecipe& recipe : embedded_recipes()) {
      if (recipe.file != file) continue;
      toml = recipe.text;
      return true;
    }
    return false;
  }
  static std::string shipped_hint(const DocValue& extends) {
    std::vector<std::string_view> names;
    for (const EmbeddedRecipe& recipe : embedded_recipes()) {
      std::string_view name = recipe.file;
      name.remove_prefix(std::min(name.size(), name.rfind('/') + 1));
      name.remove_suffix(std::min<std::size_t>(name.size(), 5));
      names.push_back(name);
    }
    std::string hint = did_you_mean(extends.text, names);
    return (hint.empty() ? "; they are " + joined(names) : hint) + "; a file's name ends in .toml";
  }

  DocValue merged(DocValue base, const DocValue& over) {
    if (const DocValue* without = over.find("without")) take_out(base, *without);
    std::erase_if(base.members, [](const Member& member) {
      return member.key == "name" || member.key == "extends" || member.key == "without";
    });
    base.place = over.place;
    for (const Member& section : over.members) {
      if (section.key == "extends" || section.key == "without") continue;
      Member* old = find_member(base, section.key);
      if (old == nullptr) {
        base.members.push_back(section);
      } else if (old->value.kind == ValueKind::table && section.value.kind == ValueKind::table) {
        merge_table(old->value, section.value, merged_depth(section.key));
        old->place = section.place;
        old->value.place = section.value.place;
      } else {
        *old = section;
      }
    }
    if (Member* dims = find_member(base, "dims")) {
      if (dims->value.kind == ValueKind::table) order_dims(dims->value);
    }
    return base;
  }

  void take_out(DocValue& base, const DocValue& without) {
    if (without.kind != ValueKind::table) {
      mistake(without.place, "without should be a table, written [without], not " +
                                 std::string(in_words(without.kind)));
      return;
    }
    for (const Member& section : without.members) {
      Member* of = find_member(base, section.key);
      if (of == nullptr || of->value.kind != ValueKind::table) {
        std::vector<std::string_view> names;
        for (const Member& member : base.members) {
          if (member.value.kind == ValueKind::table) names.push_back(member.key);
        }
        mistake(section.place, "the recipe that is extended has no section [" + section.key + "]" +
                                   did_you_mean(section.key, names));
        continue;
      }
      if (section.value.kind != ValueKind::array) {
        mistake(section.value.place, "a list of lines to take out should stand here, e.g. " +
                                         section.key + " = [\"name\"]");
        continue;
      }
      for (const DocValue& item : section.value.items) take_out_line(*of, section.key, item);
    }
  }
  void take_out_line(Member& section, const std::string& name, const DocValue& item) {
    if (item.kind != ValueKind::text) {
      mistake(item.place, "a name should stand here, not " + std::string(in_words(item.kind)));
      return;
    }
    DocValue* table = &section.value;
    std::string key = item.text;
    // Fields of [model] are named by their path.
    for (std::size_t dot; name == "model" && (dot = key.find('.')) != key.npos;) {
      Member* group = find_member(*table, key.substr(0, dot));
      if (group == nullptr || group->value.kind != ValueKind::table) break;
      table = &group->value;
      key.erase(0, dot + 1);
    }
    if (std::erase_if(table->members, [&](const Member& m) { return m.key == key; }) > 0) return;
    std::vector<std::string_view> names;
    for (const Member& member : table->members) names.push_back(member.key);
    mistake(item.place, "[" + name + "] of the recipe that is extended has no line '" + item.text +
                            "'" + did_you_mean(key, names));
  }

  MergedDocument& out_;
  std::vector<RecipeMistake>& mistakes_;
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04X", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}
std::string as_key(const std::string& key) {
  bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  return bare ? key : quoted(key);
}
std::string as_value(const DocValue& value) {
  std::string out;
  switch (value.kind) {
    case ValueKind::text:
      return quoted(value.text);
    case ValueKind::integer:
      return std::to_string(value.integer);
    case ValueKind::real:
      if (std::isnan(value.real)) return "nan";
      if (std::isinf(value.real)) return value.real < 0 ? "-inf" : "inf";
      return nlohmann::json(value.real).dump();
    case ValueKind::boolean:
      return value.boolean ? "true" : "false";
    case ValueKind::array:
      for (const DocValue& item : value.items) out += (out.empty() ? "" : ", ") + as_value(item);
      return "[" + out + "]";
    case ValueKind::table:
      for (const Member& member : value.members) {
        out += (out.empty() ? " " : ", ") + as_key(member.key) + " = " + as_value(member.value);
      }
      return "{" + out + (out.empty() ? "}" : " }");
    case ValueKind::other:
      break;
  }
  return "\"\"";  // a date; no place of a recipe takes one
}

}  // namespace

MergedDocument merged_document(const std::string& toml, const std::string& file,
                               std::vector<RecipeMistake>& mistakes) {
  MergedDocument out;
  out.root = Merger(out, mistakes).load(toml, file);
  return out;
}

std::string to_toml(const DocValue& root) {
  std::string out;
  // Plain keys stand before the first table, or they would be its own.
  for (const char* first : {"name", "title", "source"}) {
    if (const DocValue* value = root.find(first))
      out += std::string(first) + " = " + as_value(*value) + "\n";
  }
  for (const Member& member : root.members) {
    bool head = member.key == "name" || member.key == "title" || member.key == "source";
    if (head || member.value.kind == ValueKind::table) continue;
    out += as_key(member.key) + " = " + as_value(member.value) + "\n";
  }
  for (const Member& section : root.members) {
    if (section.value.kind != ValueKind::table) continue;
    if (section.key != "ask") out += "\n[" + as_key(section.key) + "]\n";
    for (const Member& line : section.value.members) {
      if (section.key == "ask" && line.value.kind == ValueKind::table) {
        out += "\n[ask." + as_key(line.key) + "]\n";
        for (const Member& item : line.value.members) {
          out += as_key(item.key) + " = " + as_value(item.value) + "\n";
        }
      } else {
        out += as_key(line.key) + " = " + as_value(line.value) + "\n";
      }
    }
  }
  return out;
}

}  // namespace wb
