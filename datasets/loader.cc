#include "datasets/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "core/error.h"

namespace tapestry::data {

struct Loader::State {
  State(const Dataset& set, const LoaderOptions& settings, const Rng& stream, Augment change)
      : dataset(set), options(settings), rng(stream), augment(std::move(change)) {}

  /// Batch number i, made from scratch. Only the epoch's order is kept between calls.
  Batch make(std::int64_t i) {
    const std::int64_t epoch = i / per_epoch(), place = i % per_epoch();
    if (epoch != order_epoch) {
      if (options.shuffle) {
        order =
            rng.split("epoch").split(static_cast<std::uint64_t>(epoch)).permutation(dataset.size());
      } else {
        order.resize(static_cast<std::size_t>(dataset.size()));
        std::iota(order.begin(), order.end(), 0);
      }
      order_epoch = epoch;
    }
    const std::int64_t begin = place * options.batch,
                       end = std::min(begin + options.batch, dataset.size());
    Batch batch = collect(dataset, {order.begin() + begin, order.begin() + end});
    if (augment) {
      Rng own = rng.split("augment").split(static_cast<std::uint64_t>(i));
      augment(batch, own);
    }
    return batch;
  }

  std::int64_t per_epoch() const {
    return options.drop_last ? dataset.size() / options.batch
                             : (dataset.size() + options.batch - 1) / options.batch;
  }

  void start() {
    stop = false;
    next_made = position;
    if (options.prefetch > 0) worker = std::thread([this] { work(); });
  }

  void halt() {
    if (!worker.joinable()) return;
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    worker.join();
    ready.clear();
    failure = nullptr;
  }

  void work() {
    std::unique_lock lock(mutex);
    while (!stop) {
      if (static_cast<int>(ready.size()) >= options.prefetch) {
        changed.wait(lock);
        continue;
      }
      const std::int64_t number = next_made;
      lock.unlock();
      Batch batch;
      std::exception_ptr error;
      try {
        batch = make(number);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (error) {
        failure = error;
        changed.notify_all();
        return;
      }
      ready.push_back(std::move(batch));
      ++next_made;
      changed.notify_all();
    }
  }

  const Dataset& dataset;
  const LoaderOptions options;
  const Rng rng;
  const Augment augment;
  std::vector<std::int64_t> order;
  std::int64_t order_epoch = -1;
  std::int64_t position = 0;  // batches given out

  std::thread worker;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::int64_t next_made = 0;
  std::exception_ptr failure;
  bool stop = false;
};

Loader::Loader(const Dataset& dataset, const LoaderOptions& options, const Rng& rng,
               Augment augment)
    : state_(std::make_unique<State>(dataset, options, rng, std::move(augment))) {
  if (options.batch < 1)
    throw Error("loader", "a batch needs at least one example, got {}", options.batch);
  if (state_->per_epoch() < 1) {
    throw Error("loader", "the set has {} examples, less than one batch of {}", dataset.size(),
                options.batch)
        .fact("data", dataset.describe())
        .hint("use a smaller batch");
  }
  state_->start();
}

Loader::~Loader() {
  if (state_) state_->halt();
}
Loader::Loader(Loader&&) noexcept = default;

Batch Loader::next() {
  State& state = *state_;
  if (!state.worker.joinable()) return state.make(state.position++);
  std::unique_lock lock(state.mutex);
  state.changed.wait(lock, [&] { return !state.ready.empty() || state.failure; });
  if (state.ready.empty()) std::rethrow_exception(state.failure);
  Batch batch = std::move(state.ready.front());
  state.ready.pop_front();
  ++state.position;
  state.changed.notify_all();
  return batch;
}

std::int64_t Loader::position() const { return state_->position; }

void Loader::seek(std::int64_t position) {
  if (position < 0) throw Error("loader", "there is no batch {}", position);
  state_->halt();
  state_->position = position;
  state_->start();
}

std::int64_t Loader::batches_per_epoch() const { return state_->per_epoch(); }

}  // namespace tapestry::data
