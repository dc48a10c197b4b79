// See products.h.
#include "engine/products.h"

#include <algorithm>

#include "ops/matmul.h"

namespace wb::engine {

namespace {

// Bytes of rows in a piece: small, so that threads end together; a thread takes those of its share
// one after the other, as one stream. A gate and what it gates are two streams that take turns, and
// memory takes its time to begin: where rows are long, each turn is long.
constexpr std::size_t kPieceBytes = std::size_t{32} << 10, kDensePieceBytes = 4 * kPieceBytes;
constexpr std::size_t kTileRows = 128;  // of matrices that meet many vectors
// Of one thread: what fits beside the rest into a second-level cache.
constexpr std::size_t kMostAhead = std::size_t{384} << 10;

// Of one row, with the gate's.
std::size_t row_bytes(const Matrix& w, const Matrix* gate) {
  return std::max<std::size_t>(1,
                               w.packed.row_bytes + (gate != nullptr ? gate->packed.row_bytes : 0));
}

std::size_t rows_per_piece(const Matrix& w, const Matrix* gate, std::size_t n) {
  if (n > kFewVectors) return kTileRows;
  const std::size_t bytes = w.packed.grouped() ? kPieceBytes : kDensePieceBytes;
  return std::max<std::size_t>(4, bytes / row_bytes(w, gate) / 4 * 4);
}

// The part of `count` things that is a worker's own.
struct Part {
  std::size_t begin, end;
};
Part part_of(std::size_t count, unsigned worker, unsigned workers) {
  return {count * worker / workers, count * (worker + 1) / workers};
}

// Rows [begin, end) of w: codes, scales, biases.
void append_rows(const ops::PackedMatrix& w, std::size_t begin, std::size_t end,
                 std::vector<Stretch>& to) {
  // Rows that are taken in another order than they are stored in are few, and not asked for.
  if (begin >= end || w.rows != nullptr) return;
  to.push_back({w.row(begin), (end - begin) * w.row_bytes});
  if (!w.grouped()) return;
  to.push_back({w.scales + begin * w.scale_bytes, (end - begin) * w.scale_bytes});
  if (w.biases == nullptr) return;
  to.push_back({w.biases + begin * w.scale_bytes, (end - begin) * w.scale_bytes});
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

void Products::next(std::initializer_list<Coming> matrices) {
  const std::span<std::vector<Stretch>> ahead = pool_.coming();
  for (unsigned worker = 0; worker < pool_.size(); ++worker) {
    std::size_t left = kMostAhead;
    for (const Coming& m : matrices) {
      if (m.w == nullptr || m.w->out() == 0) continue;
      const std::size_t rows = rows_per_piece(*m.w, m.gate, 1), out = m.w->out();
      const std::size_t bytes = rows * row_bytes(*m.w, m.gate);
      const Part own = part_of((out + rows - 1) / rows, worker, pool_.size());
      for (std::size_t i = own.begin; i < own.end && left >= bytes; ++i) {
        const std::size_t first = i * rows, last = std::min((i + 1) * rows, out);
        append_rows(m.w->packed, first, last, ahead[worker]);
        if (m.gate != nullptr) append_rows(m.gate->packed, first, last, ahead[worker]);
        left -= bytes;
      }
    }
  }
}

void Products::cut() {
  pieces_.clear();
  inputs_.clear();
  gate_inputs_.clear();
  first_input_.clear();
  used_ = 0;
  shares_.clear();
  for (unsigned worker = 0; worker < pool_.size(); ++worker) {
    shares_.push_back(pieces_.size());
    for (std::size_t j = 0; j < jobs_.size(); ++j) {
      const Product& job = jobs_[j];
      const std::size_t rows = rows_per_piece(*job.w, job.gate, job.n), out = job.w->out();
      const Part own = part_of((out + rows - 1) / rows, worker, pool_.size());
      for (std::size_t i = own.begin; i < own.end; ++i) {
        pieces_.push_back({j, i * rows, std::min((i + 1) * rows, out)});
      }
    }
  }
  shares_.push_back(pieces_.size());
  for (const Product& job : jobs_) {
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
  pool_.run(
      pieces_.size(),
      [&](std::size_t i, unsigned worker) {
        const Piece& piece = pieces_[i];
        const Product& job = jobs_[piece.job];
        std::vector<float>& tile = scratch_[2 * worker];
        std::vector<float>& other = scratch_[2 * worker + 1];
        if (job.n > kFewVectors) return many(job, piece, tile, other);
        // Another matrix comes; memory takes its time to begin.
        if (i + 1 < pieces_.size() && pieces_[i + 1].job != piece.job) {
          const Piece& next = pieces_[i + 1];
          const Product& then = jobs_[next.job];
          ops::ask_for(then.w->packed, next.begin);
          if (then.gate != nullptr) ops::ask_for(then.gate->packed, next.begin);
        }
        few(job, piece, other);
      },
      shares_);
  jobs_.clear();
}

}  // namespace wb::engine
