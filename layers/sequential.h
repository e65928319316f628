// Layers in a row, layers around a shortcut, and layers that only reshape.
#ifndef TAPESTRY_LAYERS_SEQUENTIAL_H_
#define TAPESTRY_LAYERS_SEQUENTIAL_H_

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/ops/movement.h"
#include "core/ops/pad.h"
#include "core/ops/pool.h"
#include "layers/activation.h"
#include "layers/module.h"

namespace tapestry::nn {

/// Feeds each layer's output to the next. Children are called "0", "1", … unless given names.
///
///     Sequential net{Linear(784, 64), ReLU(), Linear(64, 10)};
///
/// A Sequential with one Sequential inside must be written with add(): braces around a single one
/// move it instead of nesting.
class Sequential : public UnaryModule {
 public:
  Sequential() = default;
  template <class... Layers,
            class = std::enable_if_t<(std::is_base_of_v<UnaryModule, std::remove_cvref_t<Layers>> &&
                                      ...)>>
  explicit Sequential(Layers... layers) {
    (add(std::move(layers)), ...);
  }
  /// Appends a layer; returns it.
  template <class M>
  Child<M> add(M layer, std::string name = "") {
    return add_shared(std::make_shared<M>(std::move(layer)), std::move(name));
  }
  template <class M>
  Child<M> add_shared(std::shared_ptr<M> layer, std::string name = "") {
    if (name.empty()) name = std::to_string(layers_.size());
    const Child<M> added = adopt<M>(std::move(name), layer);
    layers_.push_back(std::move(layer));
    return added;
  }
  std::size_t size() const { return layers_.size(); }
  std::string_view kind() const override { return "Sequential"; }
  /// Runs the layers [first, last) only.
  Tensor run(const Tensor& x, std::size_t first, std::size_t last);

 protected:
  Tensor forward(const Tensor& x) override { return run(x, 0, layers_.size()); }

 private:
  std::vector<std::shared_ptr<UnaryModule>> layers_;
};

/// x + body(x); where the shapes differ, shortcut(x) + body(x). He et al. 2016.
class Residual final : public UnaryModule {
 public:
  explicit Residual(std::shared_ptr<UnaryModule> body,
                    std::shared_ptr<UnaryModule> shortcut = nullptr);
  std::string_view kind() const override { return "Residual"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  Child<UnaryModule> body_, shortcut_;
};

/// (N, …) → (N, all the rest).
Lambda Flatten();
/// (N, …) → (N, extents…).
Lambda Unflatten(std::vector<std::int64_t> extents);
Lambda MaxPool2d(const PoolGeometry& geometry);
Lambda AvgPool2d(const PoolGeometry& geometry, bool count_include_pad = true);
/// (N, C, H, W) → (N, C)
Lambda GlobalAvgPool2d();
struct UpsampleOptions {
  int factor = 2;
  Resample mode = Resample::kNearest;
  bool align_corners = false;
};
Lambda Upsample(const UpsampleOptions& options = {});
Lambda PixelShuffle(int factor);
/// The same border on all four sides.
Lambda Pad2d(int border, PadMode mode);

struct DropoutOptions {
  Real probability = Real(0.5);
};
/// In training sets each number to 0 with the given probability and divides the others by 1 −
/// probability; nothing in evaluation. Srivastava et al. 2014. State: drawn (), the position of its
/// random stream, so that a resumed run draws what an uninterrupted one would.
class Dropout final : public UnaryModule {
 public:
  Dropout(const DropoutOptions& options, const Rng& rng);
  std::string_view kind() const override { return "Dropout"; }
  std::string describe() const override;

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  DropoutOptions options_;
  Rng rng_;
  Tensor drawn_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_SEQUENTIAL_H_
