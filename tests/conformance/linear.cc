// Matrix products, convolutions, and weights that are computed from other weights.
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/pad.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Result product(const Call& c) {
  const std::string text = c.text("expr", "");
  return matmul(c("a", 0), c("b", 1),
                {.transpose_a = text.find("a^T") != std::string::npos,
                 .transpose_b = text.find("b^T") != std::string::npos});
}

Result convolution(const Call& c) {
  ConvGeometry geometry{.stride = c.pair("stride", 1),
                        .padding = c.pair("padding", 0),
                        .dilation = c.pair("dilation", 1),
                        .groups = c.integer("groups", 1)};
  Tensor x = c("x", 0);
  const std::string mode = c.text("padding_mode", "zeros");
  if (mode != "zeros") {
    const Pair border = geometry.padding;
    x = pad(x, {{border.h, border.h}, {border.w, border.w}}, pad_mode(mode));
    geometry.padding = 0;
  }
  return conv2d(x, c("weight", 1), c.optional("bias"), geometry);
}

Result transposed_convolution(const Call& c) {
  return conv_transpose2d(c("x", 0), c("weight", 1), c.optional("bias"),
                          {.stride = c.pair("stride", 1),
                           .padding = c.pair("padding", 0),
                           .output_padding = c.pair("output_padding", 0),
                           .dilation = c.pair("dilation", 1),
                           .groups = c.integer("groups", 1)});
}

Result convolution1d(const Call& c) {
  return conv1d(c("x", 0), c("weight", 1), c.optional("bias"),
                {.stride = c.integer("stride", 1),
                 .padding = c.integer("padding", 0),
                 .dilation = c.integer("dilation", 1),
                 .groups = c.integer("groups", 1)});
}

Result attention(const Call& c) {
  const Tensor &q = c("q", 0), &k = c("k", 1), &v = c("v", 2);
  Tensor score = matmul(q, k, {.transpose_b = true}) *
                 static_cast<Real>(1 / std::sqrt(static_cast<double>(q.dim(-1))));
  if (c.flag("causal", false)) {
    const Tensor seen = tril(Tensor::ones(Shape{q.dim(-2), k.dim(-2)}));
    score = where(seen, score, Tensor::scalar(-std::numeric_limits<Real>::infinity()));
  }
  return matmul(softmax(score, -1), v);
}

}  // namespace

void add_linear(Table& table) {
  table["matmul"] = product;
  table["linear"] = [](const Call& c) {
    return linear(c("x", 0), c("weight", 1), c.optional("bias"));
  };
  table["conv2d"] = convolution;
  table["conv_transpose2d"] = transposed_convolution;
  table["conv1d"] = convolution1d;
  table["scaled_dot_product_attention"] = attention;
}

}  // namespace tapestry::conformance
