#include "layers/loss.h"

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"

namespace tapestry::nn {

Reduction reduction(std::string_view name) {
  if (name == "none") return Reduction::kNone;
  if (name == "mean") return Reduction::kMean;
  if (name == "sum") return Reduction::kSum;
  throw Error("loss", "there is no reduction \"{}\"", name).hint("use none, mean or sum");
}

Tensor reduce(const Tensor& losses, Reduction how) {
  return how == Reduction::kNone ? losses : how == Reduction::kMean ? mean(losses) : sum(losses);
}

namespace {

void check_same(std::string_view loss, const Tensor& x, const Tensor& target) {
  if (!(x.shape() == target.shape())) {
    throw Error(loss, "input and target must have one shape")
        .shape("input", x)
        .shape("target", target)
        .hint("broadcasting a loss is almost always a mistake; reshape one of them");
  }
}

void check_delta(std::string_view loss, std::string_view name, Real value) {
  if (!(value > 0)) {
    throw Error(loss, "{} must be above 0, got {}", name, value)
        .hint("it is the error at which the parabola turns into a line");
  }
}

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction how) {
  check_same("mse_loss", x, target);
  return reduce(square(x - target), how);
}

Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction how) {
  check_same("l1_loss", x, target);
  return reduce(abs(x - target), how);
}

Tensor huber_loss(const Tensor& x, const Tensor& target, Real delta, Reduction how) {
  check_same("huber_loss", x, target);
  check_delta("huber_loss", "delta", delta);
  const Tensor d = x - target;
  // c = d clipped to ±delta: c²/2 + delta·(|d| − |c|) is both branches in one formula.
  const Tensor c = clamp(d, -delta, delta);
  return reduce(square(c) * Real(0.5) + (abs(d) - abs(c)) * delta, how);
}

Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, Real beta, Reduction how) {
  check_same("smooth_l1_loss", x, target);
  if (beta == 0) return l1_loss(x, target, how);
  check_delta("smooth_l1_loss", "beta", beta);
  return huber_loss(x, target, beta, how) * (1 / beta);
}

// Classification
// -------------------------------------------------------------------------------------------------------

namespace {

/// Classes to the last axis, all else one row per label: (N, classes, …) → (rows, classes).
Tensor class_rows(std::string_view loss, const Tensor& x) {
  if (x.rank() < 1) throw Error(loss, "needs one score per class").shape("input", x);
  if (x.rank() == 1) return unsqueeze(x, {0});
  if (x.rank() == 2) return x;
  std::vector<int> order{0};
  for (int axis = 2; axis < x.rank(); ++axis) order.push_back(axis);
  order.push_back(1);
  return reshape(permute(x, order), std::vector<std::int64_t>{-1, x.dim(1)});
}

/// The weight of each row: 0 where ignored, else its class's. Throws for labels outside the
/// classes.
Tensor row_weights(std::string_view loss, std::span<const std::int32_t> labels,
                   std::int64_t classes, const CrossEntropyOptions& options) {
  if (options.class_weight.defined() && !(options.class_weight.shape() == Shape{classes})) {
    throw Error(loss, "needs one weight for each of {} classes", classes)
        .shape("class_weight", options.class_weight);
  }
  Tensor weights = Tensor::empty({static_cast<std::int64_t>(labels.size())});
  std::span<Real> to = weights.mutable_data();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == options.ignore_index) {
      to[i] = 0;
    } else if (labels[i] < 0 || labels[i] >= classes) {
      throw Error(loss, "label {} of example {} is outside 0 … {}", labels[i], i, classes - 1)
          .hint("labels start at 0; is the last layer wide enough?");
    } else {
      to[i] = options.class_weight.defined()
                  ? options.class_weight.data()[static_cast<std::size_t>(labels[i])]
                  : 1;
    }
  }
  return weights;
}

/// One number per row picked by label; ignored rows pick class 0 and get weight 0.
Tensor pick(const Tensor& rows, std::span<const std::int32_t> labels, std::int32_t ignore) {
  Indices index(labels.begin(), labels.end());
  for (std::int32_t& label : index) label = label == ignore ? 0 : label;
  const std::int64_t n = static_cast<std::int64_t>(labels.size());
  return reshape(gather(rows, 1, index, {n, 1}), Shape{n});
}

Tensor finish(const Tensor& losses, const Tensor& weights, const Tensor& input, Reduction how) {
  if (how == Reduction::kSum) return sum(losses);
  if (how == Reduction::kMean) return sum(losses) / sum(weights);
  if (input.rank() <= 2) return input.rank() == 1 ? reshape(losses, Shape{}) : losses;
  std::vector<std::int64_t> extents = input.shape().extents();
  extents.erase(extents.begin() + 1);
  return reshape(losses, Shape(extents));
}

void check_labels(std::string_view loss, const Tensor& rows, std::span<const std::int32_t> labels,
                  const Tensor& input) {
  if (rows.dim(0) != static_cast<std::int64_t>(labels.size())) {
    throw Error(loss, "{} labels for {} rows of scores", labels.size(), rows.dim(0))
        .shape("input", input, "(N, classes, …)");
  }
}

void check_smoothing(const CrossEntropyOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1)) {
    throw Error("cross_entropy", "label_smoothing must be at least 0 and below 1, got {}",
                options.label_smoothing);
  }
}

}  // namespace

Tensor nll_loss(const Tensor& log_probabilities, std::span<const std::int32_t> labels,
                const CrossEntropyOptions& options) {
  const Tensor rows = class_rows("nll_loss", log_probabilities);
  check_labels("nll_loss", rows, labels, log_probabilities);
  const Tensor weights = row_weights("nll_loss", labels, rows.dim(1), options);
  return finish(-(pick(rows, labels, options.ignore_index) * weights), weights, log_probabilities,
                options.reduction);
}

Tensor cross_entropy(const Tensor& logits, std::span<const std::int32_t> labels,
                     const CrossEntropyOptions& options) {
  check_smoothing(options);
  const Tensor rows = class_rows("cross_entropy", logits);
  check_labels("cross_entropy", rows, labels, logits);
  const Tensor weights = row_weights("cross_entropy", labels, rows.dim(1), options);
  const Tensor log_p = log_softmax(rows, 1);
  Tensor losses = -(pick(log_p, labels, options.ignore_index) * weights);
  if (options.label_smoothing > 0) {
    // The even share: each class's −log p counts with its own weight.
    const Tensor per_class = options.class_weight.defined() ? log_p * options.class_weight : log_p;
    Tensor kept = Tensor::empty(weights.shape());
    for (std::size_t i = 0; i < labels.size(); ++i)
      kept.mutable_data()[i] = labels[i] == options.ignore_index ? 0 : 1;
    const Tensor even = -(sum(per_class, {1}) * kept) * (1 / static_cast<Real>(rows.dim(1)));
    losses = losses * (1 - options.label_smoothing) + even * options.label_smoothing;
  }
  return finish(losses, weights, logits, options.reduction);
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target,
                     const CrossEntropyOptions& options) {
  check_smoothing(options);
  check_same("cross_entropy", logits, target);
  const Tensor rows = class_rows("cross_entropy", logits);
  Tensor goal = class_rows("cross_entropy", target);
  const Real classes = static_cast<Real>(rows.dim(1));
  if (options.label_smoothing > 0)
    goal = goal * (1 - options.label_smoothing) + options.label_smoothing / classes;
  if (options.class_weight.defined()) goal = goal * options.class_weight;
  const Tensor losses = -sum(log_softmax(rows, 1) * goal, {1});
  // PyTorch's mean over probabilities divides by the batch, not by weights.
  return finish(losses, Tensor::ones(losses.shape()), logits, options.reduction);
}

Tensor bce_with_logits(const Tensor& logits, const Tensor& target, const BceOptions& options) {
  check_same("bce_with_logits", logits, target);
  // softplus(−x) = max(−x, 0) + log(1 + e^−|x|), without a threshold that would cut the last
  // digits.
  const Tensor positive = log_sigmoid(logits) * Real(-1);
  Tensor losses = (1 - target) * logits;
  if (options.pos_weight.defined()) {
    losses = losses + ((options.pos_weight - 1) * target + 1) * positive;
  } else {
    losses = losses + positive;
  }
  if (options.weight.defined()) losses = losses * options.weight;
  return reduce(losses, options.reduction);
}

Tensor bce_with_logits(const Tensor& logits, Real target) {
  return bce_with_logits(logits, Tensor::full(logits.shape(), target));
}

Tensor kl_div_batchmean(const Tensor& log_probabilities, const Tensor& target) {
  check_same("kl_div_batchmean", log_probabilities, target);
  Tensor positive = Tensor::empty(target.shape());
  std::span<Real> mask = positive.mutable_data();
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = target.data()[i] > 0;
  const Tensor safe_log = log(where(positive, target, Tensor::ones(target.shape())));
  return sum(target * (safe_log - log_probabilities)) * (1 / static_cast<Real>(target.dim(0)));
}

// Adversarial
// ----------------------------------------------------------------------------------------------------------

GanLoss nonsaturating(Real smoothing) {
  if (!(smoothing >= 0 && smoothing < 1))
    throw Error("nonsaturating", "smoothing must be at least 0 and below 1, got {}", smoothing);
  return {[smoothing](const Tensor& real, const Tensor& fake) {
            return bce_with_logits(real, 1 - smoothing) + bce_with_logits(fake, Real(0));
          },
          [](const Tensor& fake) { return bce_with_logits(fake, Real(1)); }};
}

GanLoss least_squares() {
  return {[](const Tensor& real, const Tensor& fake) {
            return (mean(square(real - 1)) + mean(square(fake))) * Real(0.5);
          },
          [](const Tensor& fake) { return mean(square(fake - 1)) * Real(0.5); }};
}

GanLoss hinge() {
  return {[](const Tensor& real, const Tensor& fake) {
            return mean(relu(1 - real)) + mean(relu(1 + fake));
          },
          [](const Tensor& fake) { return -mean(fake); }};
}

GanLoss wasserstein() {
  return {[](const Tensor& real, const Tensor& fake) { return mean(fake) - mean(real); },
          [](const Tensor& fake) { return -mean(fake); }};
}

GanLoss gan_loss(std::string_view name, Real smoothing) {
  if (name == "nonsaturating") return nonsaturating(smoothing);
  if (name == "least_squares") return least_squares();
  if (name == "hinge") return hinge();
  if (name == "wasserstein") return wasserstein();
  throw Error("gan_loss", "there is no loss \"{}\"", name)
      .hint("use nonsaturating, least_squares, hinge or wasserstein");
}

namespace {

/// Σ over each sample of the squared gradient of the critic's outputs with respect to its input:
/// (N).
Tensor squared_slopes(std::string_view what, const Critic& critic, const Tensor& x) {
  Tape* tape = Tape::recording();
  if (tape == nullptr)
    throw Error(
        what, "needs a Tape that records: the penalty is a gradient that is differentiated again");
  const Tensor watched = tape->watch(x.detach());
  const Tensor slope = tape->gradient(sum(critic(watched)), {watched}, {.create_graph = true})[0];
  return sum(square(flatten(slope)), {1});
}

}  // namespace

Tensor gradient_penalty(const Critic& critic, const Tensor& real, const Tensor& fake, Rng& rng) {
  if (!(real.shape() == fake.shape()))
    throw Error("gradient_penalty", "needs as many real samples as fakes")
        .shape("real", real)
        .shape("fake", fake);
  std::vector<std::int64_t> one_each(static_cast<std::size_t>(real.rank()), 1);
  one_each[0] = real.dim(0);
  const Tensor u = rng.uniform(Shape(one_each));
  Tensor mixed;
  {
    const PauseRecording pause;
    mixed = u * real + (1 - u) * fake;
  }
  const Tensor length = sqrt(squared_slopes("gradient_penalty", critic, mixed) + Real(1e-12));
  return mean(square(length - 1));
}

Tensor r1_penalty(const Critic& critic, const Tensor& real) {
  return mean(squared_slopes("r1_penalty", critic, real)) * Real(0.5);
}

}  // namespace tapestry::nn
