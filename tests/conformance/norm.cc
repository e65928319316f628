// Batch, layer, group and instance normalization and their relatives, and reparametrized weights.
#include <vector>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/conformance/spectral.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Real eps(const Call& c) { return c.real("eps", 1e-5); }

NormAffine affine(const Call& c, const NormSet& set) {
  return {c.optional("weight"), c.optional("bias"), set};
}

Result group_norm(const Call& c) {
  const Shape& shape = c("x", 0).shape();
  return normalize(c("x", 0), per_group(shape, c.integer("num_groups")),
                   {.eps = eps(c), .affine = affine(c, per_channel(shape))});
}

/// The number of trailing axes that attrs.normalized_shape names.
int trailing_axes(const Call& c) {
  const Tensor& x = c("x", 0);
  const std::vector<std::int64_t> size = c.extents("normalized_shape");
  const std::vector<std::int64_t> have = x.shape().extents();
  if (size.empty() || size.size() > have.size() ||
      !std::equal(size.rbegin(), size.rend(), have.rbegin())) {
    throw Error(c.op(), "normalized_shape {} does not match the last axes of the input",
                Shape(size))
        .shape("input", x);
  }
  return static_cast<int>(size.size());
}

Result layer_norm(const Call& c) {
  const Tensor& x = c("x", 0);
  const int axes = trailing_axes(c);
  return normalize(
      x, per_row(x.shape(), axes),
      {.eps = eps(c), .affine = affine(c, per_position(x.shape(), axes)), .allow_single = true});
}

Result rms_norm(const Call& c) {
  const Tensor& x = c("x", 0);
  const int axes = trailing_axes(c);
  return root_mean_square_normalize(
      x, per_row(x.shape(), axes),
      {.eps = c.real("eps", 1e-6), .affine = affine(c, per_position(x.shape(), axes))});
}

Result pixel_norm(const Call& c) {
  const Tensor& x = c("x", 0);
  return x * rsqrt(mean(square(x), {1}, {.keepdim = true}) + c.real("eps", 1e-8));
}

Result spectral_norm(const Call& c) {
  const bool train = c.text("mode", "train") != "eval";
  const SpectralWeight made =
      spectral_weight(c("weight", 0), c("u", 1), c("v", 2),
                      {.dim = c.integer("dim", 0),
                       .steps = train ? c.integer("n_power_iterations", 1) : 0,
                       .eps = c.number("eps", 1e-12)});
  Result result(made.weight);
  result.add("aux.u", made.u);
  result.add("aux.v", made.v);
  result.add("aux.sigma", made.sigma);
  return result;
}

Result weight_norm(const Call& c) {
  const Tensor& v = c("v", 1);
  Axes rest;
  for (int axis = 0; axis < v.rank(); ++axis) {
    if (axis != v.shape().axis_index(c.integer("dim", 0))) rest.push_back(axis);
  }
  const Tensor weight = c("g", 2) * v / norm(v, rest, {.keepdim = true});
  const std::string layer = c.text("layer", "linear");
  if (layer == "linear") return linear(c("x", 0), weight);
  if (layer == "conv2d padding 1") return conv2d(c("x", 0), weight, {}, {.padding = 1});
  c.unknown("layer");
}

Result weight_standardization(const Call& c) {
  const Tensor& weight = c("weight", 1);
  const Tensor standard = normalize(weight, per_row(weight.shape(), weight.rank() - 1),
                                    {.eps = eps(c), .allow_single = true});
  return conv2d(c("x", 0), standard, c.optional("bias"),
                {.stride = c.pair("stride", 1),
                 .padding = c.pair("padding", 0),
                 .groups = c.integer("groups", 1)});
}

}  // namespace

void add_norms(Table& table) {
  table["group_norm"] = group_norm;
  table["layer_norm"] = layer_norm;
  table["rms_norm"] = rms_norm;
  table["pixel_norm"] = pixel_norm;
  table["spectral_norm"] = spectral_norm;
  table["weight_norm"] = weight_norm;
  table["weight_standardization"] = weight_standardization;
}

}  // namespace tapestry::conformance
