#include "examples/lab/bench_steps.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "core/text.h"
#include "examples/lab/bench_nets.h"
#include "layers/loss.h"
#include "optim/optimizer.h"

namespace tapestry::lab {

// Where values come from
// ----------------------------------------------------------------------------------------------------

void Source::initialize(const std::string& name, nn::Module& network) const {
  if (file_ == nullptr) return network.reset_parameters(rng_.split(name));
  network.load_state(file_->below(name + "."));
}

Tensor Source::from_file(const std::string& name, const Shape& shape) const {
  const Tensor* given = file_->find("input." + name);
  if (given == nullptr) throw Error("--initial", "the file has no tensor \"input.{}\"", name);
  if (!(given->shape() == shape)) {
    throw Error("--initial", "\"input.{}\" has another shape than the step needs", name)
        .shape("file", *given)
        .shape("needed", shape);
  }
  return *given;
}

Tensor Source::normal(const std::string& name, const Shape& shape) const {
  return file_ != nullptr ? from_file(name, shape) : rng_.split(name).normal(shape);
}

Tensor Source::uniform(const std::string& name, const Shape& shape) const {
  return file_ != nullptr ? from_file(name, shape) : rng_.split(name).uniform(shape);
}

Indices Source::labels(const std::string& name, std::int64_t count, int classes) const {
  Indices labels;
  Rng rng = rng_.split(name);
  const Tensor given = file_ != nullptr ? from_file(name, {count}) : Tensor();
  for (std::int64_t i = 0; i < count; ++i) {
    labels.push_back(static_cast<std::int32_t>(
        given.defined() ? given.data()[static_cast<std::size_t>(i)] : rng.below(classes)));
  }
  return labels;
}

void TrainingStep::start(const std::string& name, nn::Module& network) {
  network.set_name(name);
  source_.initialize(name, network);
  networks_.push_back({name, &network});
}

std::int64_t TrainingStep::Network::parameters() const {
  std::int64_t count = 0;
  for (const Tensor& parameter : module->parameters()) count += parameter.size();
  return count;
}

namespace {

// Work
// ----------------------------------------------------------------------------------------------------------------------

/// Floating-point operations of a forward pass: of all layers, and of those that read the network's
/// input. The gradient of a layer's weights costs as much as its forward pass, and so does that of
/// its input.
struct Work {
  double all = 0, first = 0;
  /// Forward and the gradients of the weights: the network's input needs none.
  double training() const { return 3 * all - first; }
};

class WorkProbe final : public nn::Probe {
 public:
  void called(nn::Module& module, const Tensor& input, const Tensor& output) override {
    if (!module.children().empty()) return;  // containers repeat what their children say
    const double flops =
        2.0 * static_cast<double>(module.cost(input.shape(), output.shape()).multiply_adds);
    if (work.all == 0) work.first = flops;
    work.all += flops;
  }
  Work work;
};

/// Tried on one example: everything is proportional to the batch.
template <class Network>
Work work_of(Network& network, const Shape& input) {
  const PauseRecording pause;
  network.eval();  // leaves the running averages alone
  WorkProbe probe;
  std::vector<std::int64_t> one = input.extents();
  one[0] = 1;
  network(Tensor::zeros(Shape(one)));
  network.train();
  const double batch = static_cast<double>(input[0]);
  return {probe.work.all * batch, probe.work.first * batch};
}

// Adversarial
// ---------------------------------------------------------------------------------------------------------------

constexpr std::int64_t kLatent = 128;
constexpr optim::AdamOptions kGanAdam{.lr = 2e-4, .beta1 = 0.5, .beta2 = 0.999};

class Dcgan final : public TrainingStep {
 public:
  Dcgan(const StepOptions& o, const Source& source)
      : TrainingStep(source),
        batch_(o.batch),
        generator_(dcgan_generator(o.norm)),
        critic_(dcgan_critic(o.norm)),
        generator_adam_(generator_.parameters(), kGanAdam),
        critic_adam_(critic_.parameters(), kGanAdam) {
    start("G", generator_);
    start("D", critic_);
    real_ = tanh(source_.normal("real", {batch_, 3, 32, 32}));
  }

  std::vector<double> run() override {
    const Tensor z = source_.normal("z." + std::to_string(steps_++), {batch_, kLatent, 1, 1});
    Tape tape;
    const Tensor fake = generator_(z);
    const Tensor critic_loss =
        nn::bce_with_logits(critic_(real_), 1) + nn::bce_with_logits(critic_(fake.detach()), 0);
    critic_adam_.step(tape.gradient(critic_loss, critic_adam_.parameters()));
    const Tensor generator_loss = nn::bce_with_logits(critic_(fake), 1);
    generator_adam_.step(tape.gradient(generator_loss, generator_adam_.parameters()));
    return {critic_loss.item(), generator_loss.item()};
  }

  double flops() override {
    const Work g = work_of(generator_, {batch_, kLatent, 1, 1}),
               d = work_of(critic_, real_.shape());
    // The critic learns from two batches and passes the gradient of a third on to the generator.
    return g.training() + 2 * d.training() + 2 * d.all;
  }

 private:
  std::int64_t batch_, steps_ = 0;
  nn::Sequential generator_, critic_;
  optim::Adam generator_adam_, critic_adam_;
  Tensor real_;
};

/// The critic's step of WGAN-GP: its gradient penalty differentiates through a gradient. Gulrajani
/// et al. 2017.
class WganGp final : public TrainingStep {
 public:
  WganGp(const StepOptions& o, const Source& source)
      : TrainingStep(source),
        batch_(o.batch),
        norm_(o.norm),
        generator_(dcgan_generator("batch")),
        critic_(dcgan_critic(o.norm)),
        adam_(critic_.parameters(), {.lr = 1e-4, .beta1 = 0, .beta2 = 0.9}) {
    start("G", generator_);
    start("D", critic_);
    real_ = tanh(source_.normal("real", {batch_, 3, 32, 32}));
  }

  std::vector<double> run() override {
    const std::string step = std::to_string(steps_++);
    const Tensor z = source_.normal("z." + step, {batch_, kLatent, 1, 1});
    const Tensor share = source_.uniform("e." + step, {batch_, 1, 1, 1});
    const Tensor fake = generator_(z);  // no tape yet: nothing is recorded
    Tape tape;
    const Tensor mixed = tape.watch(share * real_ + (1 - share) * fake);
    const Tensor slopes = tape.gradient(sum(critic_(mixed)), {mixed}, {.create_graph = true})[0];
    const Tensor penalty = mean(square(norm(slopes, {1, 2, 3}) - 1));
    const Tensor loss = mean(critic_(fake)) - mean(critic_(real_)) + penalty * 10;
    adam_.step(tape.gradient(loss, adam_.parameters()));
    return {loss.item()};
  }

  double flops() override {
    const Work g = work_of(generator_, {batch_, kLatent, 1, 1}),
               d = work_of(critic_, real_.shape());
    // The penalty: forward, slopes, and through the slopes back to the weights, which costs the
    // convolutions' forward and weight gradients once more. Only through a norm does it also depend
    // on the forward pass: LeakyReLU's second derivative is zero.
    const double through_forward = norm_ == "none" ? 0 : 2 * d.all - d.first;
    return g.all + 2 * d.training() + 4 * d.all + through_forward;
  }

 private:
  std::int64_t batch_, steps_ = 0;
  std::string norm_;
  nn::Sequential generator_, critic_;
  optim::Adam adam_;
  Tensor real_;
};

/// pix2pix: a U-Net translates x to y, against a critic that sees both. Isola et al. 2017.
class Pix2pix final : public TrainingStep {
 public:
  Pix2pix(const StepOptions& o, const Source& source)
      : TrainingStep(source),
        generator_(o.norm, o.size),
        critic_(patch_critic(o.norm, o.size)),
        generator_adam_(generator_.parameters(), kGanAdam),
        critic_adam_(critic_.parameters(), kGanAdam) {
    start("G", generator_);
    start("D", critic_);
    const Shape shape{o.batch, 3, o.size, o.size};
    x_ = tanh(source_.normal("x", shape));
    y_ = tanh(source_.normal("y", shape));
  }

  std::vector<double> run() override {
    Tape tape;
    const Tensor fake = generator_(x_);
    const Tensor on_real = nn::bce_with_logits(critic_(concat({x_, y_}, 1)), 1),
                 on_fake = nn::bce_with_logits(critic_(concat({x_, fake.detach()}, 1)), 0);
    const Tensor critic_loss = (on_real + on_fake) * Real(0.5);
    critic_adam_.step(tape.gradient(critic_loss, critic_adam_.parameters()));
    const Tensor generator_loss =
        nn::bce_with_logits(critic_(concat({x_, fake}, 1)), 1) + nn::l1_loss(fake, y_) * 100;
    generator_adam_.step(tape.gradient(generator_loss, generator_adam_.parameters()));
    return {critic_loss.item(), generator_loss.item()};
  }

  double flops() override {
    const std::int64_t n = x_.dim(0), size = x_.dim(2);
    const Work g = work_of(generator_, x_.shape()), d = work_of(critic_, {n, 6, size, size});
    return g.training() + 2 * d.training() + 2 * d.all;
  }

 private:
  UNet generator_;
  nn::Sequential critic_;
  optim::Adam generator_adam_, critic_adam_;
  Tensor x_, y_;
};

// Style
// ---------------------------------------------------------------------------------------------------------------------

/// F·Fᵀ/(C·H·W) of each picture's maps.
Tensor gram(const Tensor& maps) {
  const std::int64_t n = maps.dim(0), c = maps.dim(1), area = maps.dim(2) * maps.dim(3);
  const Tensor rows = reshape(maps, Shape{n, c, area});
  return matmul(rows, rows, {.transpose_b = true}) * (1 / static_cast<Real>(c * area));
}

Tensor total_variation(const Tensor& y) {
  const Tensor down = slice(y, 2, {.start = 1}) - slice(y, 2, {.end = -1}),
               right = slice(y, 3, {.start = 1}) - slice(y, 3, {.end = -1});
  return sum(abs(down)) + sum(abs(right));
}

/// Fast style transfer. Johnson, Alahi & Fei-Fei 2016.
class StyleTransfer final : public TrainingStep {
 public:
  StyleTransfer(const StepOptions& o, const Source& source)
      : TrainingStep(source),
        transformer_(style_transformer(o.norm, o.size)),
        adam_(transformer_.parameters()) {
    start("T", transformer_);
    start("VGG", loss_net_);
    const Shape shape{o.batch, 3, o.size, o.size};
    pictures_ = source_.normal("x", shape);
    for (const Tensor& maps : loss_net_(source_.normal("style", shape)))
      targets_.push_back(gram(maps));
  }

  std::vector<double> run() override {
    Tape tape;
    const Tensor drawn = transformer_(pictures_);
    const std::vector<Tensor> maps = loss_net_(drawn);
    Tensor content;
    {
      const PauseRecording pause;
      content = loss_net_(pictures_)[1];
    }
    Tensor loss = nn::mse_loss(maps[1], content) * Real(1e5);
    for (std::size_t i = 0; i < maps.size(); ++i)
      loss = loss + nn::mse_loss(gram(maps[i]), targets_[i]) * Real(1e10);
    loss = loss + total_variation(drawn) * Real(1e-6);
    adam_.step(tape.gradient(loss, adam_.parameters()));
    return {loss.item()};
  }

  double flops() override {
    const Work net = work_of(transformer_, pictures_.shape()),
               vgg = work_of(loss_net_, pictures_.shape());
    double grams = 0;
    for (const Tensor& target : targets_) {
      // 64 maps of the full size, 128 of a half, 256 of a quarter of the side: halved areas,
      // doubled maps.
      const double maps = static_cast<double>(target.dim(1)),
                   side = static_cast<double>(pictures_.dim(2)) * 64 / maps;
      grams += 2 * static_cast<double>(target.size()) * side * side;
    }
    // The loss net is run on the pictures and on what was drawn; its weights need no gradient. F·Fᵀ
    // has two factors.
    return net.training() + 3 * vgg.all + 3 * grams;
  }

 private:
  nn::Sequential transformer_;
  LossNet loss_net_;
  optim::Adam adam_;
  Tensor pictures_;
  std::vector<Tensor> targets_;
};

// A network, a loss, an optimizer
// -------------------------------------------------------------------------------------------

template <class Net>
double training_flops(Net& network, const Shape& input) {
  return work_of(network, input).training();
}
/// Per step of an LSTM: the gates of the input with the gradient of its weights, the gates of h
/// with both gradients. The first h is a constant.
double lstm_flops(const Shape& input) {
  constexpr double kHidden = 128, kGates = 4 * kHidden, kClasses = 10;
  const double steps = static_cast<double>(input[0]), n = static_cast<double>(input[1]),
               in = static_cast<double>(input[2]);
  return 2 * n * (kGates * (steps * 2 * in + (steps * 3 - 1) * kHidden) + 3 * kHidden * kClasses);
}
double training_flops(LstmClassifier&, const Shape& input) { return lstm_flops(input); }
double training_flops(LstmCellClassifier&, const Shape& input) { return lstm_flops(input); }
double training_flops(NormedLstmClassifier&, const Shape& input) { return lstm_flops(input); }

using Loss = std::function<Tensor(const Tensor& output)>;

Loss classification(const Source& source, std::int64_t count) {
  return [labels = source.labels("y", count, 10)](const Tensor& logits) {
    return nn::cross_entropy(logits, labels);
  };
}

/// What most training is.
template <class Net, class Optimizer>
class Plain final : public TrainingStep {
 public:
  template <class Options>
  Plain(Net network, const Options& options, const Source& source, const Shape& input, Loss loss)
      : TrainingStep(source),
        network_(std::move(network)),
        optimizer_(network_.parameters(), options),
        x_(source.normal("x", input)),
        loss_(std::move(loss)) {
    start("M", network_);
  }

  std::vector<double> run() override {
    Tape tape;
    const Tensor loss = loss_(network_(x_));
    optimizer_.step(tape.gradient(loss, optimizer_.parameters()));
    return {loss.item()};
  }

  double flops() override { return training_flops(network_, x_.shape()); }

 private:
  Net network_;
  Optimizer optimizer_;
  Tensor x_;
  Loss loss_;
};

template <class Optimizer, class Net, class Options>
std::unique_ptr<TrainingStep> plain(Net network, const Options& options, const Source& source,
                                    const Shape& input, Loss loss) {
  return std::make_unique<Plain<Net, Optimizer>>(std::move(network), options, source, input,
                                                 std::move(loss));
}

// Names
// ---------------------------------------------------------------------------------------------------------------------

using Make = std::unique_ptr<TrainingStep> (*)(const StepOptions&, const Source&);

template <class Step>
std::unique_ptr<TrainingStep> make(const StepOptions& options, const Source& source) {
  return std::make_unique<Step>(options, source);
}

std::unique_ptr<TrainingStep> make_resnet20(const StepOptions& o, const Source& s) {
  return plain<optim::SGD>(resnet20(o.norm, o.size),
                           optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4}, s,
                           {o.batch, 3, o.size, o.size}, classification(s, o.batch));
}
std::unique_ptr<TrainingStep> make_lenet(const StepOptions& o, const Source& s) {
  return plain<optim::SGD>(lenet(), optim::SGDOptions{.lr = 0.01, .momentum = 0.9}, s,
                           {o.batch, 1, 28, 28}, classification(s, o.batch));
}
std::unique_ptr<TrainingStep> make_mlp(const StepOptions& o, const Source& s) {
  return plain<optim::Adam>(mlp(), optim::AdamOptions{}, s, {o.batch, 784},
                            classification(s, o.batch));
}
template <class Network>
std::unique_ptr<TrainingStep> make_sequence(Network network, const StepOptions& o,
                                            const Source& s) {
  return plain<optim::Adam>(std::move(network), optim::AdamOptions{}, s, {28, o.batch, 28},
                            classification(s, o.batch));
}
std::unique_ptr<TrainingStep> make_lstm(const StepOptions& o, const Source& s) {
  return make_sequence(LstmClassifier(), o, s);
}
std::unique_ptr<TrainingStep> make_lstm_cell(const StepOptions& o, const Source& s) {
  return make_sequence(LstmCellClassifier(), o, s);
}
std::unique_ptr<TrainingStep> make_lnlstm(const StepOptions& o, const Source& s) {
  return make_sequence(NormedLstmClassifier(false), o, s);
}
std::unique_ptr<TrainingStep> make_lnlstm_cell(const StepOptions& o, const Source& s) {
  return make_sequence(NormedLstmClassifier(true), o, s);
}
std::unique_ptr<TrainingStep> make_espcn(const StepOptions& o, const Source& s) {
  const Tensor large = s.normal("y", {o.batch, 3, 2 * o.size, 2 * o.size});
  return plain<optim::Adam>(espcn(), optim::AdamOptions{}, s, {o.batch, 3, o.size, o.size},
                            [large](const Tensor& y) { return nn::mse_loss(y, large); });
}
std::unique_ptr<TrainingStep> make_edsr(const StepOptions& o, const Source& s) {
  const Tensor large = s.normal("y", {o.batch, 3, 2 * o.size, 2 * o.size});
  return plain<optim::Adam>(Edsr(), optim::AdamOptions{.lr = 1e-4}, s, {o.batch, 3, o.size, o.size},
                            [large](const Tensor& y) { return nn::l1_loss(y, large); });
}

struct KnownStep {
  StepInfo info;
  Make make;
};

const std::vector<KnownStep>& known_steps() {
  static const std::vector<std::string> all{"batch", "layer", "group", "instance", "none"};
  static const std::vector<KnownStep> steps{
      {{"dcgan", "DCGAN, 32x32, Adam", all, 64, 0, 0}, make<Dcgan>},
      {{"style",
        "fast style transfer, Adam",
        {"instance", "batch", "layer", "group", "none"},
        4,
        128,
        8},
       make<StyleTransfer>},
      {{"resnet20", "ResNet-20 classifier, SGD", all, 128, 32, 4}, make_resnet20},
      {{"unet", "pix2pix: U-Net and patch critic, Adam", all, 8, 64, 32}, make<Pix2pix>},
      {{"espcn", "super-resolution by sub-pixel convolution, Adam", {"none"}, 16, 32, 1},
       make_espcn},
      {{"edsr", "super-resolution with residual blocks, Adam", {"none"}, 16, 32, 1}, make_edsr},
      {{"wgangp",
        "critic step with gradient penalty, Adam",
        {"none", "layer", "batch", "group", "instance"},
        64,
        0,
        0},
       make<WganGp>},
      {{"lenet", "LeNet classifier, 28x28, SGD", {"none"}, 64, 0, 0}, make_lenet},
      {{"mlp", "three linear layers, Adam", {"none"}, 64, 0, 0}, make_mlp},
      {{"lstm", "LSTM over 28 steps, Adam", {"none"}, 64, 0, 0}, make_lstm},
      {{"lstm_cell", "the same with a cell called step by step", {"none"}, 64, 0, 0},
       make_lstm_cell},
      {{"lnlstm", "LSTM with LayerNorm over 28 steps, Adam", {"layer"}, 64, 0, 0}, make_lnlstm},
      {{"lnlstm_cell", "the same written step by step", {"layer"}, 64, 0, 0}, make_lnlstm_cell},
  };
  return steps;
}

const KnownStep& known_step(const std::string& name) {
  std::vector<std::string> names;
  for (const KnownStep& step : known_steps()) {
    if (step.info.name == name) return step;
    names.push_back(step.info.name);
  }
  throw unknown_word("bench", "step", name, names);
}

}  // namespace

Error unknown_word(std::string_view where, std::string_view kind, const std::string& word,
                   const std::vector<std::string>& known) {
  std::string all;
  for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
  const std::vector<std::string> near = similar(word, known);
  Error error(where, "there is no {} \"{}\"{}", kind, printable(word),
              near.empty() ? "" : "; did you mean \"" + near[0] + "\"?");
  return error.hint("choose one of {}", all);
}

const std::vector<StepInfo>& step_infos() {
  static const std::vector<StepInfo> infos = [] {
    std::vector<StepInfo> list;
    for (const KnownStep& step : known_steps()) list.push_back(step.info);
    return list;
  }();
  return infos;
}

const StepInfo& step_info(const std::string& name) { return known_step(name).info; }

std::unique_ptr<TrainingStep> make_step(const std::string& name, const StepOptions& options,
                                        const Source& source) {
  const auto& [info, make_it] = known_step(name);
  StepOptions o = options;
  if (o.norm.empty()) o.norm = info.norms[0];
  if (std::find(info.norms.begin(), info.norms.end(), o.norm) == info.norms.end())
    throw unknown_word("--norm", "norm of step " + name, o.norm, info.norms);
  if (o.batch == 0) o.batch = info.batch;
  if (o.size != 0 && info.size == 0)
    throw Error("--size", "the pictures of step {} have one size only", name)
        .hint("leave --size out");
  if (o.size == 0) o.size = info.size;
  if (info.size != 0 && o.size % info.multiple != 0)
    throw Error("--size", "step {} needs a multiple of {}, got {}", name, info.multiple, o.size);
  return make_it(o, source);
}

}  // namespace tapestry::lab
