// Losses: what training makes small. All return a scalar unless the reduction is kNone.
#ifndef TAPESTRY_LAYERS_LOSS_H_
#define TAPESTRY_LAYERS_LOSS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "core/random.h"
#include "core/tape.h"
#include "core/tensor.h"

namespace tapestry::nn {

enum class Reduction { kNone, kMean, kSum };
/// "none", "mean", "sum"; throws Error with the list for anything else.
Reduction reduction(std::string_view name);
Tensor reduce(const Tensor& losses, Reduction reduction);

// Regression
// -----------------------------------------------------------------------------------------------------------

/// (x − target)²
Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::kMean);
/// |x − target|
Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::kMean);
/// With d = |x − target|: d²/2 below delta, delta·(d − delta/2) above. Huber 1964.
Tensor huber_loss(const Tensor& x, const Tensor& target, Real delta = 1,
                  Reduction reduction = Reduction::kMean);
/// huber_loss(…, beta)/beta; beta = 0 is l1_loss.
Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, Real beta = 1,
                      Reduction reduction = Reduction::kMean);

// Classification
// -------------------------------------------------------------------------------------------------------

struct CrossEntropyOptions {
  Tensor class_weight = {};          // (classes); the mean divides by the sum of the weights used
  std::int32_t ignore_index = -100;  // examples with this label count nothing
  Real label_smoothing = 0;  // share of the target spread evenly over all classes, 0 ≤ … < 1
  Reduction reduction = Reduction::kMean;
};
/// −log softmax(logits)[label]. Shapes: logits (N, classes) or (N, classes, …), one label per
/// example or position.
Tensor cross_entropy(const Tensor& logits, std::span<const std::int32_t> labels,
                     const CrossEntropyOptions& options = {});
/// Against probabilities of the same shape as logits: −Σ target·log softmax(logits).
Tensor cross_entropy(const Tensor& logits, const Tensor& target,
                     const CrossEntropyOptions& options = {});
/// −log_probabilities[label], with class weights and ignore_index; label_smoothing does not apply.
Tensor nll_loss(const Tensor& log_probabilities, std::span<const std::int32_t> labels,
                const CrossEntropyOptions& options = {});

struct BceOptions {
  Tensor weight = {};      // multiplies each loss; broadcast
  Tensor pos_weight = {};  // multiplies the positive term; broadcast
  Reduction reduction = Reduction::kMean;
};
/// Binary cross-entropy of logits: (1 − t)·x + (1 + (w − 1)·t)·softplus(−x), computed without
/// overflow.
Tensor bce_with_logits(const Tensor& logits, const Tensor& target, const BceOptions& options = {});
/// The same target, 0 or 1 or a smoothed one, for all.
Tensor bce_with_logits(const Tensor& logits, Real target);
/// Σ target·(log target − x) over log-probabilities x; divided by the batch size. 0·log 0 counts 0.
Tensor kl_div_batchmean(const Tensor& log_probabilities, const Tensor& target);

// Adversarial
// ----------------------------------------------------------------------------------------------------------

/// A GAN's game as two functions of the discriminator's outputs. A new game is a new value of this
/// struct.
struct GanLoss {
  std::function<Tensor(const Tensor& real, const Tensor& fake)> discriminator;
  std::function<Tensor(const Tensor& fake)> generator;
};
/// D: softplus(−real) + softplus(fake). G: softplus(−fake). Goodfellow et al. 2014. `smoothing`
/// lowers the target of real samples from 1 to 1 − smoothing.
GanLoss nonsaturating(Real smoothing = 0);
/// D: ½(real − 1)² + ½fake². G: ½(fake − 1)². Mao et al. 2017.
GanLoss least_squares();
/// D: relu(1 − real) + relu(1 + fake). G: −fake. Lim & Ye 2017.
GanLoss hinge();
/// D: fake − real. G: −fake. Arjovsky et al. 2017; needs a penalty or clipping.
GanLoss wasserstein();
/// "nonsaturating", "least_squares", "hinge", "wasserstein"; throws Error with the list for
/// anything else.
GanLoss gan_loss(std::string_view name, Real smoothing = 0);

using Critic = std::function<Tensor(const Tensor&)>;
/// mean over samples of (‖∂D/∂x̂‖₂ − 1)² at x̂ = u·real + (1 − u)·fake, u ~ U(0, 1) one per sample;
/// ready to be differentiated with respect to D's weights.
///
/// The norm is √(Σ² + 1e-12), so that a zero gradient has a finite derivative. Gulrajani et al.
/// 2017. With BatchNorm in D the gradient of one sample's output depends on the others, and the
/// penalty is not what its authors mean. Throws Error when no tape is recording.
Tensor gradient_penalty(const Critic& critic, const Tensor& real, const Tensor& fake, Rng& rng);
/// ½·mean over real samples of ‖∂D/∂x‖². Multiply by γ. Mescheder et al. 2018.
Tensor r1_penalty(const Critic& critic, const Tensor& real);

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_LOSS_H_
