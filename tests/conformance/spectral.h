// Spectral normalization as one call: weight/σ with σ from a power iteration.
#ifndef TAPESTRY_TESTS_CONFORMANCE_SPECTRAL_H_
#define TAPESTRY_TESTS_CONFORMANCE_SPECTRAL_H_

#include "core/tensor.h"

namespace tapestry::conformance {

struct SpectralOptions {
  int dim = 0;    // the axis that becomes the rows of the matrix
  int steps = 1;  // of the power iteration
  double eps = 1e-12;
};

struct SpectralWeight {
  Tensor weight, u, v, sigma;
};

/// u and v are constants of the gradient.
SpectralWeight spectral_weight(const Tensor& weight, const Tensor& u, const Tensor& v,
                               const SpectralOptions& options);

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_SPECTRAL_H_
