// Which instruction set the kernels of all layers run on, where not the best that the processor
// has: for comparing sets on one machine, and for tools that know fewer than the processor.
#pragma once

#include <string_view>

namespace wb {

// From now on nothing better than `name` is used, by Highway's names ("AVX2"). Before the first
// kernel runs. Throws Code::usage for a set that this processor or this build does not have.
void limit_instruction_set(std::string_view name);

}  // namespace wb
