// The quantisers on another processor, without a test framework: the golden file and the fast
// version against the plain one. tests/neon/run.sh builds it for AArch64 and runs it.
#include <cstdio>

#include "unit/quant/check_groups.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::size_t golden = 0, pairs = 0;
  std::string wrong = wb::quant_check::against_golden(argv[1], wb::quantize_groups_plain, golden);
  wrong += wb::quant_check::against_golden(argv[1], wb::quantize_groups, golden);
  wrong += wb::quant_check::fast_against_plain(pairs);
  std::printf("%s: %zu bytes of the golden file, %zu weights both ways\n%s", wb::quantize_target(),
              golden, pairs, wrong.c_str());
  return wrong.empty() && golden > 150000 ? 0 : 1;
}
