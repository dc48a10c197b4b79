// The stock target. In the making: every model goes to the exact class until it is here.
#include "target/lowering.h"

namespace wb {

LoweredModel lower_stock(const Lowering&) {
  throw Error(Code::target_inexpressible, "the stock target does not exist yet")
      .advice("Convert with --target exact or shape-match.");
}
LoweredModel lower_automatic(const Lowering& source) { return lower_exact(source); }

}  // namespace wb
