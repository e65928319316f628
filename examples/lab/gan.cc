// Task "gan": a generator and a discriminator play against each other; judged in the features of a
// small classifier, or by exact mode coverage where the modes are known.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/image.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/unary.h"
#include "datasets/idx.h"
#include "datasets/loader.h"
#include "datasets/synthetic.h"
#include "examples/lab/features.h"
#include "examples/lab/metrics.h"
#include "examples/lab/task.h"
#include "layers/loss.h"

namespace tapestry::lab {
namespace {

constexpr std::int64_t kChunk = 100;  // images generated at a time while judging, to bound memory

/// A picture of points in the plane: dark where many are.
Tensor scatter(const Tensor& points, double reach) {
  constexpr std::int64_t kSide = 160;
  Tensor image = Tensor::zeros({1, kSide, kSide});
  std::span<Real> pixels = image.mutable_data();
  for (std::int64_t i = 0; i < points.dim(0); ++i) {
    const auto place = [&](std::int64_t axis) {
      return static_cast<std::int64_t>(
          (points.data()[static_cast<std::size_t>(2 * i + axis)] / reach + 1) / 2 * kSide);
    };
    const std::int64_t x = place(0), y = kSide - 1 - place(1);
    for (std::int64_t dy = 0; dy < 2; ++dy) {
      for (std::int64_t dx = 0; dx < 2; ++dx) {
        if (x + dx >= 0 && x + dx < kSide && y + dy >= 0 && y + dy < kSide)
          pixels[static_cast<std::size_t>((y + dy) * kSide + x + dx)] += 1;
      }
    }
  }
  for (Real& pixel : pixels) pixel = std::exp(-pixel / 2);
  return image;
}

class Gan final : public Task {
 public:
  explicit Gan(const ExperimentSetting& s)
      : setting_(s),
        rng_(static_cast<std::uint64_t>(s.seed)),
        latent_(rng_.split("latent")),
        mixing_(rng_.split("penalty")),
        data_(data::make_data(s.data, s.folder, Rng(0).split("data"))),
        mixture_(dynamic_cast<const data::GaussianMixture*>(data_.train.get())),
        loader_(*data_.train, {.batch = s.train.batch}, rng_.split("order"),
                data::make_augment(s.data)),
        loss_(nn::gan_loss(s.gan.loss, static_cast<Real>(s.gan.label_smoothing))),
        generator_("generator", build_generator(), s.gan.generator_optimizer, s, rng_),
        discriminator_("discriminator", build_discriminator(), s.gan.discriminator_optimizer, s,
                       rng_) {
    if (s.train.ema > 0)
      average_ = std::make_unique<optim::WeightAverage>(generator_.parameters(), s.train.ema);
    Rng preview = Rng(0).split("preview");  // the same latents in every cell and for every seed
    preview_ = preview.normal(
        {static_cast<std::int64_t>(s.log.sample_grid[0] * s.log.sample_grid[1]), s.gan.latent});
    if (s.data.type == "fashion_mnist") {
      features_ =
          std::make_unique<FeatureNet>(data::shipped_file("features/fashion_mnist.safetensors"));
      // The judge's idea of real images: held-out ones. Real against real, training images in place
      // of generated ones, is what a perfect generator would get.
      const std::int64_t n =
          std::min({s.evaluate.samples, data_.test->size(), data_.train->size()});
      real_ = (*features_)(unit_range(data::first(*data_.test, n).images)).features;
      const FeatureNet::Result other =
          (*features_)(unit_range(data::first(*data_.train, n).images));
      reference_ = judged(other);
    }
  }

  Figures step(std::int64_t step) override {
    for (std::int64_t i = 1; i < setting_.train.discriminator_steps; ++i) {
      const Tensor real = loader_.next().images, z = draw(real.dim(0));
      Tensor fake;
      {
        const PauseRecording pause;
        fake = (*generator_)(z);
      }
      Tape tape;
      train_discriminator(tape, real, fake, step);
    }
    const Tensor real = loader_.next().images;
    Tape tape;
    // One generator pass serves both: the discriminator sees the images without their past, the
    // generator's loss goes back through them.
    const Tensor fake = (*generator_)(draw(real.dim(0)));
    const double d_loss = train_discriminator(tape, real, fake.detach(), step);
    const Tensor loss = loss_.generator((*discriminator_)(fake));
    const Figures losses{{"d", d_loss}, {"g", loss.item()}};
    check_finite(losses, step);
    generator_.step(tape.gradient(loss, generator_.parameters()), step);
    if (average_) average_->update();
    return losses;
  }

  Figures evaluate() override {
    const PauseRecording pause;
    const Averaged averaged(average_.get());
    const Evaluating mode(*generator_, setting_.evaluate.batch_norm,
                          [&] { generate(10 * kChunk, "calibration"); });
    const std::int64_t n = std::min(setting_.evaluate.samples, data_.test->size());
    if (mixture_ != nullptr) {
      const ModeCoverage coverage =
          mode_coverage(generate(setting_.evaluate.samples, "judged"), mixture_->centers(),
                        3 * static_cast<double>(mixture_->deviation()));
      return {{"modes", coverage.covered},
              {"good_share", coverage.good_share},
              {"reverse_kl", coverage.reverse_kl}};
    }
    const Tensor images = generate(n, "judged");
    if (features_ == nullptr) return {{"mean", mean_of(images)}};
    return judged((*features_)(unit_range(images)));
  }

  std::vector<FigureInfo> figures() const override {
    const std::int64_t n = std::min(setting_.evaluate.samples, data_.test->size());
    if (mixture_ != nullptr) {
      const double modes = static_cast<double>(mixture_->centers().dim(0));
      return {{.name = "modes",
               .label = "Modes covered",
               .goal = Goal::kMax,
               .note = "Modes with at least one sample within three standard deviations.",
               .reference = modes,
               .reference_label = "all modes",
               .samples = setting_.evaluate.samples},
              {.name = "good_share",
               .label = "Good samples",
               .goal = Goal::kMax,
               .note = "Share of samples within three standard deviations of a mode.",
               .samples = setting_.evaluate.samples},
              {.name = "reverse_kl",
               .label = "Reverse KL",
               .goal = Goal::kMin,
               .note = "Divergence of the good samples' modes from uniform; 0 is even.",
               .samples = setting_.evaluate.samples}};
    }
    if (features_ == nullptr)
      return {{.name = "mean",
               .label = "Mean pixel",
               .note = "There is no judge for this data: look at the pictures."}};
    std::vector<FigureInfo> infos{
        {.name = "fd_own",
         .label = "FD-own",
         .goal = Goal::kMin,
         .note = "Fréchet distance in the last hidden layer of our own small classifier. It is not "
                 "FID; it falls with more samples, so compare it with the line for real against "
                 "real only.",
         .samples = n},
        {.name = "kid_own",
         .label = "KD-own",
         .goal = Goal::kMin,
         .note = "Kernel distance (cubic, unbiased) in the same features.",
         .samples = n},
        {.name = "precision",
         .label = "Precision",
         .goal = Goal::kMax,
         .note = "Share of generated images inside a 5-neighbor ball of real ones.",
         .samples = n},
        {.name = "recall",
         .label = "Recall",
         .goal = Goal::kMax,
         .note = "Share of real images inside a 5-neighbor ball of generated ones.",
         .samples = n},
        {.name = "density",
         .label = "Density",
         .goal = Goal::kMax,
         .note = "Mean number of real 5-neighbor balls around a generated image, over 5.",
         .samples = n},
        {.name = "coverage",
         .label = "Coverage",
         .goal = Goal::kMax,
         .note = "Share of real images with a generated one in their 5-neighbor ball.",
         .samples = n},
        {.name = "class_divergence",
         .label = "Class divergence",
         .goal = Goal::kMin,
         .note = "Divergence of the recognized classes from an even share; log 10 = 2.3 means one "
                 "class only.",
         .samples = n}};
    for (std::size_t i = 0; i < infos.size(); ++i) {
      infos[i].reference = reference_[i].second;
      infos[i].reference_label = "real against real";
    }
    return infos;
  }

  std::vector<Shown> pictures() override {
    const PauseRecording pause;
    const Averaged averaged(average_.get());
    const Evaluating mode(*generator_, setting_.evaluate.batch_norm,
                          [&] { generate(10 * kChunk, "calibration"); });
    if (mixture_ != nullptr) return {{"samples", scatter(generate(2000, "judged"), reach())}};
    return {{"samples", sheet(unit_range((*generator_)(preview_)))}};
  }

  std::vector<Shown> inputs() override {
    const data::Batch batch =
        data::first(*data_.train, mixture_ != nullptr ? 2000 : preview_.dim(0));
    return {{"data", mixture_ != nullptr ? scatter(batch.images, reach())
                                         : sheet(unit_range(batch.images))}};
  }

  std::vector<Network> networks() override {
    return {{"generator", &*generator_, preview_},
            {"discriminator", &*discriminator_,
             data::first(*data_.test, std::min<std::int64_t>(64, data_.test->size())).images}};
  }

  std::vector<Named<double>> gradient_norms() const override {
    std::vector<Named<double>> all = generator_.gradient_norms();
    for (Named<double>& norm : discriminator_.gradient_norms()) all.push_back(std::move(norm));
    return all;
  }
  std::string data_description() const override { return data_.train->describe(); }

  void save(Checkpoint& checkpoint) const override {
    generator_.save(checkpoint);
    discriminator_.save(checkpoint);
    if (average_) checkpoint.add("ema.generator.", average_->state());
    checkpoint.texts["loader"] = std::to_string(loader_.position());
    checkpoint.texts["rng.latent"] = state_text(latent_);
    checkpoint.texts["rng.penalty"] = state_text(mixing_);
  }
  void load(const Checkpoint& checkpoint) override {
    generator_.load(checkpoint);
    discriminator_.load(checkpoint);
    if (average_) average_->load_state(checkpoint.below("ema.generator."));
    loader_.seek(std::stoll(checkpoint.text("loader")));
    restore(latent_, checkpoint.text("rng.latent"));
    restore(mixing_, checkpoint.text("rng.penalty"));
  }

 private:
  /// The averaged weights in place of the trained ones, for a scope.
  class Averaged {
   public:
    explicit Averaged(optim::WeightAverage* average) : average_(average) {
      if (average_ != nullptr) average_->swap();
    }
    ~Averaged() {
      if (average_ != nullptr) average_->swap();
    }

   private:
    optim::WeightAverage* average_;
  };

  double train_discriminator(Tape& tape, const Tensor& real, const Tensor& fake,
                             std::int64_t step) {
    const nn::Critic critic = [&](const Tensor& x) { return (*discriminator_)(x); };
    Tensor real_scores, fake_scores;
    if (setting_.gan.real_and_fake_together) {
      const Tensor scores = critic(concat({real, fake}, 0));
      real_scores = slice(scores, 0, {.end = real.dim(0)});
      fake_scores = slice(scores, 0, {.start = real.dim(0)});
    } else {
      real_scores = critic(real);
      fake_scores = critic(fake);
    }
    Tensor loss = loss_.discriminator(real_scores, fake_scores);
    const double shown = loss.item();
    check_finite({{"d", shown}}, step);
    if (setting_.gan.gradient_penalty > 0)
      loss = loss + nn::gradient_penalty(critic, real, fake, mixing_) *
                        static_cast<Real>(setting_.gan.gradient_penalty);
    if (setting_.gan.r1 > 0)
      loss = loss + nn::r1_penalty(critic, real) * static_cast<Real>(setting_.gan.r1);
    check_finite({{"d with penalty", loss.item()}}, step);
    discriminator_.step(tape.gradient(loss, discriminator_.parameters()), step);
    return shown;
  }

  Tensor draw(std::int64_t n) { return latent_.normal({n, setting_.gan.latent}); }

  /// n outputs of the generator from latents that depend on the purpose only.
  Tensor generate(std::int64_t n, std::string_view purpose) {
    Rng latents = Rng(0).split(purpose);
    std::vector<Tensor> parts;
    for (std::int64_t begin = 0; begin < n; begin += kChunk)
      parts.push_back(
          (*generator_)(latents.normal({std::min(kChunk, n - begin), setting_.gan.latent})));
    return concat(parts, 0);
  }

  Figures judged(const FeatureNet::Result& fake) const {
    const Neighborhood near = neighborhood(real_, fake.features);
    return {{"fd_own", frechet_distance(real_, fake.features)},
            {"kid_own", kernel_distance(real_, fake.features)},
            {"precision", near.precision},
            {"recall", near.recall},
            {"density", near.density},
            {"coverage", near.coverage},
            {"class_divergence", class_divergence(fake.logits)}};
  }

  std::unique_ptr<nn::Sequential> build_generator() {
    auto network = nn::build_network(setting_.gan.generator, {setting_.gan.latent}, setting_.norm,
                                     "/model/generator", rng_.split("dropout"));
    network->reset_parameters(Rng(0));
    const Shape out = nn::output_shape(*network, {setting_.gan.latent});
    if (!(out == data_.train->shape())) {
      throw Error("/model/generator", "must make what the data holds")
          .shape("output", out)
          .shape("data", data_.train->shape())
          .hint("change the last blocks' width, stride and padding, or data.size");
    }
    return network;
  }
  std::unique_ptr<nn::Sequential> build_discriminator() {
    const Shape example = data_.train->shape();
    auto network = nn::build_network(setting_.gan.discriminator, example, setting_.norm,
                                     "/model/discriminator", rng_.split("dropout"));
    network->reset_parameters(Rng(0));
    const Shape out = nn::output_shape(*network, example);
    if (out.size() < 1)
      throw Error("/model/discriminator", "puts out nothing").shape("output", out);
    return network;
  }

  double reach() const {
    double largest = 0;
    for (const Real value : mixture_->centers().data())
      largest = std::max(largest, std::abs(static_cast<double>(value)));
    return 1.3 * largest;
  }
  static double mean_of(const Tensor& images) {
    double sum = 0;
    for (const Real value : images.data()) sum += value;
    return sum / static_cast<double>(images.size());
  }
  Tensor unit_range(const Tensor& images) const {
    const Real low = static_cast<Real>(setting_.data.range[0]),
               high = static_cast<Real>(setting_.data.range[1]);
    return clamp(affine(images, 1 / (high - low), -low / (high - low)), 0, 1);
  }
  Tensor sheet(const Tensor& images) const {
    return contact_sheet(images, static_cast<std::int64_t>(setting_.log.sample_grid[1]));
  }

  const ExperimentSetting setting_;
  const Rng rng_;
  Rng latent_, mixing_;
  data::DataPair data_;
  const data::GaussianMixture* mixture_;
  data::Loader loader_;
  nn::GanLoss loss_;
  Trained generator_, discriminator_;
  std::unique_ptr<optim::WeightAverage> average_;
  std::unique_ptr<FeatureNet> features_;
  Tensor preview_, real_;
  Figures reference_;
};

}  // namespace

std::unique_ptr<Task> make_gan(const ExperimentSetting& setting) {
  return std::make_unique<Gan>(setting);
}

}  // namespace tapestry::lab
