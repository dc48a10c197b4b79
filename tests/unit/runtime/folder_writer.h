// Writes small folders for the loader's tests: f32 or raw u32 tensors as safetensors,
// by code of the tests' own.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/exact_class.h"
#include "tensor/shape.h"
#include "unit/temp_folder.h"

namespace wb {

class FolderWriter {
 public:
  template <class T>
  void add(const std::string& name, const Shape& shape, const std::vector<T>& values) {
    static_assert(sizeof(T) == 4);
    Entry e{std::is_same_v<T, float> ? "F32" : "U32", shape, std::string(values.size() * 4, '\0')};
    std::memcpy(e.bytes.data(), values.data(), e.bytes.size());
    entries_[name] = std::move(e);
  }
  void remove(const std::string& name) { entries_.erase(name); }
  bool has(const std::string& name) const { return entries_.count(name) != 0; }
  void write(const std::string& folder, const std::string& file) const {
    nlohmann::ordered_json header;
    std::size_t offset = 0;
    for (const auto& [name, e] : entries_) {
      header[name] = {{"dtype", e.dtype},
                      {"shape", e.shape},
                      {"data_offsets", {offset, offset + e.bytes.size()}}};
      offset += e.bytes.size();
    }
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t n = text.size();
    std::ofstream out(folder + "/" + file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&n), 8);
    out << text;
    for (const auto& [name, e] : entries_) out << e.bytes;
  }

 private:
  struct Entry {
    std::string dtype;
    Shape shape;
    std::string bytes;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace wb
