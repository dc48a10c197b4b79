// See products.h.
#include "engine/products.h"

#include <algorithm>

#include "ops/matmul.h"

namespace wb::engine {

namespace {

// Bytes of rows in a piece: large ones, because every change of place costs the prefetcher some
// hundred nanoseconds; at least four of a matrix that is worth sharing, so that the threads end
// together.
constexpr std::size_t kMostPieceBytes = std::size_t{192} << 10;
constexpr std::size_t kLeastPieceBytes = std::size_t{32} << 10;
constexpr std::size_t kTileRows = 128;  // of matrices that meet many vectors

std::size_t rows_per_piece(const Product& job) {
  if (job.n > kFewVectors) return kTileRows;
  const std::size_t row = std::max<std::size_t>(1, job.w->packed.row_bytes);
  const std::size_t bytes = std::clamp(row * job.w->out() / 4, kLeastPieceBytes, kMostPieceBytes);
  return std::max<std::size_t>(4, bytes / row / 4 * 4);
}

// Rows [begin, end) as f32 with a stride: where they lie, or unpacked into `tile`.
const float* as_floats(const ops::PackedMatrix& w, std::size_t begin, std::size_t end,
                       std::vector<float>& tile, std::size_t& stride) {
  if (w.packing == ops::Packing::f32 && w.rows == nullptr) {
    stride = w.row_bytes / sizeof(float);
    return reinterpret_cast<const float*>(w.row(begin));
  }
  stride = w.in;
  tile.resize(std::max(tile.size(), (end - begin) * w.in));
  ops::unpack(w, begin, end, tile.data());
  return tile.data();
}

}  // namespace

Products::Products(Pool& pool) : pool_(pool), scratch_(2 * std::size_t{pool.size()}) {}

std::size_t Products::input(const ops::PackedMatrix& w, const float* x) {
  for (std::size_t i = 0; i < used_; ++i) {
    if (prepared_[i].input.x == x && ops::same_order(*prepared_[i].like, w)) return i;
  }
  if (used_ == prepared_.size()) prepared_.emplace_back();
  prepared_[used_].like = &w;
  ops::prepare(w, x, prepared_[used_].input);
  return used_++;
}

void Products::cut() {
  pieces_.clear();
  inputs_.clear();
  gate_inputs_.clear();
  first_input_.clear();
  used_ = 0;
  for (std::size_t j = 0; j < jobs_.size(); ++j) {
    const Product& job = jobs_[j];
    const std::size_t rows = rows_per_piece(job), out = job.w->out();
    for (std::size_t r = 0; r < out; r += rows) pieces_.push_back({j, r, std::min(r + rows, out)});
    first_input_.push_back(inputs_.size());
    if (job.n > kFewVectors) continue;
    for (std::size_t v = 0; v < job.n; ++v) {
      const float* x = job.x + v * job.w->in();
      inputs_.push_back(input(job.w->packed, x));
      gate_inputs_.push_back(job.gate != nullptr ? input(job.gate->packed, x) : 0);
    }
  }
}

void Products::few(const Product& job, const Piece& piece, std::vector<float>& gates) {
  const std::size_t out = job.w->out(), rows = piece.end - piece.begin;
  for (std::size_t v = 0; v < job.n; ++v) {
    const std::size_t at = first_input_[piece.job] + v;
    float* y = job.y + v * out;
    ops::multiply(job.w->packed, prepared_[inputs_[at]].input, piece.begin, piece.end, y);
    if (!job.activated) continue;
    if (job.gate == nullptr) {
      ops::act_mul(ops::Kernels::fast, job.act, y + piece.begin, nullptr, y + piece.begin, rows);
      continue;
    }
    ops::multiply(job.gate->packed, prepared_[gate_inputs_[at]].input, piece.begin, piece.end,
                  gates.data());
    ops::act_mul(ops::Kernels::fast, job.act, gates.data() + piece.begin, y + piece.begin,
                 y + piece.begin, rows);
  }
}

void Products::many(const Product& job, const Piece& piece, std::vector<float>& tile,
                    std::vector<float>& gates) {
  const std::size_t out = job.w->out(), rows = piece.end - piece.begin;
  auto product = [&](const Matrix& m, float* y, std::size_t ldy) {
    std::size_t stride = 0;
    const float* w = as_floats(m.packed, piece.begin, piece.end, tile, stride);
    ops::gemm_nt(ops::Kernels::fast, job.n, rows, m.in(), job.x, m.in(), w, stride, y, ldy);
    if (m.packed.bias == nullptr) return;
    for (std::size_t v = 0; v < job.n; ++v) {
      for (std::size_t r = 0; r < rows; ++r) y[v * ldy + r] += m.packed.bias[piece.begin + r];
    }
  };
  float* y = job.y + piece.begin;
  product(*job.w, y, out);
  if (!job.activated) return;
  if (job.gate != nullptr) {
    gates.resize(std::max(gates.size(), job.n * rows));
    product(*job.gate, gates.data(), rows);
  }
  for (std::size_t v = 0; v < job.n; ++v) {
    float* row = y + v * out;
    const float* gate = job.gate != nullptr ? gates.data() + v * rows : row;
    ops::act_mul(ops::Kernels::fast, job.act, gate, job.gate != nullptr ? row : nullptr, row, rows);
  }
}

void Products::run() {
  cut();
  // For every thread, because any may run any piece.
  std::size_t gates = 0;
  for (const Product& job : jobs_) {
    if (job.gate != nullptr && job.n <= kFewVectors) gates = std::max(gates, job.w->out());
  }
  for (std::size_t i = 1; i < scratch_.size(); i += 2) {
    if (scratch_[i].size() < gates) scratch_[i].resize(gates);
  }
  pool_.run(pieces_.size(), [&](std::size_t i, unsigned worker) {
    const Piece& piece = pieces_[i];
    const Product& job = jobs_[piece.job];
    std::vector<float>& tile = scratch_[2 * worker];
    std::vector<float>& other = scratch_[2 * worker + 1];
    if (job.n > kFewVectors) return many(job, piece, tile, other);
    // What this thread is likely to take next; memory takes its time to begin.
    if (i + pool_.size() < pieces_.size()) {
      const Piece& next = pieces_[i + pool_.size()];
      const Product& then = jobs_[next.job];
      ops::ask_for(then.w->packed, next.begin);
      if (then.gate != nullptr) ops::ask_for(then.gate->packed, next.begin);
    }
    few(job, piece, other);
  });
  jobs_.clear();
}

}  // namespace wb::engine
