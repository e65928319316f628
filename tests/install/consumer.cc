// Uses something of every library, through the headers that a user sees.
#include <cstdio>

#include "core/core.h"
#include "datasets/synthetic.h"
#include "examples/lab/statistics.h"
#include "layers/layers.h"
#include "optim/optimizer.h"
using namespace tapestry;

int main() {
  const data::Shapes pictures(8, 16, Rng(1));
  nn::Sequential net{nn::Flatten(), nn::Linear(16 * 16, 4)};
  net.reset_parameters(Rng(2));
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  const data::Batch batch = data::first(pictures, 8);
  std::vector<double> losses;
  for (int step = 0; step < 2; ++step) {
    Tape tape;
    const Tensor loss = nn::cross_entropy(net(batch.images), batch.labels);
    sgd.step(tape.gradient(loss, sgd.parameters()));
    losses.push_back(static_cast<double>(loss.item()));
  }
  std::printf("loss %.3f, then %.3f, mean %.3f\n", losses[0], losses[1],
              lab::summarize(losses).mean);
  return losses[1] < losses[0] ? 0 : 1;
}
