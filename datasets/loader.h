// Batches in an order that a seed decides, prepared ahead by one thread, resumable in the middle of
// an epoch.
#ifndef TAPESTRY_DATASETS_LOADER_H_
#define TAPESTRY_DATASETS_LOADER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "core/random.h"
#include "datasets/dataset.h"

namespace tapestry::data {

struct LoaderOptions {
  std::int64_t batch = 64;
  bool shuffle = true;
  bool drop_last =
      true;  // leave out a last batch that is not full; a batch of one would break BatchNorm
  int prefetch = 2;  // batches prepared ahead by a thread of its own; 0: none
};

/// Changes a batch on its way to the network, for example a random flip; draws from the given
/// stream, which belongs to that batch alone.
using Augment = std::function<void(Batch&, Rng&)>;

/// Endless batches, epoch after epoch. Batch number i is a function of (dataset, options, rng, i):
/// independent of threads, prefetching and of where a run was interrupted.
class Loader {
 public:
  /// Throws Error when the set is smaller than one batch and drop_last is on. `dataset` must
  /// outlive the loader.
  Loader(const Dataset& dataset, const LoaderOptions& options, const Rng& rng,
         Augment augment = {});
  ~Loader();
  Loader(Loader&&) noexcept;

  /// The next batch.
  Batch next();
  /// How many batches next() has given; restoring it continues exactly there.
  std::int64_t position() const;
  void seek(std::int64_t position);
  std::int64_t batches_per_epoch() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_LOADER_H_
