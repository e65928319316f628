// Task "classify": a network learns labels; judged by accuracy and loss on held-out examples.
#include <cmath>

#include "core/image.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "datasets/loader.h"
#include "examples/lab/metrics.h"
#include "examples/lab/task.h"
#include "layers/loss.h"

namespace tapestry::lab {
namespace {

constexpr std::int64_t kChunk = 100;  // examples judged at a time, to bound memory

class Classify final : public Task {
 public:
  explicit Classify(const ExperimentSetting& setting)
      : setting_(setting),
        rng_(static_cast<std::uint64_t>(setting.seed)),
        data_(data::make_data(setting.data, setting.folder,
                              Rng(0).split("data"))),  // the data does not change with the seed
        loader_(*data_.train, {.batch = setting.train.batch}, rng_.split("order"),
                data::make_augment(setting.data)),
        network_("network", build(), setting.classify.optimizer, setting, rng_) {}

  Figures step(std::int64_t step) override {
    const data::Batch batch = loader_.next();
    Tape tape;
    const Tensor loss = nn::cross_entropy(
        (*network_)(batch.images), batch.labels,
        {.label_smoothing = static_cast<Real>(setting_.classify.label_smoothing)});
    const Figures losses{{"loss", loss.item()}};
    check_finite(losses, step);
    network_.step(tape.gradient(loss, network_.parameters()), step);
    return losses;
  }

  Figures evaluate() override {
    const PauseRecording pause;
    const Evaluating mode(*network_, setting_.evaluate.batch_norm, [&] { calibrate(); });
    const std::int64_t n = std::min(setting_.evaluate.samples, data_.test->size());
    double right = 0, loss = 0;
    for (std::int64_t begin = 0; begin < n; begin += kChunk) {
      std::vector<std::int64_t> indices;
      for (std::int64_t i = begin; i < std::min(begin + kChunk, n); ++i) indices.push_back(i);
      const data::Batch batch = data::collect(*data_.test, indices);
      const Tensor logits = (*network_)(batch.images);
      right += accuracy(logits, batch.labels) * static_cast<double>(indices.size());
      loss += nn::cross_entropy(logits, batch.labels).item() * static_cast<double>(indices.size());
    }
    return {{"test_accuracy", right / static_cast<double>(n)},
            {"test_loss", loss / static_cast<double>(n)}};
  }

  std::vector<FigureInfo> figures() const override {
    const std::int64_t n = std::min(setting_.evaluate.samples, data_.test->size());
    return {{.name = "test_accuracy",
             .label = "Test accuracy",
             .goal = Goal::kMax,
             .note = "Share of held-out examples whose highest score is the right class.",
             .samples = n},
            {.name = "test_loss",
             .label = "Test loss",
             .goal = Goal::kMin,
             .note = "Mean cross-entropy on held-out examples.",
             .samples = n}};
  }

  std::vector<Shown> pictures() override { return {}; }
  std::vector<Shown> inputs() override {
    const data::Batch batch = data::first(
        *data_.train,
        static_cast<std::int64_t>(setting_.log.sample_grid[0] * setting_.log.sample_grid[1]));
    if (batch.images.rank() != 4) return {};
    return {{"data", contact_sheet(unit_range(batch.images),
                                   static_cast<std::int64_t>(setting_.log.sample_grid[1]))}};
  }
  std::vector<Network> networks() override {
    return {{"network", &*network_,
             data::first(*data_.test, std::min<std::int64_t>(64, data_.test->size())).images}};
  }
  std::vector<Named<double>> gradient_norms() const override { return network_.gradient_norms(); }
  std::string data_description() const override {
    return data_.train->describe() + "; " + data_.test->describe();
  }

  void save(Checkpoint& checkpoint) const override {
    network_.save(checkpoint);
    checkpoint.texts["loader"] = std::to_string(loader_.position());
    checkpoint.texts["network"] = write_settings(setting_.classify.network).dump(-1);
    checkpoint.texts["input"] = data_.train->shape().str();
  }
  void load(const Checkpoint& checkpoint) override {
    network_.load(checkpoint);
    loader_.seek(std::stoll(checkpoint.text("loader")));
  }

 private:
  std::unique_ptr<nn::Sequential> build() {
    auto network = nn::build_network(setting_.classify.network, data_.train->shape(), setting_.norm,
                                     "/model/network", rng_.split("dropout"));
    network->reset_parameters(Rng(0));
    const Shape out = nn::output_shape(*network, data_.train->shape());
    if (out.rank() != 1 || out[0] != data_.train->classes()) {
      throw Error("/model/network", "must end in one score for each of {} classes",
                  data_.train->classes())
          .shape("output", out)
          .hint("end with {\"type\": \"linear\", \"width\": {}, \"norm\": \"none\"}",
                data_.train->classes());
    }
    return network;
  }
  void calibrate() {
    for (std::int64_t begin = 0;
         begin + kChunk <= std::min<std::int64_t>(data_.train->size(), 10 * kChunk);
         begin += kChunk) {
      std::vector<std::int64_t> indices;
      for (std::int64_t i = begin; i < begin + kChunk; ++i) indices.push_back(i);
      (*network_)(data::collect(*data_.train, indices).images);
    }
  }
  Tensor unit_range(const Tensor& images) const {
    const Real low = static_cast<Real>(setting_.data.range[0]),
               high = static_cast<Real>(setting_.data.range[1]);
    return affine(images, 1 / (high - low), -low / (high - low));
  }

  const ExperimentSetting setting_;
  const Rng rng_;
  data::DataPair data_;
  data::Loader loader_;
  Trained network_;
};

}  // namespace

std::unique_ptr<Task> make_classify(const ExperimentSetting& setting) {
  return std::make_unique<Classify>(setting);
}

}  // namespace tapestry::lab
