// See account.h.
#include "cli/account.h"

#include <array>
#include <map>

#include "base/progress.h"

namespace wb::cli {

namespace {

constexpr std::array kFates = {Fate::used, Fate::alias, Fate::left_out, Fate::outside};

// One line of the grouped account: entries with the same fate and reason.
struct Heap {
  std::vector<std::string> names;
  std::uint64_t bytes = 0;
};

// The detail of a left-out entry is a reason in words and stays as it is.
std::string detail_pattern(const AccountLine& line) {
  return line.fate == Fate::left_out || line.fate == Fate::outside ? line.detail
                                                                   : pattern_of(line.detail);
}

const char* fate_title(Fate fate) {
  switch (fate) {
    case Fate::used:
      return "used";
    case Fate::alias:
      return "alias: the same bytes as another entry that is used";
    case Fate::left_out:
      return "left out";
    case Fate::outside:
      return "outside the model";
  }
  WB_BUG("a fate without a title");
}

void add_fate(std::string& out, const LoweredModel& model, Fate fate) {
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> order;
  std::map<std::string, Heap> heaps;
  for (const AccountLine& line : model.account) {
    if (line.fate != fate) continue;
    ++count;
    bytes += line.bytes;
    auto [it, fresh] = heaps.try_emplace(detail_pattern(line));
    if (fresh) order.push_back(it->first);
    it->second.names.push_back(line.source);
    it->second.bytes += line.bytes;
  }
  if (count == 0) return;
  out += fmt::format("  {:>5} {}  {}\n", grouped(count), fate_title(fate),
                     dim("(" + human_bytes(bytes) + ")"));
  // What is used goes one by one into the plan; here its sum is enough.
  if (fate == Fate::used) return;
  for (const std::string& detail : order) {
    const Heap& heap = heaps.at(detail);
    out += fmt::format("        {}\n", wrapped(group_text(heap.names), 10));
    if (!detail.empty()) out += fmt::format("          {}\n", wrapped(printable(detail), 10));
  }
}

}  // namespace

std::string reasons_text(const LoweredModel& model) {
  std::string out;
  for (const std::string& reason : model.reasons) {
    out += fmt::format("  - {}\n", wrapped(printable(reason), 4));
  }
  return out;
}

std::string account_text(const LoweredModel& model) {
  const Sums sums = sums_of(model);
  std::string out =
      bold(fmt::format("{} in the source", counted(sums.source_entries, "entry", "entries"))) +
      "\n";
  for (Fate fate : kFates) add_fate(out, model, fate);
  out += bold(fmt::format("{} in the output", counted(sums.tensors, "tensor"))) + "\n";
  out += fmt::format("  {}\n", sums_text(sums));
  out += dim(fmt::format("  weights counted one by one, experts too: {} of {} source entries, {} "
                         "parameters",
                         sums.mapped, sums.source_entries, grouped(sums.parameters))) +
         "\n";
  if (!model.extra.empty()) {
    out += fmt::format("  beside them {} of multi-token heads, in mtp.safetensors\n",
                       counted(model.extra.size(), "tensor"));
  }
  return out;
}

std::string losses_text(const LoweredModel& model) {
  if (model.losses.empty()) return "";
  std::string out =
      bold(yellow(fmt::format("{}: the output does not compute what the source computes",
                              counted(model.losses.size(), "loss", "losses")))) +
      "\n";
  for (const Loss& loss : model.losses) {
    out += fmt::format("  {:>2}. {}\n", loss.number,
                       wrapped("the source: " + printable(loss.source_computes), 6));
    out += fmt::format("      {}\n", wrapped("this target: " + printable(loss.target_makes), 6));
    if (!loss.tensors.empty()) {
      out += fmt::format("      {}\n", dim(wrapped(group_text(loss.tensors), 6)));
    }
  }
  return out;
}

Json account_json(const LoweredModel& model) {
  Json out = Json::array();
  for (const AccountLine& line : model.account) {
    out.push_back({{"source", line.source},
                   {"fate", name(line.fate)},
                   {"detail", line.detail},
                   {"bytes", line.bytes}});
  }
  return out;
}

}  // namespace wb::cli
