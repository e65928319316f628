#include "examples/lab/features.h"

#include "core/checkpoint.h"
#include "core/config.h"
#include "core/error.h"
#include "core/ops/movement.h"
#include "core/tape.h"
#include "layers/builder.h"

namespace tapestry::lab {

FeatureNet::FeatureNet(const std::filesystem::path& file) {
  const Checkpoint checkpoint = load_checkpoint(file);
  nn::NetworkSetting setting;
  Problems problems;
  read_settings(parse_json(checkpoint.text("network"), file.string()), setting, problems);
  problems.throw_if_any();
  std::vector<std::int64_t> extents;
  const Json input = parse_json(checkpoint.text("input"), file.string());
  for (const Json& extent : input.items()) extents.push_back(extent.integer());
  input_ = Shape(extents);
  nn::NormSetting none;
  none.type = "none";
  network_ = nn::build_network(setting, input_, none, file.string(), Rng(0));
  network_->load_state(checkpoint.below("network."));
  network_->eval();
}

FeatureNet::Result FeatureNet::operator()(const Tensor& images) const {
  const PauseRecording pause;
  Tensor x = images;
  for (const int axis : {2, 3}) {
    const std::int64_t wanted = input_[axis - 1], extra = x.dim(axis) - wanted;
    if (extra < 0 || extra > 8) {
      throw Error("features", "was trained on images of {}", input_)
          .shape("images", images)
          .hint(
              "generate images of that size, or at most 8 pixels more, which are cut off as a "
              "border");
    }
    x = slice(x, axis, {.start = extra / 2, .end = extra / 2 + wanted});
  }
  std::vector<Tensor> features, logits;
  constexpr std::int64_t kChunk = 100;  // bounds memory
  for (std::int64_t begin = 0; begin < x.dim(0); begin += kChunk) {
    const Tensor part = network_->run(slice(x, 0, {.start = begin, .end = begin + kChunk}), 0,
                                      network_->size() - 1);
    features.push_back(part);
    logits.push_back(network_->run(part, network_->size() - 1, network_->size()));
  }
  return {concat(features, 0), concat(logits, 0)};
}

}  // namespace tapestry::lab
