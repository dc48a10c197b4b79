// Any bytes as a pickle: what comes of it refers to nodes that are there and to text inside the
// bytes, and is the same when nothing follows its STOP. The first byte says how many items a
// persistent id has, as zip archives and legacy files do.
#include "checkpoint/unpickler.h"

#include <functional>
#include <vector>

#include "input.h"

namespace {

void check_node(const wb::Pickle& pickle, const wb::PickleNode& node, wb::Bytes bytes) {
  const auto known = [&](wb::NodeId id) {
    WB_CHECK(id == wb::kNoNode || id < pickle.nodes.size());
  };
  for (wb::NodeId id : {node.callable, node.args, node.state}) known(id);
  for (wb::NodeId id : node.items) WB_CHECK(id < pickle.nodes.size());
  if (node.kind == wb::Kind::dict) WB_CHECK(node.items.size() % 2 == 0);
  if (node.kind == wb::Kind::global) {
    WB_CHECK(static_cast<std::uint64_t>(node.number) < pickle.globals.size());
  }
  if (node.text.empty()) return;
  const char* first = reinterpret_cast<const char*>(bytes.data());
  const std::less_equal<const char*> before;
  WB_CHECK(before(first, node.text.data()));
  WB_CHECK(before(node.text.data() + node.text.size(), first + pickle.length));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr unsigned kItems[] = {0, 5, 6};
  const wb::UnpickleOptions options{
      .persistent_id_items = kItems[data[0] % 3], .max_opcodes = 1u << 16, .max_nodes = 1u << 16};
  // A vector of its own: a read beyond it is seen.
  const auto rest = std::as_bytes(std::span(data + 1, size - 1));
  const std::vector<std::byte> bytes(rest.begin(), rest.end());
  try {
    const wb::Pickle pickle = wb::unpickle(bytes, options);
    WB_CHECK(pickle.length <= bytes.size() && pickle.root < pickle.nodes.size());
    for (const wb::PickleNode& node : pickle.nodes) check_node(pickle, node, bytes);
    const std::vector<std::byte> alone(bytes.begin(),
                                       bytes.begin() + static_cast<std::ptrdiff_t>(pickle.length));
    const wb::Pickle again = wb::unpickle(alone, options);
    WB_CHECK(again.length == pickle.length && again.root == pickle.root &&
             again.nodes.size() == pickle.nodes.size());
  } catch (const wb::Error& error) {
    WB_CHECK(!error.advice().empty());
  }
  return 0;
}
