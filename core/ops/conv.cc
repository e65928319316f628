#include "core/ops/conv.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/kernels/conv.h"
#include "core/ops/movement.h"
#include "core/ops/pad.h"
#include "core/ops/reduce.h"
#include "core/tape.h"

namespace tapestry {
namespace {

constexpr std::string_view kImages = "(N, C, H, W)", kWeight = "(out, in / groups, kH, kW)";

void check_geometry(std::string_view op, const ConvGeometry& geometry) {
  const auto at_least = [&](std::string_view name, Pair value, int least) {
    if (value.h >= least && value.w >= least) return;
    throw Error(op, "the {} must be at least {}, got {} × {}", name, least, value.h, value.w)
        .hint(name == "padding" ? "crop the image with slice() instead" : "1 is the usual value");
  };
  at_least("stride", geometry.stride, 1);
  at_least("padding", geometry.padding, 0);
  at_least("dilation", geometry.dilation, 1);
  if (geometry.groups < 1) {
    throw Error(op, "the number of groups must be at least 1, got {}", geometry.groups)
        .hint("1 mixes all channels, the number of channels keeps each one apart");
  }
}

/// The geometry of y = conv2d(x, weight), all three ways round, after checking that everything
/// fits.
kernels::ConvShape checked(std::string_view op, const Shape& x, const Shape& weight,
                           const ConvGeometry& geometry) {
  check_geometry(op, geometry);
  const auto fail = [&](Error error) {
    return error.shape("input", x, kImages).shape("weight", weight, kWeight);
  };
  if (x.rank() != 4) {
    throw fail(Error(op, "the input needs 4 axes, it has {}", x.rank()))
        .hint(x.rank() == 3 ? "add a batch axis: unsqueeze(x, {{}})"
                            : "reshape the images to (N, C, H, W); {} axes will not do",
              x.rank() == 3 ? 0 : x.rank());
  }
  if (weight.rank() != 4) {
    throw fail(Error(op, "the weight needs 4 axes, it has {}", weight.rank()))
        .hint("reshape it to (out, in / groups, kH, kW)");
  }
  const std::int64_t groups = geometry.groups;
  if (x[1] != weight[1] * groups) {
    throw fail(Error(op, "the weight expects {} input channels, the input has {}",
                     weight[1] * groups, x[1]))
        .hint("build the layer for {} input channels, or convert the images", x[1]);
  }
  if (weight[0] % groups != 0) {
    throw fail(Error(op, "{} output channels cannot be divided among {} groups", weight[0], groups))
        .hint("make the number of output channels a multiple of {}", groups);
  }
  if (weight[2] < 1 || weight[3] < 1)
    throw fail(Error(op, "the kernel is empty")).hint("kernels have at least 1 × 1 taps");
  kernels::ConvShape s;
  s.n = x[0];
  s.channels = x[1];
  s.height = x[2];
  s.width = x[3];
  s.out_channels = weight[0];
  s.kernel_h = weight[2];
  s.kernel_w = weight[3];
  s.stride_h = geometry.stride.h;
  s.stride_w = geometry.stride.w;
  s.padding_h = geometry.padding.h;
  s.padding_w = geometry.padding.w;
  s.dilation_h = geometry.dilation.h;
  s.dilation_w = geometry.dilation.w;
  s.groups = groups;
  if (s.out_h() < 1 || s.out_w() < 1) {
    throw fail(
        Error(op,
              "a kernel that spans {} × {} pixels does not fit into the padded image of {} × {}",
              s.dilation_h * (s.kernel_h - 1) + 1, s.dilation_w * (s.kernel_w - 1) + 1,
              s.height + 2 * s.padding_h, s.width + 2 * s.padding_w))
        .hint("use larger images, more padding, or a smaller kernel");
  }
  return s;
}

Shape output_shape(const kernels::ConvShape& s) {
  return {s.n, s.out_channels, s.out_h(), s.out_w()};
}

void check_upstream(std::string_view op, const kernels::ConvShape& s, const Tensor& g) {
  if (g.shape() == output_shape(s)) return;
  throw Error(op, "the gradient must have the shape of conv2d's result, {}", output_shape(s))
      .shape("gradient", g, "(N, out, oH, oW)")
      .hint("pass the geometry that the forward convolution had");
}

void check_bias(std::string_view op, const Tensor& bias, const Tensor& weight,
                std::int64_t channels) {
  if (!bias.defined() || bias.shape() == Shape{channels}) return;
  throw Error(op, "the bias needs one number for each of {} output channels, it has {}", channels,
              bias.size())
      .shape("bias", bias, "(out)")
      .shape("weight", weight)
      .hint("its shape must be [{}]", channels);
}

const Real* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.data().data() : nullptr;
}

Tensor sum_channels(const Tensor& g) { return sum(g, {0, 2, 3}); }

Tensor record_with_bias(std::string_view op, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, Tensor y, Backward backward) {
  if (!bias.defined()) return record(op, {x, weight}, std::move(y), std::move(backward));
  return record(op, {x, weight, bias}, std::move(y), std::move(backward));
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const ConvGeometry& geometry) {
  const kernels::ConvShape s = checked("conv2d", x.shape(), weight.shape(), geometry);
  check_bias("conv2d", bias, weight, s.out_channels);
  Tensor y = Tensor::empty(output_shape(s));
  kernels::conv_forward(s, data_of(x), data_of(weight), data_of(bias), y.mutable_data().data());
  return record_with_bias(
      "conv2d", x, weight, bias, y,
      [x = saved_for(weight, x), x_shape = x.shape(), weight = Saved(weight), geometry](
          const Tensor& g, const Needs& need) -> Grads {
        return {need[0] ? conv2d_input_grad(g, weight(), x_shape, geometry) : Tensor(),
                need[1] ? conv2d_weight_grad(g, x(), weight.shape(), geometry) : Tensor(),
                need[2] ? sum_channels(g) : Tensor()};
      });
}

Tensor conv2d_input_grad(const Tensor& g, const Tensor& weight, const Shape& input_shape,
                         const ConvGeometry& geometry) {
  const kernels::ConvShape s = checked("conv2d_input_grad", input_shape, weight.shape(), geometry);
  check_upstream("conv2d_input_grad", s, g);
  Tensor dx = Tensor::empty(input_shape);
  kernels::conv_input_grad(s, data_of(g), data_of(weight), nullptr, dx.mutable_data().data());
  return record("conv2d_input_grad", {g, weight}, dx,
                [g = saved_for(weight, g), weight = Saved(weight), geometry](
                    const Tensor& h, const Needs& need) -> Grads {
                  return {
                      need[0] ? conv2d(h, weight(), {}, geometry) : Tensor(),
                      need[1] ? conv2d_weight_grad(g(), h, weight.shape(), geometry) : Tensor()};
                });
}

Tensor conv2d_weight_grad(const Tensor& g, const Tensor& x, const Shape& weight_shape,
                          const ConvGeometry& geometry) {
  const kernels::ConvShape s = checked("conv2d_weight_grad", x.shape(), weight_shape, geometry);
  check_upstream("conv2d_weight_grad", s, g);
  Tensor dw = Tensor::empty(weight_shape);
  kernels::conv_weight_grad(s, data_of(g), data_of(x), dw.mutable_data().data());
  return record(
      "conv2d_weight_grad", {g, x}, dw,
      [g = Saved(g), x = Saved(x), geometry](const Tensor& h, const Needs& need) -> Grads {
        return {need[0] ? conv2d(x(), h, {}, geometry) : Tensor(),
                need[1] ? conv2d_input_grad(g(), h, x.shape(), geometry) : Tensor()};
      });
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTransposeGeometry& geometry) {
  constexpr std::string_view kOp = "conv_transpose2d", kTransposed = "(in, out / groups, kH, kW)";
  const ConvGeometry conv{geometry.stride, geometry.padding, geometry.dilation, geometry.groups};
  check_geometry(kOp, conv);
  const auto fail = [&](Error error) {
    return error.shape("input", x, kImages).shape("weight", weight, kTransposed);
  };
  if (x.rank() != 4 || weight.rank() != 4) {
    throw fail(
        Error(kOp, "input and weight need 4 axes, they have {} and {}", x.rank(), weight.rank()))
        .hint("add missing axes with unsqueeze()");
  }
  if (x.dim(1) != weight.dim(0)) {
    throw fail(Error(kOp, "the weight expects {} input channels, the input has {}", weight.dim(0),
                     x.dim(1)))
        .hint("build the layer for {} input channels", x.dim(1));
  }
  if (weight.dim(0) % geometry.groups != 0) {
    throw fail(Error(kOp, "{} input channels cannot be divided among {} groups", weight.dim(0),
                     geometry.groups))
        .hint("make the number of channels a multiple of {}", geometry.groups);
  }
  const auto check_extra = [&](int extra, int stride, int dilation) {
    if (extra >= 0 && extra < std::max(stride, dilation)) return;
    throw fail(Error(kOp,
                     "the output padding must be from 0 to max(stride, dilation) − 1 = {}, got {}",
                     std::max(stride, dilation) - 1, extra))
        .hint("choose the output size with output_padding, add borders with pad()");
  };
  const Pair stride = geometry.stride, extra = geometry.output_padding,
             dilation = geometry.dilation;
  check_extra(extra.h, stride.h, dilation.h);
  check_extra(extra.w, stride.w, dilation.w);
  // Output padding of a whole stride or more (possible with dilation) is what further input rows of
  // zeros would give.
  if (extra.h >= stride.h || extra.w >= stride.w) {
    ConvTransposeGeometry rest = geometry;
    rest.output_padding = {extra.h % stride.h, extra.w % stride.w};
    return conv_transpose2d(pad(x, {{0, extra.h / stride.h}, {0, extra.w / stride.w}}), weight,
                            bias, rest);
  }
  const auto enlarged = [](std::int64_t in, int step, int padding, int apart, std::int64_t kernel,
                           int more) {
    return (in - 1) * step - 2 * padding + apart * (kernel - 1) + more + 1;
  };
  const std::int64_t height =
      enlarged(x.dim(2), stride.h, conv.padding.h, dilation.h, weight.dim(2), extra.h);
  const std::int64_t width =
      enlarged(x.dim(3), stride.w, conv.padding.w, dilation.w, weight.dim(3), extra.w);
  if (height < 1 || width < 1 || x.dim(2) < 1 || x.dim(3) < 1) {
    throw fail(Error(kOp, "the result would have {} × {} pixels", height, width))
        .hint("use less padding or larger images");
  }
  const std::int64_t channels = weight.dim(1) * geometry.groups;
  check_bias(kOp, bias, weight, channels);
  const Shape shape{x.dim(0), channels, height, width};
  const kernels::ConvShape s = checked(kOp, shape, weight.shape(), conv);
  check_upstream(kOp, s, x);
  Tensor y = Tensor::empty(shape);
  kernels::conv_input_grad(s, data_of(x), data_of(weight), data_of(bias), y.mutable_data().data());
  return record_with_bias(
      kOp, x, weight, bias, y,
      [x = saved_for(weight, x), weight = Saved(weight), conv](const Tensor& g,
                                                               const Needs& need) -> Grads {
        return {need[0] ? conv2d(g, weight(), {}, conv) : Tensor(),
                need[1] ? conv2d_weight_grad(x(), g, weight.shape(), conv) : Tensor(),
                need[2] ? sum_channels(g) : Tensor()};
      });
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Conv1dGeometry& geometry) {
  if (x.rank() != 3 || weight.rank() != 3) {
    throw Error("conv1d", "input and weight need 3 axes, they have {} and {}", x.rank(),
                weight.rank())
        .shape("input", x, "(N, C, L)")
        .shape("weight", weight, "(out, in / groups, k)")
        .hint("add missing axes with unsqueeze()");
  }
  if (const std::int64_t wanted = weight.dim(1) * geometry.groups;
      geometry.groups >= 1 && wanted != x.dim(1)) {
    throw Error("conv1d", "the weight expects {} input channels, the input has {}", wanted,
                x.dim(1))
        .shape("input", x, "(N, C, L)")
        .shape("weight", weight, "(out, in / groups, k)")
        .hint("build the layer for {} input channels; is the input (N, L, C)? then transpose it",
              x.dim(1));
  }
  // A sequence is an image of one row.
  const ConvGeometry image{
      {1, geometry.stride}, {0, geometry.padding}, {1, geometry.dilation}, geometry.groups};
  return squeeze(conv2d(unsqueeze(x, {2}), unsqueeze(weight, {2}), bias, image), {2});
}

}  // namespace tapestry
