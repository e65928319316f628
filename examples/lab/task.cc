#include "examples/lab/task.h"

#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/text.h"

namespace tapestry::lab {

std::unique_ptr<Task> make_task(const ExperimentSetting& setting) {
  if (setting.task == "gan") return make_gan(setting);
  if (setting.task == "style") return make_style(setting);
  return make_classify(setting);
}

Trained::Trained(std::string name, std::unique_ptr<nn::Sequential> network,
                 const Optimization& optimization, const ExperimentSetting& setting, const Rng& rng)
    : name_(std::move(name)),
      network_(std::move(network)),
      schedule_(optimization.schedule),
      clip_(optimization.clip),
      total_steps_(setting.train.total_steps()) {
  network_->set_name(name_);
  nn::initialize(*network_, setting.init, rng.split("init").split(name_));
  optimizer_ = optim::make_optimizer(optimization.rule, network_->parameters());
  base_rate_ = optimization.rule.lr();
  if (optimization.lr_scales_with_batch > 0)
    base_rate_ *= static_cast<double>(setting.train.batch) /
                  static_cast<double>(optimization.lr_scales_with_batch);
  named_ = network_->named_parameters();
  norms_.assign(named_.size(), 0);
}

void Trained::step(std::vector<Tensor> gradients, std::int64_t step) {
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    double sum = 0;
    for (const Real value : gradients[i].data()) sum += static_cast<double>(value) * value;
    norms_[i] = std::sqrt(sum);
  }
  if (clip_ > 0) optim::clip_grad_norm(gradients, clip_);
  optimizer_->lr = schedule_.rate(base_rate_, step, total_steps_);
  optimizer_->step(gradients);
}

std::vector<Named<double>> Trained::gradient_norms() const {
  std::vector<Named<double>> result;
  for (std::size_t i = 0; i < named_.size(); ++i)
    result.push_back({name_ + "." + named_[i].name, norms_[i]});
  return result;
}

void Trained::save(Checkpoint& checkpoint) const {
  checkpoint.add(name_ + ".", network_->state());
  checkpoint.add("optimizer." + name_ + ".", optimizer_->state());
}

void Trained::load(const Checkpoint& checkpoint) {
  network_->load_state(checkpoint.below(name_ + "."));
  optimizer_->load_state(checkpoint.below("optimizer." + name_ + "."));
}

Evaluating::Evaluating(nn::UnaryModule& network, const std::string& batch_norm,
                       const std::function<void()>& calibrate)
    : network_(network) {
  network.eval();
  nn::set_batch_norm_evaluation(
      network, batch_norm == "batch" ? nn::EvalStatistics::kBatch : nn::EvalStatistics::kRunning);
  if (batch_norm == "recalibrated") {
    for (const Named<Tensor>& buffer : network.named_buffers())
      kept_.emplace_back(buffer.value, buffer.value.clone());
    nn::recalibrate(network, calibrate);
  }
}

Evaluating::~Evaluating() {
  for (auto& [buffer, value] : kept_)
    std::copy(value.data().begin(), value.data().end(), buffer.mutable_data().begin());
  network_.train();
}

void check_finite(const Figures& losses, std::int64_t step) {
  for (const auto& [name, value] : losses) {
    if (std::isfinite(value)) continue;
    throw Error("training", "the loss \"{}\" is {} at step {}", name,
                std::isnan(value) ? "NaN" : "infinite", step + 1)
        .hint(
            "lower the learning rate or clip gradients; --set train.anomaly=true names the op and "
            "the layer where it began")
        .fault(Fault::kDiverged);
  }
}

std::string state_text(const Rng& rng) {
  return std::to_string(rng.state().key) + " " + std::to_string(rng.state().position);
}

void restore(Rng& rng, const std::string& text) {
  Rng::State state;
  const char* end = text.data() + text.size();
  const auto [space, first] = std::from_chars(text.data(), end, state.key);
  const auto [last, second] = space < end
                                  ? std::from_chars(space + 1, end, state.position)
                                  : std::from_chars_result{end, std::errc::invalid_argument};
  if (first != std::errc() || second != std::errc() || last != end)
    throw Error("checkpoint", "\"{}\" is no state of a random stream", printable(text));
  rng.restore(state);
}

}  // namespace tapestry::lab
