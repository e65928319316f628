#include <cstdio>

#include "core/core.h"
#include "datasets/loader.h"
#include "datasets/synthetic.h"
#include "layers/layers.h"
#include "optim/optimizer.h"
using namespace tapestry;

int main() {
  const Rng rng(1);
  const data::Shapes pictures(2000, 16, rng.split("pictures"));  // disc, square, triangle, cross
  data::Loader loader(pictures, {.batch = 50}, rng.split("order"));
  nn::Sequential net{nn::Conv2d(1, 16, {.kernel = 4, .stride = 2}), nn::GroupNorm(4, 16),
                     nn::ReLU(), nn::Flatten(), nn::Linear(16 * 7 * 7, 4)};
  net.reset_parameters(rng.split("weights"));
  optim::Adam adam(net.parameters(), {.lr = 3e-3});
  for (int step = 0; step <= 300; ++step) {
    const data::Batch batch = loader.next();
    Tape tape;  // records what follows
    const Tensor loss = nn::cross_entropy(net(batch.images), batch.labels);
    adam.step(tape.gradient(loss, adam.parameters()));
    if (step % 60 == 0)
      std::printf("step %3d   loss %.3f\n", step, static_cast<double>(loss.item()));
  }
}
