// Layers that are matrix products: Linear and Embedding.
#ifndef TAPESTRY_LAYERS_LINEAR_H_
#define TAPESTRY_LAYERS_LINEAR_H_

#include <optional>
#include <span>

#include "layers/module.h"

namespace tapestry::nn {

struct LinearOptions {
  bool bias = true;
};

/// y = x·Wᵀ + b.
/// Shapes: (…, in) → (…, out). State: weight (out, in), bias (out). Start: U(±1/√in), as PyTorch.
class Linear final : public UnaryModule {
 public:
  Linear(std::int64_t in, std::int64_t out, const LinearOptions& options = {});
  std::string_view kind() const override { return "Linear"; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t in_, out_;
  Tensor weight_, bias_;
};

struct EmbeddingOptions {
  std::optional<std::int32_t> padding_index = {};  // this row's gradient is zero
};

/// A row of numbers for each token. Shapes: n tokens → (n, width). State: weight (count, width).
/// Start: N(0, 1).
class Embedding final : public Module {
 public:
  Embedding(std::int64_t count, std::int64_t width, const EmbeddingOptions& options = {});
  std::string_view kind() const override { return "Embedding"; }
  std::string describe() const override;
  Tensor operator()(std::span<const std::int32_t> tokens);

 private:
  EmbeddingOptions options_;
  Tensor weight_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_LINEAR_H_
