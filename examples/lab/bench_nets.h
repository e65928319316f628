// The networks of the benchmarks, which are the usual ones of their tasks: DCGAN, the
// style-transfer net of Johnson et al., ResNet-20, pix2pix's U-Net, ESPCN, EDSR, LeNet, and LSTM
// classifiers. tests/bench/side_by_side.py has the same in PyTorch, with the same names of
// parameters.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_NETS_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_NETS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/conv.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rnn.h"
#include "layers/sequential.h"

namespace tapestry::lab {

/// batch, layer, group (8 groups), instance or none, all with scale and shift. As in PyTorch,
/// LayerNorm has one number per element of (C, H, W), the others one per channel.
std::shared_ptr<nn::UnaryModule> bench_norm(const std::string& norm, std::int64_t channels,
                                            std::int64_t height, std::int64_t width);

/// Latents (N, 128, 1, 1) → pictures (N, 3, 32, 32). Radford et al. 2016.
nn::Sequential dcgan_generator(const std::string& norm);
/// Pictures (N, 3, 32, 32) → one logit each, (N, 1).
nn::Sequential dcgan_critic(const std::string& norm);

/// A picture in, a picture out, both (N, 3, size, size). Johnson, Alahi & Fei-Fei 2016.
nn::Sequential style_transformer(const std::string& norm, std::int64_t size);

/// The first three blocks of VGG-16 with random weights that are not trained: it measures pictures
/// for the style loss.
class LossNet final : public nn::Module {
 public:
  LossNet();
  std::string_view kind() const override { return "LossNet"; }
  /// What comes out of each block: relu1_2, relu2_2, relu3_3.
  std::vector<Tensor> operator()(const Tensor& pictures);

 private:
  nn::Child<nn::Sequential> block1_, block2_, block3_;
};

/// (N, 3, size, size) → 10 logits, with shortcuts that have no parameters (option A). He et al.
/// 2016.
nn::Sequential resnet20(const std::string& norm, std::int64_t size);

/// (N, 1, 28, 28) → 10 logits. LeCun et al. 1998, with ReLU and max-pooling as is usual today.
nn::Sequential lenet();
/// (N, 784) → 10 logits.
nn::Sequential mlp();

/// Sequences (T, N, 28) → 10 logits (N, 10), from the last h of an LSTM.
class LstmClassifier final : public nn::UnaryModule {
 public:
  LstmClassifier();
  std::string_view kind() const override { return "LstmClassifier"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  nn::Child<nn::Recurrent> rnn_;
  nn::Child<nn::Linear> fc_;
};

/// The same with one bias, written step by step.
class LstmCellClassifier final : public nn::UnaryModule {
 public:
  LstmCellClassifier();
  std::string_view kind() const override { return "LstmCellClassifier"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  Tensor wx_, wh_, b_;
  nn::Child<nn::Linear> fc_;
};

/// With gates LN(Wx·x) + LN(Wh·h) + b and h' = σ(o)·tanh(LN(c')), Ba, Kiros, Hinton 2016. Over the
/// whole sequence, or written step by step: what one does to try a new cell.
class NormedLstmClassifier final : public nn::UnaryModule {
 public:
  explicit NormedLstmClassifier(bool step_by_step);
  std::string_view kind() const override { return "NormedLstmClassifier"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  bool step_by_step_;
  Tensor wx_, wh_, b_;
  nn::Child<nn::LayerNorm> norm_x_, norm_h_, norm_c_;
  nn::Child<nn::Linear> fc_;
};

/// pix2pix's generator, (N, 3, size, size) → the same: five convolutions down, five up, each level
/// joined with its counterpart. Isola et al. 2017.
class UNet final : public nn::UnaryModule {
 public:
  UNet(const std::string& norm, std::int64_t size);
  std::string_view kind() const override { return "UNet"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  std::vector<nn::Child<nn::Sequential>> down_, up_;
};
/// pix2pix's discriminator: (N, 6, size, size), picture and answer → a logit for each patch.
nn::Sequential patch_critic(const std::string& norm, std::int64_t size);

/// (N, 3, H, W) → (N, 3, 2·H, 2·W). Shi et al. 2016.
nn::Sequential espcn();

/// (N, 3, H, W) → (N, 3, 2·H, 2·W) with four residual blocks. Lim et al. 2017.
class Edsr final : public nn::UnaryModule {
 public:
  Edsr();
  std::string_view kind() const override { return "Edsr"; }

 protected:
  Tensor forward(const Tensor& x) override;

 private:
  nn::Child<nn::Conv2d> head_, tail_, up_, out_;
  std::vector<nn::Child<nn::Sequential>> body_;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_NETS_H_
