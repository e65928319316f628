// Losses.
#include "layers/loss.h"

#include <map>
#include <string>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

nn::Reduction reduction(const Call& c) { return nn::reduction(c.text("reduction", "mean")); }

Result cross_entropy(const Call& c) {
  nn::CrossEntropyOptions options{.ignore_index = c.integer("ignore_index", -100),
                                  .label_smoothing = c.real("label_smoothing", 0),
                                  .reduction = reduction(c)};
  if (c.flag("class_weight", c.has("weight"))) options.class_weight = c("weight", 2);
  if (c.text("target", "") == "probabilities") {
    return nn::cross_entropy(c("x", 0), c("target", 1), options);
  }
  const Indices labels = c.indices("target", 1);
  if (c.op() == "nll_loss") return nn::nll_loss(c("x", 0), labels, options);
  return nn::cross_entropy(c("x", 0), labels, options);
}

Result bce_with_logits(const Call& c) {
  nn::BceOptions options{.reduction = reduction(c)};
  if (c.flag("pos_weight", c.has("pos_weight"))) options.pos_weight = c("pos_weight", 2);
  if (c.flag("weight", c.has("weight"))) {
    options.weight = c("weight", options.pos_weight.defined() ? 3 : 2);
  }
  return nn::bce_with_logits(c("x", 0), c("target", 1), options);
}

Result kl_div(const Call& c) {
  const Tensor& x = c("x", 0);
  const Tensor loss = nn::kl_div_batchmean(x, c("target", 1));
  const std::string kind = c.text("reduction", "batchmean");
  if (kind == "batchmean") return loss;
  const Real total = static_cast<Real>(x.dim(0));
  if (kind == "sum") return loss * total;
  if (kind == "mean") return loss * (total / static_cast<Real>(x.size()));
  c.unknown("reduction");
}

/// The game is given as a formula; each is one of ours.
Result gan_loss(const Call& c) {
  static const std::map<std::string, std::string> discriminators = {
      {"0.5*mean((real-1)^2)+0.5*mean(fake^2)", "least_squares"},
      {"mean(fake)-mean(real)", "wasserstein"},
      {"mean(relu(1-real))+mean(relu(1+fake))", "hinge"},
      {"mean(softplus(-real))+mean(softplus(fake))", "nonsaturating"}};
  static const std::map<std::string, std::string> generators = {
      {"0.5*mean((fake-1)^2)", "least_squares"},
      {"-mean(fake)", "wasserstein"},
      {"mean(softplus(-fake))", "nonsaturating"}};
  const std::string formula = c.text("formula", "");
  if (const auto found = discriminators.find(formula); found != discriminators.end()) {
    return nn::gan_loss(found->second).discriminator(c("real", 0), c("fake", 1));
  }
  if (const auto found = generators.find(formula); found != generators.end()) {
    return nn::gan_loss(found->second).generator(c["fake"]);
  }
  c.unknown("formula");
}

/// Inner products of channels, divided by C·H·W.
Result gram(const Call& c) {
  const Tensor rows = flatten(c("x", 0), 2);
  return matmul(rows, rows, {.transpose_b = true}) *
         (1 / static_cast<Real>(rows.dim(1) * rows.dim(2)));
}

Tensor steps(const Tensor& x, int axis) {
  return sum(abs(slice(x, axis, {.start = 1}) - slice(x, axis, {.end = -1})));
}

}  // namespace

void add_losses(Table& table) {
  table["mse_loss"] = [](const Call& c) {
    return nn::mse_loss(c("x", 0), c("target", 1), reduction(c));
  };
  table["l1_loss"] = [](const Call& c) {
    return nn::l1_loss(c("x", 0), c("target", 1), reduction(c));
  };
  table["huber"] = [](const Call& c) {
    return nn::huber_loss(c("x", 0), c("target", 1), c.real("delta", 1), reduction(c));
  };
  table["smooth_l1_loss"] = [](const Call& c) {
    return nn::smooth_l1_loss(c("x", 0), c("target", 1), c.real("beta", 1), reduction(c));
  };
  table["cross_entropy"] = cross_entropy;
  table["nll_loss"] = cross_entropy;
  table["bce_with_logits"] = bce_with_logits;
  table["kl_div"] = kl_div;
  table["gan_loss"] = gan_loss;
  table["gram"] = gram;
  table["total_variation"] = [](const Call& c) {
    return steps(c("x", 0), 2) + steps(c("x", 0), 3);
  };
}

}  // namespace tapestry::conformance
