// Limits and verdicts; see judge.h.
#include "verify/judge.h"

#include <algorithm>
#include <cmath>

namespace wb {

namespace {

// NaN never passes: every comparison is written so that it fails.
Check at_most(std::string name, double measured, double limit, std::string why) {
  return {std::move(name), measured, limit, false, measured <= limit, std::move(why)};
}
Check at_least(std::string name, double measured, double limit, std::string why) {
  return {std::move(name), measured, limit, true, measured >= limit, std::move(why)};
}

// A copy that parts by rounding changes the likeliest token only where two are as good as
// equal; a position in ten thousand is far more than that.
constexpr double kFaithfulTop1 = 0.9999;
// The KL limit is never below this: f32 logits of ordinary size do not resolve less.
constexpr double kSmallestKl = 1e-8;

}  // namespace

std::vector<Check> judge(const ModelComparison& c, const Thresholds& t, bool faithful) {
  const std::string rounding = "what rounding explains", asked = "given as an option";
  // Whether no weight was narrowed. Where one was, a token whose experts score within rounding of
  // each other may go to another one, and what it then says is bounded in the mean only.
  const bool unrounded = faithful && c.weight_roundoff <= 0x1p-24;
  std::vector<Check> out;
  if (t.max_kl) {
    out.push_back(at_most("mean KL, nats", c.logits.mean_kl, *t.max_kl, asked));
  } else if (faithful) {
    out.push_back(at_most("mean KL, nats", c.logits.mean_kl,
                          std::max(kSmallestKl, c.tolerances.mean_kl), rounding));
  } else {
    out.push_back(at_most("mean KL, nats", c.logits.mean_kl, kApproximationKl,
                          "the most that an approximation may cost unless --max-kl says"));
  }
  if (t.max_abs) {
    out.push_back(at_most("largest logit difference", c.logits.max_abs, *t.max_abs, asked));
  } else if (unrounded) {
    out.push_back(at_most("largest logit difference", c.logits.max_abs, c.tolerances.logits_max_abs,
                          rounding));
  }
  if (t.min_top1) {
    out.push_back(at_least("top-1 agreement", c.logits.top1, *t.min_top1, asked));
  } else if (unrounded) {
    out.push_back(at_least("top-1 agreement", c.logits.top1, kFaithfulTop1,
                           "ties aside, the same token is likeliest"));
  }
  if (t.max_perplexity_ratio) {
    out.push_back(at_most("perplexity, folder / source",
                          std::exp(c.output.mean_nll - c.source.mean_nll), *t.max_perplexity_ratio,
                          asked));
  }
  if (faithful) {
    double worst = 0;
    for (const LayerComparison& layer : c.layers) {
      double units = layer.hidden.relative / layer.tolerance;
      if (!(units <= worst) && !std::isnan(worst)) worst = units;  // a NaN stays
    }
    out.push_back(at_most("worst layer, in units of its tolerance", worst, 1.0, rounding));
  }
  return out;
}

std::vector<Check> judge(const ReferenceComparison& c, const Thresholds& t) {
  return {at_most("largest logit difference from the reference", c.logits.max_abs,
                  t.max_abs.value_or(c.tolerances.logits_max_abs),
                  t.max_abs ? "given as an option" : "what rounding explains"),
          at_most("mean KL from the reference, nats", c.logits.mean_kl,
                  t.max_kl.value_or(std::max(kSmallestKl, c.tolerances.mean_kl)),
                  t.max_kl ? "given as an option" : "what rounding explains")};
}

Check judge(const TensorComparison& c) {
  using enum TensorOutcome;
  return at_most("tensors with other values or of another shape",
                 static_cast<double>(c.count(changed) + c.count(reshaped) + c.count(only_folder)),
                 0, "the folder claims to hold the source's own weights");
}

bool all_pass(const std::vector<Check>& checks) {
  return std::all_of(checks.begin(), checks.end(), [](const Check& c) { return c.pass; });
}

}  // namespace wb
