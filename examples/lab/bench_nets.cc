#include "examples/lab/bench_nets.h"

#include <cmath>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/recurrent.h"
#include "core/ops/unary.h"

namespace tapestry::lab {

using nn::Conv2d;
using nn::ConvTranspose2d;
using nn::LeakyReLU;
using nn::Linear;
using nn::ReLU;
using nn::Sequential;

std::shared_ptr<nn::UnaryModule> bench_norm(const std::string& norm, std::int64_t channels,
                                            std::int64_t height, std::int64_t width) {
  if (norm == "none") return std::make_shared<nn::Lambda>(nn::Identity());
  if (norm == "layer") return std::make_shared<nn::LayerNorm>(Shape{channels, height, width});
  return nn::make_norm({.type = norm}, channels);
}

namespace {

std::shared_ptr<nn::UnaryModule> square_norm(const std::string& norm, std::int64_t channels,
                                             std::int64_t size) {
  return bench_norm(norm, channels, size, size);
}

constexpr nn::LeakyReLUOptions kLeak{.slope = Real(0.2)};

}  // namespace

// Adversarial
// ---------------------------------------------------------------------------------------------------------------

Sequential dcgan_generator(const std::string& norm) {
  const bool bias = norm == "none";  // a norm takes it out again
  const nn::ConvTranspose2dOptions twice{.kernel = 4, .stride = 2, .padding = 1, .bias = bias};
  Sequential net;
  net.add(ConvTranspose2d(128, 256, {.kernel = 4, .bias = bias}));
  net.add_shared(square_norm(norm, 256, 4));
  net.add(ReLU());
  net.add(ConvTranspose2d(256, 128, twice));
  net.add_shared(square_norm(norm, 128, 8));
  net.add(ReLU());
  net.add(ConvTranspose2d(128, 64, twice));
  net.add_shared(square_norm(norm, 64, 16));
  net.add(ReLU());
  net.add(ConvTranspose2d(64, 3, {.kernel = 4, .stride = 2, .padding = 1}));
  net.add(nn::Tanh());
  return net;
}

Sequential dcgan_critic(const std::string& norm) {
  const nn::Conv2dOptions half{.kernel = 4, .stride = 2, .padding = 1, .bias = norm == "none"};
  Sequential net;
  net.add(Conv2d(3, 64, {.kernel = 4, .stride = 2, .padding = 1}));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(64, 128, half));
  net.add_shared(square_norm(norm, 128, 8));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(128, 256, half));
  net.add_shared(square_norm(norm, 256, 4));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(256, 1, {.kernel = 4}));
  net.add(nn::Flatten());
  return net;
}

// Style
// ---------------------------------------------------------------------------------------------------------------------

namespace {

Conv2d reflected(std::int64_t in, std::int64_t out, int kernel, int stride) {
  return Conv2d(in, out,
                {.kernel = kernel,
                 .stride = stride,
                 .padding = kernel / 2,
                 .padding_mode = PadMode::kReflect});
}

}  // namespace

Sequential style_transformer(const std::string& norm, std::int64_t size) {
  Sequential net;
  const auto block = [&](Conv2d conv, std::int64_t channels, std::int64_t side) {
    net.add(std::move(conv));
    net.add_shared(square_norm(norm, channels, side));
    net.add(ReLU());
  };
  block(reflected(3, 32, 9, 1), 32, size);
  block(reflected(32, 64, 3, 2), 64, size / 2);
  block(reflected(64, 128, 3, 2), 128, size / 4);
  for (int i = 0; i < 5; ++i) {
    auto body = std::make_shared<Sequential>();
    body->add(reflected(128, 128, 3, 1));
    body->add_shared(square_norm(norm, 128, size / 4));
    body->add(ReLU());
    body->add(reflected(128, 128, 3, 1));
    body->add_shared(square_norm(norm, 128, size / 4));
    net.add(nn::Residual(body));
  }
  net.add(nn::Upsample({.factor = 2}));
  block(reflected(128, 64, 3, 1), 64, size / 2);
  net.add(nn::Upsample({.factor = 2}));
  block(reflected(64, 32, 3, 1), 32, size);
  net.add(reflected(32, 3, 9, 1));
  return net;
}

LossNet::LossNet() {
  const auto conv = [](std::int64_t in, std::int64_t out) {
    return Conv2d(in, out, {.kernel = 3, .padding = 1});
  };
  block1_ = child("block1", Sequential(conv(3, 64), ReLU(), conv(64, 64), ReLU()));
  block2_ = child("block2", Sequential(nn::MaxPool2d({.kernel = 2}), conv(64, 128), ReLU(),
                                       conv(128, 128), ReLU()));
  block3_ = child("block3", Sequential(nn::MaxPool2d({.kernel = 2}), conv(128, 256), ReLU(),
                                       conv(256, 256), ReLU(), conv(256, 256), ReLU()));
  for (Tensor weight : parameters()) weight.set_requires_grad(false);
}

std::vector<Tensor> LossNet::operator()(const Tensor& pictures) {
  const Tensor relu1_2 = block1_(pictures), relu2_2 = block2_(relu1_2), relu3_3 = block3_(relu2_2);
  return {relu1_2, relu2_2, relu3_3};
}

// Classifiers
// ---------------------------------------------------------------------------------------------------------------

namespace {

/// Two convolutions around a shortcut. Where the picture is halved the shortcut takes every other
/// pixel, and new channels are zeros.
class BasicBlock final : public nn::UnaryModule {
 public:
  BasicBlock(std::int64_t in, std::int64_t out, int stride, const std::string& norm,
             std::int64_t size)
      : stride_(stride), new_channels_(out - in) {
    conv1_ = child("conv1",
                   Conv2d(in, out, {.kernel = 3, .stride = stride, .padding = 1, .bias = false}));
    norm1_ = adopt("norm1", square_norm(norm, out, size));
    conv2_ = child("conv2", Conv2d(out, out, {.kernel = 3, .padding = 1, .bias = false}));
    norm2_ = adopt("norm2", square_norm(norm, out, size));
  }
  std::string_view kind() const override { return "BasicBlock"; }

 protected:
  Tensor forward(const Tensor& x) override {
    const Tensor y = norm2_(conv2_(nn::rectified(*norm1_, conv1_(x))));
    return relu(y + shortcut(x));
  }

 private:
  Tensor shortcut(const Tensor& x) const {
    if (stride_ == 1) return x;
    const Tensor smaller = slice(slice(x, 2, {.step = stride_}), 3, {.step = stride_});
    return pad(smaller, {{0, new_channels_}, {0, 0}, {0, 0}});
  }

  int stride_;
  std::int64_t new_channels_;
  nn::Child<Conv2d> conv1_, conv2_;
  nn::Child<nn::UnaryModule> norm1_, norm2_;
};

}  // namespace

Sequential resnet20(const std::string& norm, std::int64_t size) {
  Sequential net;
  net.add(Conv2d(3, 16, {.kernel = 3, .padding = 1, .bias = false}));
  net.add_shared(square_norm(norm, 16, size));
  net.add(ReLU());
  std::int64_t in = 16;
  for (const std::int64_t out : {16, 32, 64}) {
    for (int i = 0; i < 3; ++i) {
      const int stride = in == out ? 1 : 2;
      size /= stride;
      net.add(BasicBlock(in, out, stride, norm, size));
      in = out;
    }
  }
  net.add(nn::GlobalAvgPool2d());
  net.add(Linear(64, 10));
  return net;
}

Sequential lenet() {
  return Sequential(Conv2d(1, 6, {.kernel = 5, .padding = 2}), ReLU(), nn::MaxPool2d({.kernel = 2}),
                    Conv2d(6, 16, {.kernel = 5}), ReLU(), nn::MaxPool2d({.kernel = 2}),
                    nn::Flatten(), Linear(400, 120), ReLU(), Linear(120, 84), ReLU(),
                    Linear(84, 10));
}

Sequential mlp() {
  return Sequential(Linear(784, 256), ReLU(), Linear(256, 128), ReLU(), Linear(128, 10));
}

// Recurrent
// -----------------------------------------------------------------------------------------------------------------

namespace {

constexpr std::int64_t kFeatures = 28, kHidden = 128, kClasses = 10;

nn::Start recurrent_start() {
  const Real bound = 1 / std::sqrt(static_cast<Real>(kHidden));
  return nn::Start::uniform(-bound, bound);
}

}  // namespace

LstmClassifier::LstmClassifier() {
  rnn_ = child("rnn", nn::LSTM(kFeatures, kHidden));
  fc_ = child("fc", Linear(kHidden, kClasses));
}

Tensor LstmClassifier::forward(const Tensor& x) { return fc_(select(rnn_(x), 0, -1)); }

LstmCellClassifier::LstmCellClassifier() {
  wx_ = parameter("wx", {4 * kHidden, kFeatures}, recurrent_start());
  wh_ = parameter("wh", {4 * kHidden, kHidden}, recurrent_start());
  b_ = parameter("b", {4 * kHidden}, nn::Start::constant(0));
  fc_ = child("fc", Linear(kHidden, kClasses));
}

Tensor LstmCellClassifier::forward(const Tensor& x) {
  nn::RecurrentState state;
  for (std::int64_t t = 0; t < x.dim(0); ++t)
    state = nn::lstm_cell(select(x, 0, t), state, {wx_, wh_, b_});
  return fc_(state.h);
}

NormedLstmClassifier::NormedLstmClassifier(bool step_by_step) : step_by_step_(step_by_step) {
  wx_ = parameter("wx", {4 * kHidden, kFeatures}, recurrent_start());
  wh_ = parameter("wh", {4 * kHidden, kHidden}, recurrent_start());
  b_ = parameter("b", {4 * kHidden}, nn::Start::constant(0));
  norm_x_ = child("norm_x", nn::LayerNorm({4 * kHidden}));
  norm_h_ = child("norm_h", nn::LayerNorm({4 * kHidden}));
  norm_c_ = child("norm_c", nn::LayerNorm({kHidden}));
  fc_ = child("fc", Linear(kHidden, kClasses));
}

Tensor NormedLstmClassifier::forward(const Tensor& x) {
  Tensor h = Tensor::zeros({x.dim(1), kHidden}), c = h;
  if (!step_by_step_) {
    const std::vector<Tensor> from_x = norm_x_->parameters(), from_h = norm_h_->parameters(),
                              cell = norm_c_->parameters();
    const Tensor y = lstm(x, {wx_, wh_, from_x[1] + from_h[1] + b_}, h, c,
                          {from_x[0], from_h[0], cell[0], cell[1]});
    return fc_(select(select(y, 0, 0), 0, -1));
  }
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    const std::vector<Tensor> gates =
        chunk(norm_x_(linear(select(x, 0, t), wx_)) + norm_h_(linear(h, wh_)) + b_, 4, 1);
    c = sigmoid(gates[1]) * c + sigmoid(gates[0]) * tanh(gates[2]);
    h = sigmoid(gates[3]) * tanh(norm_c_(c));
  }
  return fc_(h);
}

// Pictures to pictures
// ------------------------------------------------------------------------------------------------------

UNet::UNet(const std::string& norm, std::int64_t size) {
  const bool bias = norm == "none";
  const auto down = [](std::int64_t in, std::int64_t out, bool with_bias) {
    return Conv2d(in, out, {.kernel = 4, .stride = 2, .padding = 1, .bias = with_bias});
  };
  const auto up = [](std::int64_t in, std::int64_t out, bool with_bias) {
    return ConvTranspose2d(in, out, {.kernel = 4, .stride = 2, .padding = 1, .bias = with_bias});
  };
  const auto add = [&](std::vector<nn::Child<Sequential>>& to, const std::string& name,
                       Sequential level) {
    to.push_back(child(name + std::to_string(to.size()), std::move(level)));
  };
  const auto normed = [&](nn::Lambda activation, auto conv, std::int64_t channels,
                          std::int64_t side) {
    Sequential level(std::move(activation), std::move(conv));
    level.add_shared(square_norm(norm, channels, side));
    return level;
  };
  Sequential first;
  first.add(down(3, 32, true));
  add(down_, "down", std::move(first));
  add(down_, "down", normed(LeakyReLU(kLeak), down(32, 64, bias), 64, size / 4));
  add(down_, "down", normed(LeakyReLU(kLeak), down(64, 128, bias), 128, size / 8));
  add(down_, "down", normed(LeakyReLU(kLeak), down(128, 256, bias), 256, size / 16));
  add(down_, "down", Sequential(LeakyReLU(kLeak), down(256, 256, true)));
  add(up_, "up", normed(ReLU(), up(256, 256, bias), 256, size / 16));
  add(up_, "up", normed(ReLU(), up(512, 128, bias), 128, size / 8));
  add(up_, "up", normed(ReLU(), up(256, 64, bias), 64, size / 4));
  add(up_, "up", normed(ReLU(), up(128, 32, bias), 32, size / 2));
  add(up_, "up", Sequential(ReLU(), up(64, 3, true), nn::Tanh()));
}

Tensor UNet::forward(const Tensor& x) {
  std::vector<Tensor> levels;
  Tensor y = x;
  for (const auto& down : down_) levels.push_back(y = down(y));
  for (const auto& up : up_) {
    y = up(y);
    levels.pop_back();
    if (!levels.empty()) y = concat({y, levels.back()}, 1);
  }
  return y;
}

Sequential patch_critic(const std::string& norm, std::int64_t size) {
  const bool bias = norm == "none";
  Sequential net;
  net.add(Conv2d(6, 32, {.kernel = 4, .stride = 2, .padding = 1}));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(32, 64, {.kernel = 4, .stride = 2, .padding = 1, .bias = bias}));
  net.add_shared(square_norm(norm, 64, size / 4));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(64, 128, {.kernel = 4, .stride = 2, .padding = 1, .bias = bias}));
  net.add_shared(square_norm(norm, 128, size / 8));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(128, 256, {.kernel = 4, .padding = 1, .bias = bias}));
  net.add_shared(square_norm(norm, 256, size / 8 - 1));
  net.add(LeakyReLU(kLeak));
  net.add(Conv2d(256, 1, {.kernel = 4, .padding = 1}));
  return net;
}

Sequential espcn() {
  return Sequential(Conv2d(3, 64, {.kernel = 5, .padding = 2}), nn::Tanh(),
                    Conv2d(64, 32, {.kernel = 3, .padding = 1}), nn::Tanh(),
                    Conv2d(32, 12, {.kernel = 3, .padding = 1}), nn::PixelShuffle(2));
}

Edsr::Edsr() {
  const auto conv = [](std::int64_t in, std::int64_t out) {
    return Conv2d(in, out, {.kernel = 3, .padding = 1});
  };
  head_ = child("head", conv(3, 64));
  for (int i = 0; i < 4; ++i)
    body_.push_back(
        child("body" + std::to_string(i), Sequential(conv(64, 64), ReLU(), conv(64, 64))));
  tail_ = child("tail", conv(64, 64));
  up_ = child("up", conv(64, 256));
  out_ = child("out", conv(64, 3));
}

Tensor Edsr::forward(const Tensor& x) {
  const Tensor head = head_(x);
  Tensor y = head;
  for (const auto& block : body_) y = y + block(y);
  return out_(pixel_shuffle(up_(tail_(y) + head), 2));
}

}  // namespace tapestry::lab
