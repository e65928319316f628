#include "layers/conv.h"

#include <cmath>

namespace tapestry::nn {
namespace {

Start default_start(std::int64_t fan_in) {
  const Real bound = 1 / std::sqrt(static_cast<Real>(fan_in));
  return Start::uniform(-bound, bound);
}

std::string setting(std::string_view name, Pair value, Pair usual) {
  if (value == usual) return "";
  return value.h == value.w ? format(", {} {}", name, value.h)
                            : format(", {} {}×{}", name, value.h, value.w);
}

/// What all convolutions can be told, as far as it is not the default.
template <class Options>
std::string common_settings(const Options& o) {
  return setting("stride", o.stride, 1) + setting("padding", o.padding, 0) +
         setting("dilation", o.dilation, 1) + setting("groups", o.groups, 1) +
         (o.bias ? "" : ", no bias");
}

}  // namespace

void check_conv_sizes(std::string_view layer, std::int64_t in, std::int64_t out,
                      std::int64_t groups, Pair kernel) {
  if (kernel.h < 1 || kernel.w < 1)
    throw Error(layer, "needs a kernel of at least 1 × 1, got {} × {}", kernel.h, kernel.w);
  if (in < 1 || out < 1)
    throw Error(layer, "needs at least one channel in and out, got {} and {}", in, out);
  if (groups < 1 || in % groups != 0 || out % groups != 0) {
    throw Error(layer, "{} groups must divide both {} input and {} output channels", groups, in,
                out);
  }
}

Tensor padded_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv2dOptions& options) {
  ConvGeometry geometry{.stride = options.stride,
                        .padding = options.padding,
                        .dilation = options.dilation,
                        .groups = options.groups};
  if (options.padding_mode == PadMode::kConstant) return conv2d(x, weight, bias, geometry);
  geometry.padding = 0;
  const std::int64_t h = options.padding.h, w = options.padding.w;
  return conv2d(pad(x, {{h, h}, {w, w}}, options.padding_mode), weight, bias, geometry);
}

Conv2d::Conv2d(std::int64_t in, std::int64_t out, const Conv2dOptions& options)
    : in_(in), out_(out), options_(options) {
  check_conv_sizes("Conv2d", in, out, options.groups, options.kernel);
  const Start start = default_start(in / options.groups * options.kernel.h * options.kernel.w);
  weight_ =
      parameter("weight", {out, in / options.groups, options.kernel.h, options.kernel.w}, start);
  if (options.bias) bias_ = parameter("bias", {out}, start);
}

std::string conv2d_text(std::int64_t in, std::int64_t out, const Conv2dOptions& o) {
  return format("Conv2d({}, {}", in, out) + setting("kernel", o.kernel, Pair(0)) +
         common_settings(o) +
         (o.padding_mode == PadMode::kConstant
              ? ""
              : format(", padding mode {}", pad_mode_name(o.padding_mode))) +
         ")";
}

std::string Conv2d::describe() const { return conv2d_text(in_, out_, options_); }

Cost Conv2d::cost(const Shape&, const Shape& output) const {
  return {output.size() * (in_ / options_.groups) * options_.kernel.h * options_.kernel.w, ""};
}

Tensor Conv2d::forward(const Tensor& x) { return padded_conv2d(x, weight_, bias_, options_); }

Conv1d::Conv1d(std::int64_t in, std::int64_t out, const Conv1dOptions& options)
    : in_(in), out_(out), options_(options) {
  check_conv_sizes("Conv1d", in, out, options.groups, options.kernel);
  const Start start = default_start(in / options.groups * options.kernel);
  weight_ = parameter("weight", {out, in / options.groups, options.kernel}, start);
  if (options.bias) bias_ = parameter("bias", {out}, start);
}

std::string Conv1d::describe() const {
  const Conv1dOptions& o = options_;
  return format("Conv1d({}, {}", in_, out_) + setting("kernel", o.kernel, Pair(0)) +
         common_settings(o) + ")";
}

Cost Conv1d::cost(const Shape&, const Shape& output) const {
  return {output.size() * (in_ / options_.groups) * options_.kernel, ""};
}

Tensor Conv1d::forward(const Tensor& x) {
  return conv1d(x, weight_, bias_,
                {.stride = options_.stride,
                 .padding = options_.padding,
                 .dilation = options_.dilation,
                 .groups = options_.groups});
}

ConvTranspose2d::ConvTranspose2d(std::int64_t in, std::int64_t out,
                                 const ConvTranspose2dOptions& options)
    : in_(in), out_(out), options_(options) {
  check_conv_sizes("ConvTranspose2d", in, out, options.groups, options.kernel);
  // PyTorch takes the fan-in from the second axis of the weight, out/groups here.
  const Start start = default_start(out / options.groups * options.kernel.h * options.kernel.w);
  weight_ =
      parameter("weight", {in, out / options.groups, options.kernel.h, options.kernel.w}, start);
  if (options.bias) bias_ = parameter("bias", {out}, start);
}

std::string ConvTranspose2d::describe() const {
  const ConvTranspose2dOptions& o = options_;
  return format("ConvTranspose2d({}, {}", in_, out_) + setting("kernel", o.kernel, Pair(0)) +
         common_settings(o) + setting("output padding", o.output_padding, 0) + ")";
}

Cost ConvTranspose2d::cost(const Shape& input, const Shape&) const {
  return {input.size() * (out_ / options_.groups) * options_.kernel.h * options_.kernel.w, ""};
}

Tensor ConvTranspose2d::forward(const Tensor& x) {
  return conv_transpose2d(x, weight_, bias_,
                          {.stride = options_.stride,
                           .padding = options_.padding,
                           .output_padding = options_.output_padding,
                           .dilation = options_.dilation,
                           .groups = options_.groups});
}

}  // namespace tapestry::nn
