// Task "style": fast style transfer (Johnson, Alahi & Fei-Fei 2016). A network learns to redraw any
// picture in one style; judged by held-out filters on held-out pictures.
#include "examples/lab/style.h"

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/image.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/pad.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "datasets/files.h"
#include "datasets/loader.h"
#include "datasets/synthetic.h"
#include "examples/lab/filter_net.h"
#include "examples/lab/task.h"

namespace tapestry::lab {
namespace {

constexpr std::size_t kContentStage = 1;  // half resolution: structure stays, texture may change
constexpr std::int64_t kShownPictures = 6;

std::unique_ptr<data::Dataset> contents(const ExperimentSetting& s, std::string_view part,
                                        std::int64_t count) {
  if (s.style.content == "folder")
    return data::image_folder(s.folder / s.style.content_folder, {.size = s.style.size});
  return std::make_unique<data::Scenes>(count, s.style.size, Rng(0).split(part),
                                        s.style.vary_contrast);
}

Tensor style_picture(const ExperimentSetting& s) {
  if (s.style.style == "image")
    return data::fit_square(read_image(s.folder / s.style.style_file, 3), s.style.size);
  return data::texture(data::texture_kind(s.style.style), s.style.size,
                       Rng(static_cast<std::uint64_t>(s.style.style_seed)).split("style"));
}

class Style final : public Task {
 public:
  explicit Style(const ExperimentSetting& s)
      : setting_(s),
        rng_(static_cast<std::uint64_t>(s.seed)),
        train_(contents(s, "train", s.style.content_count)),
        test_(contents(s, "test",
                       std::max<std::int64_t>(kShownPictures,
                                              std::min<std::int64_t>(s.evaluate.samples, 64)))),
        loader_(*train_, {.batch = s.train.batch}, rng_.split("order")),
        style_(style_picture(s)),
        filters_(static_cast<std::uint64_t>(s.style.filter_seed)),
        judge_(static_cast<std::uint64_t>(s.style.judge_seed)),
        target_(style_target(filters_, unsqueeze(style_, {0}))),
        judge_target_(style_target(judge_, unsqueeze(style_, {0}))),
        network_("transformer", build(), s.style.optimizer, s, rng_) {
    held_out_ = data::first(*test_, std::min<std::int64_t>(test_->size(), 32)).images;
  }

  Figures step(std::int64_t step) override {
    const Tensor content = loader_.next().images;
    Tape tape;
    const Tensor drawn = (*network_)(content);
    const std::vector<Tensor> features = filters_(drawn);
    Tensor wanted;
    {
      const PauseRecording pause;
      wanted = filters_(content)[kContentStage];
    }
    const Tensor by_content = content_loss(features[kContentStage], wanted),
                 by_style = style_loss(features, target_);
    const Tensor loss = by_content * weight(setting_.style.content_weight) +
                        by_style * weight(setting_.style.style_weight) +
                        total_variation(drawn) * weight(setting_.style.total_variation);
    const Figures losses{
        {"loss", loss.item()}, {"content", by_content.item()}, {"style", by_style.item()}};
    check_finite(losses, step);
    network_.step(tape.gradient(loss, network_.parameters()), step);
    return losses;
  }

  Figures evaluate() override {
    const PauseRecording pause;
    const Figures chosen = judged(setting_.evaluate.batch_norm);
    const Figures with_batch = judged("batch");
    return {{"total", chosen[0].second},
            {"style", chosen[1].second},
            {"content", chosen[2].second},
            {"total_batch_statistics", with_batch[0].second}};
  }

  std::vector<FigureInfo> figures() const override {
    const std::int64_t n = held_out_.dim(0);
    const std::string held = " Measured by filters that training never saw, on held-out pictures.";
    return {
        {.name = "total",
         .label = "Style + content",
         .goal = Goal::kMin,
         .note = "The weighted sum: a low style term alone can be bought with lost content." + held,
         .samples = n},
        {.name = "style",
         .label = "Style",
         .goal = Goal::kMin,
         .note = "Relative distance of the Gram matrices from the style's; 0 is the same texture." +
                 held,
         .samples = n},
        {.name = "content",
         .label = "Content",
         .goal = Goal::kMin,
         .note = "Relative distance of the mid-layer features from the picture's; 0 is the same "
                 "structure." +
                 held,
         .samples = n},
        {.name = "total_batch_statistics",
         .label = "Style + content, batch statistics",
         .goal = Goal::kMin,
         .note = "The same with BatchNorm using the statistics of the pictures at hand; equal for "
                 "the other normalizers.",
         .samples = n}};
  }

  std::vector<Shown> pictures() override {
    const PauseRecording pause;
    const Evaluating mode(*network_, setting_.evaluate.batch_norm, [&] { calibrate(); });
    const Tensor drawn = (*network_)(slice(held_out_, 0, {.end = kShownPictures}));
    return labeled(drawn);
  }

  std::vector<Shown> inputs() override {
    std::vector<Shown> all = labeled(slice(held_out_, 0, {.end = kShownPictures}));
    all.push_back({"style", style_});
    return all;
  }
  std::vector<Network> networks() override {
    return {{"transformer", &*network_, slice(held_out_, 0, {.end = 4})}};
  }
  std::vector<Named<double>> gradient_norms() const override { return network_.gradient_norms(); }
  std::string data_description() const override {
    return train_->describe() + ", style " +
           (setting_.style.style == "image" ? setting_.style.style_file : setting_.style.style);
  }

  void save(Checkpoint& checkpoint) const override {
    network_.save(checkpoint);
    checkpoint.texts["loader"] = std::to_string(loader_.position());
    checkpoint.texts["transformer"] = write_settings(setting_.style.transformer).dump(-1);
    nn::NormChoice norm = setting_.norm;
    checkpoint.texts["norm"] = write_settings(norm).dump(-1);
  }
  void load(const Checkpoint& checkpoint) override {
    network_.load(checkpoint);
    loader_.seek(std::stoll(checkpoint.text("loader")));
  }

 private:
  static Real weight(double value) { return static_cast<Real>(value); }

  static std::vector<Shown> labeled(const Tensor& images) {
    std::vector<Shown> all;
    for (std::int64_t i = 0; i < images.dim(0); ++i)
      all.push_back({"picture " + std::to_string(i + 1), select(images, 0, i)});
    return all;
  }

  /// Total, style and content terms of the held-out pictures, by the judge's filters.
  Figures judged(const std::string& batch_norm) {
    const Evaluating mode(*network_, batch_norm, [&] { calibrate(); });
    double style = 0, content = 0, variation = 0;
    std::int64_t chunks = 0;
    constexpr std::int64_t kChunk = 8;  // bounds memory
    for (std::int64_t begin = 0; begin + kChunk <= held_out_.dim(0) || begin == 0;
         begin += kChunk, ++chunks) {
      const Tensor pictures = slice(held_out_, 0, {.start = begin, .end = begin + kChunk}),
                   drawn = (*network_)(pictures);
      const std::vector<Tensor> features = judge_(drawn);
      style += style_loss(features, judge_target_).item();
      content += content_loss(features[kContentStage], judge_(pictures)[kContentStage]).item();
      variation += total_variation(drawn).item();
    }
    const double n = static_cast<double>(chunks);
    return {
        {"total", (setting_.style.style_weight * style + setting_.style.content_weight * content +
                   setting_.style.total_variation * variation) /
                      n},
        {"style", style / n},
        {"content", content / n}};
  }

  void calibrate() {
    for (std::int64_t begin = 0; begin + 16 <= std::min<std::int64_t>(train_->size(), 128);
         begin += 16) {
      std::vector<std::int64_t> indices;
      for (std::int64_t i = begin; i < begin + 16; ++i) indices.push_back(i);
      (*network_)(data::collect(*train_, indices).images);
    }
  }

  std::unique_ptr<nn::Sequential> build() {
    const Shape picture{3, setting_.style.size, setting_.style.size};
    auto network = nn::build_network(setting_.style.transformer, picture, setting_.norm,
                                     "/model/transformer", rng_.split("dropout"));
    network->reset_parameters(Rng(0));
    const Shape out = nn::output_shape(*network, picture);
    if (!(out == picture))
      throw Error("/model/transformer", "must make a picture of the size it is given")
          .shape("output", out)
          .shape("picture", picture);
    return network;
  }

  const ExperimentSetting setting_;
  const Rng rng_;
  std::unique_ptr<data::Dataset> train_, test_;
  data::Loader loader_;
  Tensor style_, held_out_;
  FilterNet filters_, judge_;
  StyleTarget target_, judge_target_;
  Trained network_;
};

}  // namespace

std::unique_ptr<Task> make_style(const ExperimentSetting& setting) {
  return std::make_unique<Style>(setting);
}

Stylizer::Stylizer(const std::filesystem::path& file) {
  const Checkpoint checkpoint = load_checkpoint(file);
  if (checkpoint.texts.count("transformer") == 0)
    throw Error(file.string(), "was not made by task \"style\"")
        .hint("train one with examples/configs/style_norms.json");
  nn::NetworkSetting setting;
  nn::NormChoice norm;
  Problems problems;
  read_settings(parse_json(checkpoint.text("transformer"), file.string()), setting, problems);
  read_settings(parse_json(checkpoint.text("norm"), file.string()), norm, problems);
  problems.throw_if_any();
  network_ = nn::build_network(setting, {3, 32, 32}, norm, file.string(), Rng(0));
  network_->set_name("transformer");
  network_->load_state(checkpoint.below("transformer."));
  network_->eval();
}

Tensor Stylizer::operator()(const Tensor& picture, bool batch_statistics) {
  if (picture.rank() != 3 || picture.dim(0) != 3 || picture.dim(1) < 16 || picture.dim(2) < 16) {
    throw Error("stylize", "needs an RGB picture of at least 16 × 16 pixels")
        .shape("picture", picture, "(3, H, W)");
  }
  const PauseRecording pause;
  nn::set_batch_norm_evaluation(
      *network_, batch_statistics ? nn::EvalStatistics::kBatch : nn::EvalStatistics::kRunning);
  // The net halves the picture twice: make both sides multiples of four, and cut the border off
  // again.
  const std::int64_t h = picture.dim(1), w = picture.dim(2), below = (4 - h % 4) % 4,
                     right = (4 - w % 4) % 4;
  const Tensor padded = pad(unsqueeze(picture, {0}), {{0, below}, {0, right}}, PadMode::kReflect);
  const Tensor drawn = (*network_)(padded);
  return clamp(reshape(slice(slice(drawn, 2, {.end = h}), 3, {.end = w}), Shape{3, h, w}), 0, 1);
}

}  // namespace tapestry::lab
