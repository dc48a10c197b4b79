// The pieces of report.html, each a function from data to HTML. Internal to verify/.
#pragma once

#include <string>

#include "verify/report.h"

namespace wb::report {

// Text made safe for HTML: markup characters escaped, control characters and invalid UTF-8
// shown as U+FFFD.
std::string escaped(std::string_view text);
// A number as people read it: 3 significant digits, 1.2e-08 for the small.
std::string number(double value);
// A share as a percentage: "99.98 %".
std::string percent(double share);
std::string bytes(std::uint64_t n);

// Charts: <figure> with inline SVG, a caption and a text alternative.
std::string layer_chart(const ModelComparison& comparison);
std::string router_chart(const ModelComparison& comparison);
std::string scatter_chart(const ModelComparison& comparison);
std::string loss_chart(const ModelComparison& comparison);
// The text, token by token, coloured by what the folder lost or won on each.
std::string token_text(const ModelComparison& comparison,
                       const std::function<std::string(std::uint32_t)>& text);
// Source tensors on the left, what became of them on the right, widths by bytes.
// `arrived`: what the used ones came to; one that is not in it is only said to be used.
std::string account_chart(const std::vector<AccountLine>& account,
                          const std::map<std::string, TensorOutcome>& arrived);

extern const char* const kStyle;  // the page's CSS

}  // namespace wb::report
