// Ops that move numbers, pooling and resampling.
#include "core/ops/movement.h"

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/index.h"
#include "core/ops/pad.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

/// An attribute "then" names what is done to the result, so that moving has a second derivative.
Tensor then(const Call& c, const Tensor& y) {
  const std::string what = c.text("then", "");
  if (what.empty()) return y;
  if (what == "square") return square(y);
  c.unknown("then");
}

std::vector<Tensor> parts(const Call& c) {
  std::vector<Tensor> all;
  for (Named<Tensor>& input : c.inputs()) all.push_back(std::move(input.value));
  return all;
}

Result reshaped(const Call& c) {
  const std::vector<int> order = c.integers("permute");
  return then(c,
              reshape(order.empty() ? c("x", 0) : permute(c("x", 0), order), c.extents("shape")));
}

Result sliced(const Call& c) {
  Range range{.step = c.integer("step", 1)};
  if (c.attribute("start") != nullptr) range.start = c.integer("start");
  if (c.attribute("end") != nullptr) range.end = c.integer("end");
  return slice(c("x", 0), c.integer("dim", 0), range);
}

Result cut(const Call& c) {
  Result result;
  const std::vector<Tensor> pieces = split(c("x", 0), c.extents("sizes"), c.integer("dim", 0));
  for (std::size_t i = 0; i < pieces.size(); ++i) result.add(format("y{}", i), pieces[i]);
  return result;
}

/// The attribute lists the last axis first: left, right, top, bottom.
Result padded(const Call& c) {
  const std::vector<std::int64_t> flat = c.extents("pad");
  std::vector<Padding> pads;
  for (std::size_t i = flat.size(); i >= 2; i -= 2) pads.push_back({flat[i - 2], flat[i - 1]});
  return pad(c("x", 0), pads, pad_mode(c.text("mode", "constant")), c.real("value", 0));
}

Result embedded(const Call& c) {
  const Tensor& weight = c("weight", 0);
  const Tensor& index = c("index", 1);
  Tensor rows = gather_rows(weight, c.indices("index", 1));
  if (c.attribute("padding_idx") != nullptr) {
    // The padding row is read but not trained: everywhere else the gradient passes.
    Tensor trained = Tensor::ones({index.size(), 1});
    const std::int64_t padding = c.integer("padding_idx");
    for (std::int64_t i = 0; i < index.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (static_cast<std::int64_t>(index.data()[at]) == padding) trained.mutable_data()[at] = 0;
    }
    rows = where(trained, rows, rows.detach());
  }
  std::vector<std::int64_t> shape = index.shape().extents();
  shape.push_back(weight.dim(-1));
  return then(c, reshape(rows, shape));
}

PoolGeometry window(const Call& c) {
  const Pair kernel = c.pair("kernel", 1);
  return {.kernel = kernel,
          .stride = c.pair("stride", kernel),
          .padding = c.pair("padding", 0),
          .dilation = c.pair("dilation", 1),
          .ceil_mode = c.flag("ceil_mode", false)};
}

}  // namespace

void add_movement(Table& table) {
  table["reshape"] = reshaped;
  table["permute"] = [](const Call& c) { return then(c, permute(c("x", 0), c.integers("dims"))); };
  table["slice"] = sliced;
  table["split"] = cut;
  table["cat"] = [](const Call& c) { return then(c, concat(parts(c), c.integer("dim", 0))); };
  table["stack"] = [](const Call& c) { return then(c, stack(parts(c), c.integer("dim", 0))); };
  table["flip"] = [](const Call& c) { return flip(c("x", 0), c.integers("dims")); };
  table["repeat"] = [](const Call& c) { return repeat(c("x", 0), c.extents("repeats")); };
  table["expand"] = [](const Call& c) {
    return broadcast_to(c("x", 0), Shape(c.extents("shape")));
  };
  table["tril"] = [](const Call& c) { return tril(c("x", 0), c.integer("diagonal", 0)); };
  table["triu"] = [](const Call& c) { return triu(c("x", 0), c.integer("diagonal", 0)); };
  table["pad"] = padded;
  table["pixel_shuffle"] = [](const Call& c) {
    return pixel_shuffle(c("x", 0), c.integer("upscale_factor"));
  };
  table["pixel_unshuffle"] = [](const Call& c) {
    return pixel_unshuffle(c("x", 0), c.integer("downscale_factor"));
  };

  table["embedding"] = embedded;
  table["index_select"] = [](const Call& c) {
    return then(c, index_select(c("x", 0), c.integer("dim", 0), c.indices("index", 1)));
  };
  table["gather"] = [](const Call& c) {
    return then(
        c, gather(c("x", 0), c.integer("dim", 0), c.indices("index", 1), c("index", 1).shape()));
  };

  table["max_pool2d"] = [](const Call& c) { return max_pool2d(c("x", 0), window(c)); };
  table["avg_pool2d"] = [](const Call& c) {
    return avg_pool2d(c("x", 0), window(c), c.flag("count_include_pad", true));
  };
  table["adaptive_avg_pool2d"] = [](const Call& c) {
    return adaptive_avg_pool2d(c("x", 0), c.pair("output_size", 1));
  };
  table["adaptive_max_pool2d"] = [](const Call& c) {
    return adaptive_max_pool2d(c("x", 0), c.pair("output_size", 1));
  };
  table["upsample"] = [](const Call& c) {
    return upsample(c("x", 0), c.pair("size", 1), resample_mode(c.text("mode", "nearest")),
                    c.flag("align_corners", false));
  };
}

}  // namespace tapestry::conformance
