// See attention_search.h.
#include "draft/attention_search.h"

#include <algorithm>

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr std::uint64_t kMostHeads = 256;
constexpr double kTurned = 0.1;  // where nothing else tells, a matrix is [out, in]

class Search {
 public:
  Search(const std::vector<Matrix>& matrices, const AttentionHints& hints,
         const std::vector<R>& roles)
      : m_(matrices), hints_(hints), roles_(roles), chosen_(roles.size()), used_(matrices.size()) {}

  std::vector<FoundAttention> run() {
    step(0, 0);
    return std::move(found_);
  }

 private:
  const Matrix* of(R role) const {
    for (std::size_t i = 0; i < known_; ++i) {
      if (roles_[i] == role) return &m_[chosen_[i]];
    }
    return nullptr;
  }
  // Whether what is known by now allows matrix `m` in this role: roles come latents first.
  bool fits(R role, const Matrix& m) const {
    const std::uint64_t d = hints_.hidden;
    switch (role) {
      case R::q_down:
      case R::kv_down:
      case R::kv_down_rope:
        return m.cols == d && m.heads == 0;
      case R::q:
      case R::q_nope:
      case R::q_rope:
        return m.cols == (of(R::q_down) != nullptr ? of(R::q_down)->rows : d);
      case R::k:
      case R::v:
      case R::kv:
        if (of(R::kv_down) != nullptr) return m.cols == of(R::kv_down)->rows;
        if (of(R::kv_down_rope) != nullptr) {
          if (const Matrix* k = of(R::k); k != nullptr && role == R::v) return m.cols == k->cols;
          return m.cols < of(R::kv_down_rope)->rows;
        }
        return m.cols == d;
      case R::k_rope:
        return m.cols == d || (of(R::kv_down) != nullptr && m.cols == of(R::kv_down)->rows);
      case R::qkv:
        return m.cols == d;
      case R::o:
        return m.rows == d;
    }
    return false;
  }

  void step(std::size_t role, double total) {
    if (role == roles_.size()) {
      known_ = role;
      complete(total);
      return;
    }
    for (std::size_t i = 0; i < m_.size(); ++i) {
      if (used_[m_[i].owner]) continue;
      known_ = role;
      if (!fits(roles_[role], m_[i])) continue;
      used_[m_[i].owner] = true;
      chosen_[role] = i;
      step(role + 1,
           total + role_score(m_[i].features, roles_[role]) - (m_[i].turned ? kTurned : 0.0));
      used_[m_[i].owner] = false;
    }
  }

  void complete(double total) {
    std::vector<HeadWidths> widths = head_widths();
    if (widths.empty()) return;
    std::uint64_t q_rank = of(R::q_down) != nullptr ? of(R::q_down)->rows : 0, kv_rank = 0;
    if (of(R::kv_down) != nullptr) kv_rank = of(R::kv_down)->rows;
    if (of(R::kv_down_rope) != nullptr)
      kv_rank = (of(R::k) != nullptr ? of(R::k) : of(R::kv))->cols;
    // A norm of the latent's width speaks for the latent.
    for (std::uint64_t rank : {q_rank, kv_rank}) {
      const auto& v = hints_.vector_sizes;
      if (rank > 0 && std::find(v.begin(), v.end(), rank) != v.end()) total += 1;
    }
    // Latents rarely go with fewer heads of keys than of queries.
    if (kv_rank > 0 && widths[0].heads != widths[0].kv_heads) total -= 4;
    if (q_rank >= hints_.hidden || kv_rank >= hints_.hidden) total -= 1;  // latents compress
    found_.push_back({chosen_, total, std::move(widths), q_rank, kv_rank});
  }

  // Every head count and widths that all shapes of this assignment allow.
  std::vector<HeadWidths> head_widths() const {
    std::vector<HeadWidths> out;
    for (std::uint64_t h = 1; h <= kMostHeads; ++h) {
      if (of(R::o)->cols % h != 0) continue;
      for (std::uint64_t kv = h; kv >= 1; --kv) {
        if (h % kv == 0) widths_for(h, kv, out);
      }
    }
    return preferred(std::move(out));
  }

  void widths_for(std::uint64_t h, std::uint64_t kv, std::vector<HeadWidths>& out) const {
    const auto divided = [](const Matrix* m, std::uint64_t by) -> std::uint64_t {
      return m == nullptr || m->rows % by != 0 ? 0 : m->rows / by;
    };
    for (std::size_t i = 0; i < roles_.size(); ++i) {
      const Matrix& m = m_[chosen_[i]];
      bool own = roles_[i] == R::q || roles_[i] == R::q_nope || roles_[i] == R::q_rope ||
                 roles_[i] == R::o;
      if (m.heads != 0 && m.heads != (own ? h : kv)) return;
    }
    if (hints_.heads != 0 && h != hints_.heads) return;
    HeadWidths w{h, kv, 0, 0, 0, true, false};
    const Matrix* o = of(R::o);
    if (o->cols % h != 0) return;
    w.v = o->cols / h;
    if (const Matrix* v = of(R::v); v != nullptr && v->rows != kv * w.v) return;
    if (of(R::qkv) != nullptr) return fused(w, out);
    // The rows of one head's query, content and position together.
    std::uint64_t width = 0, key = 0;
    if (of(R::q) != nullptr) {
      width = divided(of(R::q), h);
      if (width == 0) return;
    } else {
      w.nope = divided(of(R::q_nope), h);
      w.rope = divided(of(R::q_rope), h);
      if (w.nope == 0 || w.rope == 0) return;
      width = w.nope + w.rope;
    }
    if (const Matrix* k = of(R::k)) {
      key = divided(k, kv);
    } else if (const Matrix* both = of(R::kv)) {
      std::uint64_t sum = divided(both, kv);
      key = sum > w.v ? sum - w.v : 0;
    }
    if (key == 0) return;
    if (of(R::v) == nullptr && of(R::kv) == nullptr && key != w.v) {  // value = key content
      // ... and zeros, up to the width of a query.
      if (key > w.v || w.v != width) return;
      w.v = key;
      w.padded_values = true;
    }
    const Matrix* down = of(R::kv_down_rope);
    const Matrix* apart = of(R::k_rope);
    if (down == nullptr && apart == nullptr) {  // whole keys
      if (key != width) return;
      return whole(w, width, out);
    }
    std::uint64_t rows = apart != nullptr
                             ? apart->rows
                             : down->rows - (of(R::k) != nullptr ? of(R::k) : of(R::kv))->cols;
    for (bool shared : {true, false}) {
      HeadWidths x = w;
      x.shared_rope_key = shared;
      if (!shared && (kv == 1 || rows % kv != 0)) continue;
      std::uint64_t rope = shared ? rows : rows / kv;
      if (apart != nullptr && apart->heads != 0 && shared) continue;
      if (rope % 2 != 0 || width <= rope || key != width - rope) continue;
      if (x.rope != 0 && x.rope != rope) continue;
      x.rope = rope;
      x.nope = key;
      add(x, out);
    }
  }
  void fused(HeadWidths w, std::vector<HeadWidths>& out) const {
    // [h q + kv k + kv v rows]; values of another width than keys would be hard to tell.
    const Matrix* m = of(R::qkv);
    std::uint64_t parts = w.heads + 2 * w.kv_heads;
    if (m->rows % parts != 0 || m->rows / parts != w.v) return;
    whole(w, w.v, out);
  }
  // Keys whose position rows are no matrix of their own: all rows rotate, or as many as the
  // frequencies say, or none where positions are learned.
  void whole(HeadWidths w, std::uint64_t width, std::vector<HeadWidths>& out) const {
    w.shared_rope_key = false;
    w.rope = hints_.rope_dim != 0 ? hints_.rope_dim : hints_.learned_positions ? 0 : width;
    if (w.rope > width || w.rope % 2 != 0) return;
    w.nope = width - w.rope;
    add(w, out);
  }
  void add(const HeadWidths& w, std::vector<HeadWidths>& out) const {
    if (std::find(out.begin(), out.end(), w) == out.end()) out.push_back(w);
  }

  bool is_rank(std::uint64_t n) const {
    for (R role : {R::q_down, R::kv_down}) {
      if (of(role) != nullptr && of(role)->rows == n) return true;
    }
    for (R role : {R::k, R::kv}) {
      if (of(R::kv_down_rope) != nullptr && of(role) != nullptr && of(role)->cols == n) return true;
    }
    return false;
  }

  // Narrows by what is known from elsewhere, each time only if something is left.
  std::vector<HeadWidths> preferred(std::vector<HeadWidths> all) const {
    const auto keep = [&](auto test) {
      std::vector<HeadWidths> some;
      std::copy_if(all.begin(), all.end(), std::back_inserter(some), test);
      if (!some.empty()) all = std::move(some);
    };
    keep([&](const HeadWidths& w) { return hints_.rope_dim == 0 || w.rope == hints_.rope_dim; });
    // A norm of each head's query or key is as wide as what it norms.
    keep([&](const HeadWidths& w) {
      return std::all_of(hints_.head_sizes.begin(), hints_.head_sizes.end(), [&](std::uint64_t n) {
        return n == w.nope + w.rope || n == w.nope || is_rank(n);
      });
    });
    keep([&](const HeadWidths& w) { return w.heads == w.kv_heads; });
    keep([&](const HeadWidths& w) { return w.heads > 1; });
    keep([&](const HeadWidths& w) { return w.nope + w.rope > 2 && w.v > 1; });
    return all;
  }

  const std::vector<Matrix>& m_;
  const AttentionHints& hints_;
  const std::vector<R>& roles_;
  std::vector<std::size_t> chosen_;
  std::size_t known_ = 0;  // roles that have a matrix by now
  std::vector<bool> used_;
  std::vector<FoundAttention> found_;
};

}  // namespace

double role_score(const Features& f, AttentionRole role) {
  const auto q = [&] { return (f.q ? 2.0 : 0) - (f.k || f.v || f.kv || f.qkv ? 3 : 0); };
  const auto not_o = [&] { return f.o && !f.q && !f.k && !f.v && !f.kv ? -3.0 : 0.0; };
  switch (role) {
    case R::q_down:
      return q() + (f.down ? 2 : 0) + (f.latent ? 0.5 : 0) - (f.up ? 2 : 0) - (f.rope ? 2 : 0) +
             not_o();
    case R::q:
      return q() + (f.up ? 0.5 : 0) - (f.down ? 1 : 0) - (f.rope ? 0.5 : 0) + not_o();
    case R::q_nope:
      return q() + (f.nope ? 1 : 0) + (f.up ? 0.5 : 0) - (f.down ? 1 : 0) - (f.rope ? 2 : 0) +
             not_o();
    case R::q_rope:
      return q() + (f.rope ? 2 : -0.5) - (f.nope ? 2 : 0) - (f.down ? 1 : 0) + not_o();
    case R::kv_down:
      return (f.kv ? 2 : 0) + (f.down ? 2 : 0) + (f.latent ? 1 : 0) - (f.up ? 2 : 0) -
             (f.rope ? 1 : 0) - (f.q || f.qkv ? 3 : 0) - (f.k || f.v ? 1 : 0) + not_o();
    case R::kv_down_rope:
      return (f.kv ? 2 : 0) + (f.down ? 2 : 0) + (f.latent ? 0.5 : 0) +
             (f.rope || f.any({"mqa"}) ? 1 : 0) - (f.up ? 2 : 0) - (f.q || f.qkv ? 3 : 0) -
             (f.k || f.v ? 1 : 0) + not_o();
    case R::k:
      return (f.k ? 2 : 0) + (f.up ? 0.5 : 0) - (f.v || f.q || f.qkv ? 3 : 0) - (f.rope ? 2 : 0) -
             (f.kv ? 1 : 0) - (f.down ? 1 : 0) + not_o();
    case R::v:
      return (f.v ? 2 : 0) + (f.up ? 0.5 : 0) - (f.k || f.q || f.qkv ? 3 : 0) - (f.rope ? 2 : 0) -
             (f.kv ? 1 : 0) - (f.down ? 1 : 0) + not_o();
    case R::kv:
      return (f.kv ? 2 : 0) + (f.up ? 1 : 0) - (f.down ? 2 : 0) - (f.q || f.qkv ? 3 : 0) -
             (f.k || f.v ? 2 : 0) - (f.rope ? 1 : 0) + not_o();
    case R::k_rope:
      return (f.k ? 2 : 0) + (f.rope ? 2 : -0.5) - (f.q || f.v || f.qkv ? 3 : 0) - (f.up ? 1 : 0) +
             not_o();
    case R::qkv:
      return (f.qkv || f.any({"in", "c"}) ? 3 : 0) - (f.q || f.k || f.v || f.kv ? 2 : 0) + not_o();
    case R::o:
      return (f.o ? 2 : 0) + (f.any({"proj"}) && !f.q && !f.k && !f.v && !f.kv ? 1 : 0) -
             (f.q || f.k || f.v || f.kv || f.qkv ? 3 : 0) - (f.rope ? 1 : 0);
  }
  return 0;
}

std::vector<std::vector<AttentionRole>> attention_structures() {
  std::vector<std::vector<R>> out = {{R::qkv, R::o}};
  for (bool low : {false, true}) {
    for (const std::vector<R>& q : {std::vector<R>{R::q}, {R::q_nope, R::q_rope}}) {
      for (int latent = 0; latent < 3; ++latent) {
        for (const std::vector<R>& kv : {std::vector<R>{R::k, R::v}, {R::kv}, {R::k}}) {
          for (bool rope : {false, true}) {
            if (latent == 2 && rope) continue;
            // Position rows of queries apart need position keys; a latent that gives keys only
            // is a value that is the key's content.
            if (q.size() == 2 && !rope && latent != 2) continue;
            if (kv.size() == 1 && kv[0] == R::k && latent == 0) continue;
            std::vector<R> roles;
            if (low) roles.push_back(R::q_down);
            if (latent == 1) roles.push_back(R::kv_down);
            if (latent == 2) roles.push_back(R::kv_down_rope);
            roles.insert(roles.end(), q.begin(), q.end());
            roles.insert(roles.end(), kv.begin(), kv.end());
            if (rope) roles.push_back(R::k_rope);
            roles.push_back(R::o);
            out.push_back(std::move(roles));
          }
        }
      }
    }
  }
  return out;
}

std::vector<FoundAttention> search_attention(const std::vector<Matrix>& matrices,
                                             const AttentionHints& hints,
                                             const std::vector<AttentionRole>& roles) {
  return Search(matrices, hints, roles).run();
}

}  // namespace wb::draft
