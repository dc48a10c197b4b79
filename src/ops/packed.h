// Matrices as files hold them, and their products with vectors, straight from the packed bytes.
// Owns the fast form (Highway, picked at run time) and the plain one (every value decoded alone,
// every sum in f64), side by side. Nothing is copied: a PackedMatrix borrows its bytes, which are
// mapped as a rule. Refuses nothing: shapes are the caller's promise.
//
// Decoding one vector's worth costs about as many instructions as multiplying it, so that a
// product with one vector is bound by how fast the packed bytes arrive, which is the point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wb::ops {

// What an element is. affine: unsigned codes of `bits`, times a scale plus a bias per group.
// e2m1 and e4m3: small floats times a scale per group (mxfp4 and nvfp4; mxfp8), no bias.
enum class Packing : std::uint8_t { f32, f16, bf16, affine, e2m1, e4m3 };
// How the scales (and biases) of a group are written.
enum class ScaleType : std::uint8_t { f32, f16, bf16, e8m0, e4m3 };

// w [out, in]. Row r begins at data + s * row_bytes, where s = rows[r], or r when `rows` is null;
// its scales at scales + s * scale_bytes.
struct PackedMatrix {
  Packing packing = Packing::f32;
  ScaleType scale_type = ScaleType::f32;
  unsigned bits = 32;           // of one element
  std::size_t group = 0;        // elements that share a scale; a power of two, 16 to 128
  std::size_t out = 0, in = 0;  // `in` is a multiple of `group` where there are groups
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;  // affine only
  std::size_t row_bytes = 0, scale_bytes = 0;
  const std::uint32_t* rows = nullptr;  // [out] or null
  const float* bias = nullptr;          // [out] or null: of the layer, added to the product

  bool grouped() const { return group != 0; }
  const std::byte* row(std::size_t r) const { return data + stored(r) * row_bytes; }
  std::size_t stored(std::size_t r) const { return rows != nullptr ? rows[r] : r; }
  // Bytes that one product touches.
  std::uint64_t bytes() const;
};

// 64 digits of one place, of as many elements of a vector; see packed_digits.cpp.
struct alignas(64) DigitBlock {
  std::int8_t digit[64];
};

// A vector x[in] in the order in which a packing's kernels read it, with its sums per group.
// Made once for all rows. Another packing of equal `order` may use it too. Either as numbers in
// f32, or as three digits of a byte each in units of the group's own; then `digits` is not empty.
struct PackedInput {
  std::vector<float> permuted;  // padded with zeros to whole vectors
  // Sum of x over a group: at the group's first lane, zeros between; with digits one for a group.
  std::vector<float> sums;
  std::vector<DigitBlock> digits;     // largest digit, middle, smallest of each step of elements
  std::vector<float> units;           // [groups]
  std::vector<std::int32_t> offsets;  // of what e2m1 numbers are raised by, in units, by lanes
  const float* x = nullptr;           // [in], as given; must outlive the PackedInput
};
// Rounds an element to digits by 2^-22 of its group's largest magnitude at most; else not at all.
void prepare(const PackedMatrix& like, const float* x, PackedInput& input);
// Whether an input prepared for `a` serves `b`.
inline bool same_order(const PackedMatrix& a, const PackedMatrix& b) {
  return a.in == b.in && a.packing == b.packing && a.bits == b.bits && a.group == b.group;
}

// y[r] = w[r] . x + bias[r] for rows r in [begin, end); y is indexed by r. What a row gives does
// not depend on the range it is asked for with.
void multiply(const PackedMatrix& w, const PackedInput& x, std::size_t begin, std::size_t end,
              float* y);
// Asks for the first bytes of the rows from `row` on, so that they are near when they are needed.
void ask_for(const PackedMatrix& w, std::size_t row);
// y[in] = the sum of q[r - begin] * w[r] over rows r in [begin, end); the layer's bias has no part.
void sum_rows(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y);
// The values of rows [begin, end): out[(end - begin) * in], as f32: code * scale + bias, rounded
// once; dense values exactly. For products with many vectors at once.
void unpack(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out);

// The instruction set whose kernels run: Highway's name for it.
const char* packed_target();

// Their oracles.
void multiply_plain(const PackedMatrix& w, const float* x, std::size_t begin, std::size_t end,
                    float* y);
void sum_rows_plain(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                    float* y);
void unpack_plain(const PackedMatrix& w, std::size_t begin, std::size_t end, double* out);

}  // namespace wb::ops
