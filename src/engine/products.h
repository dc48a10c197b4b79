// Products of matrices with few or many vectors, shared out over a pool. Many products that do
// not depend on each other go as one section: queries, keys and values of one input; all experts
// that a token chose. Few vectors are multiplied straight from packed rows; many meet unpacked
// tiles through the BLAS. Pieces depend on shapes alone, so results do not depend on the number
// of threads. Refuses nothing.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "engine/matrix.h"
#include "engine/pool.h"
#include "ops/elementwise.h"

namespace wb::engine {

// Vectors up to which rows are multiplied where they lie. Beyond, unpacking a tile once pays.
inline constexpr std::size_t kFewVectors = 8;

// y[n, w.out] = x[n, w.in] w^T + bias. With `activated`: y = act(x gate^T) * (x w^T), or, without
// a gate, act(x w^T).
struct Product {
  const Matrix* w = nullptr;
  const float* x = nullptr;  // [n, in]
  std::size_t n = 1;
  float* y = nullptr;  // [n, out]
  const Matrix* gate = nullptr;
  bool activated = false;
  ops::Act act = ops::Act::silu;
};

class Products {
 public:
  explicit Products(Pool& pool);
  // What will be multiplied after the section that runs next, with few vectors: threads that have
  // to wait ask memory for it. For the pool's next section, whoever runs it.
  struct Coming {
    const Matrix* w;
    const Matrix* gate = nullptr;
  };
  void next(std::initializer_list<Coming> matrices);
  // Collects; run() does all that were added since. x and y must stay until then.
  void add(const Product& product) { jobs_.push_back(product); }
  void run();

 private:
  struct Piece {
    std::size_t job, begin, end;  // rows of the matrix
  };
  void cut();
  std::size_t input(const ops::PackedMatrix& w, const float* x);
  void few(const Product& job, const Piece& piece, std::vector<float>& gates);
  void many(const Product& job, const Piece& piece, std::vector<float>& tile,
            std::vector<float>& gates);

  Pool& pool_;
  std::vector<Product> jobs_;
  std::vector<Piece> pieces_;        // by worker
  std::vector<std::size_t> shares_;  // [threads + 1]: where each worker's begin
  // One prepared input for each different (x, order) of the section; buffers are kept.
  struct Prepared {
    const ops::PackedMatrix* like;
    ops::PackedInput input;
  };
  std::vector<Prepared> prepared_;
  std::size_t used_ = 0;
  std::vector<std::size_t> inputs_;          // of each job's w: n indices into prepared_
  std::vector<std::size_t> gate_inputs_;     // of its gate
  std::vector<std::size_t> first_input_;     // [jobs]: where a job's indices begin
  std::vector<std::vector<float>> scratch_;  // two for each thread: a tile, and gates
};

}  // namespace wb::engine
