#include "layers/linear.h"

#include <cmath>

#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"

namespace tapestry::nn {

Linear::Linear(std::int64_t in, std::int64_t out, const LinearOptions& options)
    : in_(in), out_(out) {
  if (in < 1 || out < 1)
    throw Error("Linear", "needs at least one input and one output, got {} and {}", in, out);
  const Real bound = 1 / std::sqrt(static_cast<Real>(in));
  weight_ = parameter("weight", {out, in}, Start::uniform(-bound, bound));
  if (options.bias) bias_ = parameter("bias", {out}, Start::uniform(-bound, bound));
}

std::string Linear::describe() const {
  return format("Linear({}, {}{})", in_, out_, bias_.defined() ? "" : ", no bias");
}

Cost Linear::cost(const Shape&, const Shape& output) const { return {output.size() * in_, ""}; }

Tensor Linear::forward(const Tensor& x) { return linear(x, weight_, bias_); }

Embedding::Embedding(std::int64_t count, std::int64_t width, const EmbeddingOptions& options)
    : options_(options) {
  if (count < 1 || width < 1)
    throw Error("Embedding", "needs at least one row and one column, got {} and {}", count, width);
  weight_ = parameter("weight", {count, width}, Start::normal(0, 1));
}

std::string Embedding::describe() const {
  return format(
      "Embedding({}, {}{})", weight_.dim(0), weight_.dim(1),
      options_.padding_index ? format(", padding index {}", *options_.padding_index) : "");
}

Tensor Embedding::operator()(std::span<const std::int32_t> tokens) {
  const Context context(local_name(), kind());
  require_values();
  const Tensor rows = gather_rows(weight_, tokens);
  if (!options_.padding_index) return rows;
  // The padding row is read as a constant: its value comes back, its gradient does not.
  Tensor padding = Tensor::zeros({rows.dim(0), 1});
  for (std::size_t i = 0; i < tokens.size(); ++i)
    padding.mutable_data()[i] = tokens[i] == *options_.padding_index;
  return where(padding, rows.detach(), rows);
}

}  // namespace tapestry::nn
