#include "datasets/loader.h"

#include <algorithm>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/support/errors.h"

using namespace tapestry;
using testing::contains;
using testing::error_of;

namespace {

/// Example i is the number i.
class Numbers final : public data::Dataset {
 public:
  explicit Numbers(std::int64_t count, std::int64_t broken = -1) : count_(count), broken_(broken) {}
  std::int64_t size() const override { return count_; }
  data::Example get(std::int64_t index) const override {
    if (index == broken_) throw Error("numbers", "example {} is broken", index);
    return {Tensor::full({1}, static_cast<Real>(index)), static_cast<std::int32_t>(index % 3)};
  }
  int classes() const override { return 3; }
  std::string describe() const override { return "numbers"; }

 private:
  std::int64_t count_, broken_;
};

std::vector<Real> values(const data::Batch& batch) {
  return {batch.images.data().begin(), batch.images.data().end()};
}

std::vector<std::vector<Real>> take(data::Loader& loader, int count) {
  std::vector<std::vector<Real>> batches;
  for (int i = 0; i < count; ++i) batches.push_back(values(loader.next()));
  return batches;
}

/// Adds a random number: shows which stream a batch was given.
void jitter(data::Batch& batch, Rng& rng) {
  Tensor images = batch.images.clone();
  for (Real& value : images.mutable_data()) value += static_cast<Real>(rng.uniform());
  batch.images = images;
}

}  // namespace

TEST_CASE("loader: every epoch has every example once, in an order of its own") {
  const Numbers numbers(20);
  data::Loader loader(numbers, {.batch = 5}, Rng(1));
  CHECK(loader.batches_per_epoch() == 4);
  std::vector<std::vector<Real>> epochs;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<Real> all;
    for (const auto& batch : take(loader, 4)) all.insert(all.end(), batch.begin(), batch.end());
    CHECK(std::set<Real>(all.begin(), all.end()).size() == 20);
    epochs.push_back(all);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  CHECK(!std::is_sorted(epochs[0].begin(), epochs[0].end()));
}

TEST_CASE("loader: the seed decides, not the prefetching") {
  const Numbers numbers(23);
  std::vector<std::vector<Real>> want;
  for (const int prefetch : {0, 1, 2, 7}) {
    data::Loader loader(numbers, {.batch = 4, .prefetch = prefetch}, Rng(9), jitter);
    const auto got = take(loader, 17);
    if (want.empty()) want = got;
    CHECK(got == want);
    CHECK(loader.position() == 17);
  }
  data::Loader other(numbers, {.batch = 4}, Rng(10), jitter);
  CHECK(take(other, 17) != want);
}

TEST_CASE("loader: continues where it was, in the middle of an epoch, with the same jitter") {
  const Numbers numbers(23);
  for (const int prefetch : {0, 3}) {
    data::Loader whole(numbers, {.batch = 4, .prefetch = prefetch}, Rng(9), jitter);
    const auto want = take(whole, 20);
    for (const int stop : {0, 3, 5, 12}) {
      data::Loader again(numbers, {.batch = 4, .prefetch = prefetch}, Rng(9), jitter);
      again.seek(stop);
      CHECK(take(again, 20 - stop) ==
            std::vector<std::vector<Real>>(want.begin() + stop, want.end()));
    }
    whole.seek(2);  // and backwards
    CHECK(values(whole.next()) == want[2]);
  }
  data::Loader loader(numbers, {.batch = 4}, Rng(1));
  CHECK(contains(error_of([&] { loader.seek(-1); }), "there is no batch -1"));
}

TEST_CASE("loader: the last batch, the order without shuffling, labels") {
  const Numbers numbers(10);
  data::Loader loader(numbers, {.batch = 4, .shuffle = false, .drop_last = false}, Rng(1));
  CHECK(loader.batches_per_epoch() == 3);
  const data::Batch first = loader.next();
  CHECK(values(first) == std::vector<Real>{0, 1, 2, 3});
  CHECK(first.labels == std::vector<std::int32_t>{0, 1, 2, 0});
  CHECK(first.images.shape() == Shape{4, 1});
  loader.next();
  CHECK(values(loader.next()) == std::vector<Real>{8, 9});
  CHECK(values(loader.next()) == std::vector<Real>{0, 1, 2, 3});
}

TEST_CASE("loader: faults") {
  const Numbers numbers(3), broken(30, 7);
  const std::string error = error_of([&] { data::Loader(numbers, {.batch = 4}, Rng(1)); });
  CHECK(contains(error, "the set has 3 examples, less than one batch of 4"));
  CHECK(contains(error_of([&] { data::Loader(numbers, {.batch = 0}, Rng(1)); }),
                 "at least one example, got 0"));
  // What goes wrong in the loader's thread arrives in the caller's, at the batch it belongs to.
  for (const int prefetch : {0, 2}) {
    data::Loader loader(broken, {.batch = 5, .shuffle = false, .prefetch = prefetch}, Rng(1));
    CHECK(values(loader.next()).size() == 5);
    CHECK(contains(error_of([&] { loader.next(); }), "example 7 is broken"));
    loader.seek(2);
    CHECK(values(loader.next())[0] == 10);
  }
  // Leaving early, with batches waiting.
  for (int i = 0; i < 50; ++i) data::Loader(broken, {.batch = 5, .shuffle = false}, Rng(1));
}

TEST_CASE("dataset: batches of unequal examples, empty ones, labels outside the classes") {
  CHECK(contains(error_of([] { data::collect(Numbers(3), {}); }), "at least one example"));
  CHECK(data::first(Numbers(3), 9).labels.size() == 3);
  CHECK(contains(error_of([] {
                   data::InMemory(Tensor::zeros({2, 1}), {0}, 1, "x");
                 }),
                 "1 labels for the images"));
  CHECK(contains(error_of([] {
                   data::InMemory(Tensor::zeros({2, 1}), {0, 5}, 5, "x");
                 }),
                 "label 5 of example 1 is outside 0 … 4"));
}
