// Fields of ModelSpec by number, and which of them no tensor depends on: for trying many
// descriptions of the same weights. The numbers are places in spec_fields(); they are the
// same in one build of the program and mean nothing outside of it.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "model/spec.h"

namespace wb {

// Throws Code::spec_invalid where there is no such field.
std::size_t field_number(const std::string& path);
// set_field() without looking the path up. Throws Code::spec_invalid.
void set_field(ModelSpec& spec, std::size_t number, const nlohmann::json& value);
// The field's value as to_json() writes it.
nlohmann::json field_value(const ModelSpec& spec, std::size_t number);

// Whether a field may change which canonical tensors a description calls for, or their shapes:
// all but constants of the arithmetic (epsilons, activations, scales, rope, choices of a router).
bool shapes_tensors(const std::string& path);
// Whether two descriptions differ in constants of the arithmetic alone, so that they call for the
// same canonical tensors. May say false of two that do.
bool same_tensors(const ModelSpec& a, const ModelSpec& b);
// Bytes that differ where two descriptions differ in a field outside of rope.
std::string bytes_but_rope(const ModelSpec& spec);

}  // namespace wb
