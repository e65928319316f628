#include "tests/conformance/spectral.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/tape.h"

namespace tapestry::conformance {
namespace {

Tensor unit(const Tensor& a, double eps) {
  return a / std::max(norm(a).item(), static_cast<Real>(eps));
}

}  // namespace

SpectralWeight spectral_weight(const Tensor& weight, const Tensor& u, const Tensor& v,
                               const SpectralOptions& options) {
  std::vector<int> order(static_cast<std::size_t>(weight.rank()));
  std::iota(order.begin(), order.end(), 0);
  const int dim = weight.shape().axis_index(options.dim);
  order.erase(order.begin() + dim);
  order.insert(order.begin(), dim);
  const Tensor matrix = reshape(permute(weight, order), {weight.dim(dim), -1});
  SpectralWeight made{{}, u.detach(), v.detach(), {}};
  {
    PauseRecording pause;
    for (int i = 0; i < options.steps; ++i) {
      made.v = unit(matmul(made.u, matrix), options.eps);
      made.u = unit(matmul(matrix, made.v), options.eps);
    }
  }
  made.sigma = sum(made.u * matmul(matrix, made.v));
  made.weight = weight / made.sigma;
  return made;
}

}  // namespace tapestry::conformance
