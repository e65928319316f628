// Matrix products: C = A·B + start, on all threads, with the same bits at any number of threads.
#ifndef TAPESTRY_CORE_KERNELS_GEMM_H_
#define TAPESTRY_CORE_KERNELS_GEMM_H_

#include <cstdint>
#include <span>

#include "core/real.h"

namespace tapestry::kernels {

/// What a product is made of. A is (m, k), B (k, n), C (m, n), row-major with `ld…` numbers from
/// one row to the next; 0 means "no gap". With transpose_a, A is stored as (k, m); with
/// transpose_b, B as (n, k).
struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  bool accumulate = false;            // C += A·B; else C = A·B + biases
  const Real* row_bias = nullptr;     // m numbers, one for each row of C
  const Real* column_bias = nullptr;  // n numbers, one for each column of C
};

/// C = A·B + biases, or C += A·B. C must not overlap A or B. Any extent may be 0; k = 0 gives the
/// start values.
///
/// Error of each element ≤ 2·√k·2⁻²⁴·Σ|a·b| in float, in practice: sums run in blocks of at most
/// 384.
void gemm(const GemmShape& shape, const Real* a, const Real* b, Real* c);

/// The operands of one product of a batch.
struct GemmOperands {
  const Real* a;
  const Real* b;
  Real* c;
};

/// The same product for each item of a batch; the c of different items must not overlap. Items with
/// the same a are one product with the columns of all of them.
void gemm_batched(const GemmShape& shape, std::span<const GemmOperands> batch);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_GEMM_H_
