#include <cstdint>

#include "core/kernels/reference_linear.h"

namespace tapestry::kernels::reference {

void gemm(const GemmShape& s, const Real* a, const Real* b, Real* c) {
  const std::int64_t lda = s.lda != 0 ? s.lda : s.transpose_a ? s.m : s.k;
  const std::int64_t ldb = s.ldb != 0 ? s.ldb : s.transpose_b ? s.k : s.n;
  const std::int64_t ldc = s.ldc != 0 ? s.ldc : s.n;
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < s.k; ++k) {
        const double aik = s.transpose_a ? a[k * lda + i] : a[i * lda + k];
        const double bkj = s.transpose_b ? b[j * ldb + k] : b[k * ldb + j];
        sum += aik * bkj;
      }
      if (s.accumulate) {
        sum += c[i * ldc + j];
      } else {
        if (s.row_bias != nullptr) sum += s.row_bias[i];
        if (s.column_bias != nullptr) sum += s.column_bias[j];
      }
      c[i * ldc + j] = static_cast<Real>(sum);
    }
  }
}

}  // namespace tapestry::kernels::reference
