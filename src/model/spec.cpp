// JSON and comparison of ModelSpec; see spec.h. What contradicts itself is in validate.cpp.
#include "model/spec.h"

#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "model/spec_fields.h"
#include "model/spec_values.h"

namespace wb {

namespace {

using nlohmann::json;

// Calls visit(path, field) for every leaf of the tree below `s`.
template <class S, class Visit>
void each_leaf(S& s, const std::string& prefix, const Visit& visit) {
  visit_fields(
      [&](const char* name, auto& field) {
        using T = std::remove_reference_t<decltype(field)>;
        if constexpr (std::is_class_v<T> && !std::is_same_v<T, std::vector<double>>) {
          each_leaf(field, prefix + name + ".", visit);
        } else {
          visit(prefix + name, field);
        }
      },
      s);
}

// The same leaves in the same order, without their paths.
template <class S, class Visit>
void each_leaf(S& s, const Visit& visit) {
  visit_fields(
      [&](const char*, auto& field) {
        using T = std::remove_reference_t<decltype(field)>;
        if constexpr (std::is_class_v<T> && !std::is_same_v<T, std::vector<double>>) {
          each_leaf(field, visit);
        } else {
          visit(field);
        }
      },
      s);
}

template <class T>
json leaf_to_json(const T& field) {
  if constexpr (std::is_enum_v<T>) {
    return EnumNames<T>::values[static_cast<std::size_t>(field)];
  } else {
    return field;
  }
}

[[noreturn]] void wrong_value(const std::string& path, const std::string& wanted, const json& got) {
  throw Error(Code::spec_invalid, "the field " + path + " of the model cannot take this value")
      .expected(wanted)
      .actual(got.dump())
      .advice("The fields and their values are listed in docs/recipes.md.");
}

template <class T>
void leaf_from_json(T& field, const std::string& path, const json& value) {
  if constexpr (std::is_enum_v<T>) {
    std::string wanted;
    std::size_t i = 0;
    for (const char* name : EnumNames<T>::values) {
      if (value.is_string() && value.get<std::string>() == name) {
        field = static_cast<T>(i);
        return;
      }
      wanted += (i++ == 0 ? "" : ", ") + std::string(name);
    }
    wrong_value(path, "one of " + wanted, value);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) wrong_value(path, "true or false", value);
    field = value.get<bool>();
  } else if constexpr (std::is_same_v<T, double>) {
    if (!value.is_number() || !std::isfinite(value.get<double>()))
      wrong_value(path, "a number", value);
    field = value.get<double>();
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    bool whole =
        value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
    if (!whole || value.get<std::uint64_t>() >= kLargestDimension) {
      wrong_value(path, "a whole number from 0 to 2^31 - 1", value);
    }
    field = value.get<std::uint64_t>();
  } else {
    static_assert(std::is_same_v<T, std::vector<double>>);
    if (!value.is_array()) wrong_value(path, "a list of numbers", value);
    field.clear();
    for (const json& item : value) {
      if (!item.is_number() || !std::isfinite(item.get<double>())) {
        wrong_value(path, "a list of numbers", value);
      }
      field.push_back(item.get<double>());
    }
  }
}

template <class T>
FieldInfo describe(const std::string& path, const T&) {
  if constexpr (std::is_enum_v<T>) {
    FieldInfo info{path, FieldKind::enumeration, {}};
    for (const char* name : EnumNames<T>::values) info.enum_values.emplace_back(name);
    return info;
  } else if constexpr (std::is_same_v<T, bool>) {
    return {path, FieldKind::boolean, {}};
  } else if constexpr (std::is_same_v<T, double>) {
    return {path, FieldKind::real, {}};
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    return {path, FieldKind::integer, {}};
  } else {
    return {path, FieldKind::reals, {}};
  }
}

json::json_pointer pointer(const std::string& path) {
  std::string p = "/";
  for (char c : path) p += c == '.' ? '/' : c;
  return json::json_pointer(p);
}

[[noreturn]] void no_field(const std::string& path) {
  throw Error(Code::spec_invalid, "the model description has no field " + path)
      .advice("The fields are listed in docs/recipes.md.");
}

// Sets every leaf of a JSON object, in its order. A dot stands between the parts of a field's name
// and in none of them.
void set_leaves(ModelSpec& spec, const json& object, const std::string& prefix) {
  for (const auto& [key, value] : object.items()) {
    if (key.find('.') != key.npos) no_field(prefix + key);
    if (value.is_object()) {
      set_leaves(spec, value, prefix + key + ".");
    } else {
      set_field(spec, prefix + key, value);
    }
  }
}

}  // namespace

bool ModelSpec::is_moe(std::uint64_t l) const {
  return moe.n_routed_experts > 0 && l >= moe.first_k_dense_replace &&
         l % moe.moe_layer_freq == moe.moe_layer_offset;
}
std::uint64_t ModelSpec::kv_heads() const {
  return attention.num_key_value_heads > 0 ? attention.num_key_value_heads
                                           : attention.num_attention_heads;
}
std::uint64_t ModelSpec::rope_key_heads() const {
  return attention.rope_keys == RopeKeys::shared ? 1 : kv_heads();
}
const NormSpec& ModelSpec::last_norm() const { return own_final_norm ? final_norm : norm; }
double ModelSpec::scale_nope() const {
  if (attention.softmax_scale != 0.0) return attention.softmax_scale;
  return 1.0 /
         std::sqrt(static_cast<double>(attention.qk_nope_head_dim + attention.qk_rope_head_dim));
}
double ModelSpec::scale_rope() const {
  return attention.softmax_scale_rope != 0.0 ? attention.softmax_scale_rope : scale_nope();
}

json to_json(const ModelSpec& spec) {
  json tree = json::object();
  ModelSpec copy = spec;
  each_leaf(copy, "",
            [&](const std::string& path, auto& f) { tree[pointer(path)] = leaf_to_json(f); });
  return tree;
}

ModelSpec spec_from_json(const json& tree) {
  if (!tree.is_object()) wrong_value("(root)", "an object", tree);
  ModelSpec spec;
  set_leaves(spec, tree, "");
  validate(spec);
  return spec;
}

const std::vector<FieldInfo>& spec_fields() {
  static const std::vector<FieldInfo> fields = [] {
    std::vector<FieldInfo> out;
    ModelSpec spec;
    each_leaf(spec, "",
              [&](const std::string& path, auto& f) { out.push_back(describe(path, f)); });
    return out;
  }();
  return fields;
}

void set_field(ModelSpec& spec, const std::string& path, const json& value) {
  bool found = false;
  each_leaf(spec, "", [&](const std::string& p, auto& f) {
    if (p != path) return;
    found = true;
    leaf_from_json(f, path, value);
  });
  if (!found) no_field(path);
}

std::size_t field_number(const std::string& path) {
  const std::vector<FieldInfo>& fields = spec_fields();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].path == path) return i;
  }
  throw Error(Code::spec_invalid, "the model description has no field " + path)
      .advice("The fields are listed in docs/recipes.md.");
}

void set_field(ModelSpec& spec, std::size_t number, const json& value) {
  std::size_t i = 0;
  each_leaf(spec, [&](auto& f) {
    if (i++ == number) leaf_from_json(f, spec_fields()[number].path, value);
  });
}

json field_value(const ModelSpec& spec, std::size_t number) {
  json out;
  std::size_t i = 0;
  ModelSpec copy = spec;
  each_leaf(copy, [&](auto& f) {
    if (i++ == number) out = leaf_to_json(f);
  });
  return out;
}

bool shapes_tensors(const std::string& path) {
  if (path.starts_with("rope.")) return false;
  const std::string last = path.substr(path.rfind('.') + 1);
  if (last == "eps" || last == "eps_outside_root" || last == "activation") return false;
  if (path.starts_with("router.")) return last == "bias" || last == "expert_bias";
  for (const char* constant :
       {"attention.kv_latent_factor", "attention.rope_key_factor", "attention.softmax_scale",
        "attention.softmax_scale_rope", "moe.shared_scale"}) {
    if (path == constant) return false;
  }
  return true;
}

bool same_tensors(const ModelSpec& a, const ModelSpec& b) {
  static const std::vector<bool> shaping = [] {
    std::vector<bool> out;
    for (const FieldInfo& field : spec_fields()) out.push_back(shapes_tensors(field.path));
    return out;
  }();
  // Whole numbers of a description are below 2^31, so a double holds each exactly; lists are
  // constants all of them.
  auto values = [](const ModelSpec& spec) {
    std::vector<double> out;
    out.reserve(shaping.size());
    ModelSpec copy = spec;
    each_leaf(copy, [&](auto& f) {
      using T = std::remove_reference_t<decltype(f)>;
      if constexpr (std::is_same_v<T, std::vector<double>>) {
        out.push_back(0);
      } else {
        out.push_back(static_cast<double>(f));
      }
    });
    return out;
  };
  const std::vector<double> of_a = values(a), of_b = values(b);
  for (std::size_t i = 0; i < shaping.size(); ++i) {
    if (shaping[i] && of_a[i] != of_b[i]) return false;
  }
  return true;
}

std::string bytes_but_rope(const ModelSpec& spec) {
  ModelSpec copy = spec;
  copy.rope = RopeSpec();
  std::string out;
  each_leaf(copy, [&](auto& f) {
    using T = std::remove_reference_t<decltype(f)>;
    if constexpr (std::is_same_v<T, std::vector<double>>) {
      out += static_cast<char>(f.size());
      out.append(reinterpret_cast<const char*>(f.data()), f.size() * sizeof(double));
    } else {
      out.append(reinterpret_cast<const char*>(&f), sizeof f);
    }
  });
  return out;
}

std::vector<FieldDifference> compare(const ModelSpec& a, const ModelSpec& b) {
  json ja = to_json(a), jb = to_json(b);
  std::vector<FieldDifference> out;
  for (const FieldInfo& f : spec_fields()) {
    const json &x = ja.at(pointer(f.path)), &y = jb.at(pointer(f.path));
    if (x != y) out.push_back({f.path, x, y});
  }
  return out;
}

}  // namespace wb
