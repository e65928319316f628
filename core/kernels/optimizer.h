// One step of an optimizer over the numbers of one parameter, in a single pass: reads the gradient,
// updates the state and the parameter in place. Formulas, order of operations and names are
// PyTorch's (torch.optim). Pure loops over SIMD vectors: callers split the work.
#ifndef TAPESTRY_CORE_KERNELS_OPTIMIZER_H_
#define TAPESTRY_CORE_KERNELS_OPTIMIZER_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// Whether there is neither a NaN nor an Inf among n numbers.
bool all_finite(const Real* x, std::int64_t n);

struct SgdStep {
  double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  bool first = false;  // the momentum buffer is not there yet: it starts as the gradient
};
/// d = g + weight_decay·p; buffer = momentum·buffer + (1 − dampening)·d; p −= lr·(nesterov ? d +
/// momentum·buffer : buffer). Without momentum `buffer` may be nullptr. Sutskever et al. 2013.
void sgd_step(Real* p, const Real* g, Real* buffer, std::int64_t n, const SgdStep& step);

struct AdamStep {
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  std::int64_t t = 1;  // 1 at the first step
  bool decoupled =
      false;  // AdamW: p shrinks by lr·weight_decay; else weight_decay·p is added to the gradient
};
/// m = β₁·m + (1 − β₁)·g; v = β₂·v + (1 − β₂)·g²; p −= lr/(1 − β₁ᵗ)·m/(√v/√(1 − β₂ᵗ) + eps). With
/// AMSGrad, largest is the running maximum of v and takes its place under the root; otherwise
/// nullptr. Kingma & Ba 2015, Reddi et al. 2018, Loshchilov & Hutter 2019.
void adam_step(Real* p, const Real* g, Real* m, Real* v, Real* largest, std::int64_t n,
               const AdamStep& step);

struct RmspropStep {
  double lr = 0, alpha = 0, eps = 0, weight_decay = 0, momentum = 0;
};
/// v = α·v + (1 − α)·g²; d = g/(√(v − mean²) + eps), where mean = α·mean + (1 − α)·g if centered,
/// else nullptr (0); buffer = momentum·buffer + d if there is momentum, else nullptr; p −=
/// lr·(buffer or d). Tieleman & Hinton 2012.
void rmsprop_step(Real* p, const Real* g, Real* v, Real* mean, Real* buffer, std::int64_t n,
                  const RmspropStep& step);

struct AdagradStep {
  double lr = 0, lr_decay = 0, eps = 0, weight_decay = 0;
  std::int64_t t = 1;  // 1 at the first step
};
/// s += g²; p −= lr/(1 + (t − 1)·lr_decay)·g/(√s + eps). Duchi et al. 2011.
void adagrad_step(Real* p, const Real* g, Real* s, std::int64_t n, const AdagradStep& step);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_OPTIMIZER_H_
