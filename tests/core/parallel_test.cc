#include "core/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

struct Restore {
  int before = threads();
  ~Restore() { set_threads(before); }
};

}  // namespace

TEST_CASE("parallel_for: chunks cover the range once, with bounds that ignore the threads") {
  const Restore restore;
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    CHECK(threads() == count);
    for (const std::int64_t n : {0, 1, 9, 10, 11, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
      std::atomic<int> wrong{0};
      parallel_for(n, 10, [&](std::int64_t begin, std::int64_t end) {
        if (begin % 10 != 0 || end != std::min(n, begin + 10)) ++wrong;
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      CHECK(wrong == 0);
      for (const std::atomic<int>& visit : visits) REQUIRE(visit == 1);
    }
  }
}

TEST_CASE("parallel_for: a grain below 1 counts as 1, a negative range is empty") {
  int calls = 0;
  const Restore restore;
  set_threads(1);
  parallel_for(3, 0, [&](std::int64_t, std::int64_t) { ++calls; });
  parallel_for(-5, 1, [&](std::int64_t, std::int64_t) { ++calls; });
  CHECK(calls == 3);
}

TEST_CASE("parallel_for: more than one thread works") {
  const Restore restore;
  set_threads(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  std::atomic<int> waiting{0};
  // Each chunk waits until another thread has begun one: this ends only with two threads.
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  CHECK(seen.size() == 2);
}

TEST_CASE("parallel_for: the exception of the first chunk is rethrown, and work goes on after it") {
  const Restore restore;
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    for (int round = 0; round < 20; ++round) {
      std::string message;
      try {
        parallel_for(100, 1, [](std::int64_t begin, std::int64_t) {
          if (begin % 30 == 7) throw std::runtime_error(std::to_string(begin));
        });
      } catch (const std::runtime_error& error) {
        message = error.what();
      }
      CHECK(message == "7");
      CHECK(parallel_sum(100, 1, [](std::int64_t, std::int64_t) { return 1.0; }) == 100);
    }
  }
}

TEST_CASE("parallel_for: nested calls run inline") {
  const Restore restore;
  set_threads(3);
  std::atomic<int> total{0}, moved{0};
  parallel_for(8, 1, [&](std::int64_t, std::int64_t) {
    const auto outer = std::this_thread::get_id();
    parallel_for(8, 1, [&](std::int64_t, std::int64_t) {
      ++total;
      if (std::this_thread::get_id() != outer) ++moved;
    });
  });
  CHECK(total == 64);
  CHECK(moved == 0);
}

TEST_CASE("parallel_sum: the same bits at any number of threads") {
  const Restore restore;
  std::vector<double> sums;
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    sums.push_back(parallel_sum(100000, 777, [](std::int64_t begin, std::int64_t end) {
      double total = 0;
      for (std::int64_t i = begin; i < end; ++i) total += 1.0 / static_cast<double>(i + 1);
      return total;
    }));
  }
  for (const double total : sums) CHECK(total == sums[0]);
  CHECK(sums[0] == doctest::Approx(12.090146129863428));
  CHECK(parallel_sum(0, 5, [](std::int64_t, std::int64_t) { return 1.0; }) == 0);
}

TEST_CASE("parallel_for: several threads may call it at once") {
  const Restore restore;
  set_threads(3);
  std::atomic<std::int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        parallel_for(50, 3, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total == 4 * 200 * 50);
}

TEST_CASE("set_threads: may change between calls, also while another thread works") {
  const Restore restore;
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> wrong{0};
  std::thread worker([&] {
    while (!stop) {
      std::atomic<std::int64_t> total{0};
      parallel_for(64, 1, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
      if (total != 64) ++wrong;
    }
  });
  for (int round = 0; round < 100; ++round) {
    set_threads(1 + round % 5);
    std::atomic<std::int64_t> total{0};
    parallel_for(64, 1, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
    if (total != 64) ++wrong;
  }
  stop = true;
  worker.join();
  CHECK(wrong == 0);
}

TEST_CASE("set_threads: numbers out of range are refused") {
  const Restore restore;
  CHECK(error_text([] { set_threads(0); }) ==
        "set_threads: the number of threads must be from 1 to 256, got 0");
  CHECK(error_text([] { set_threads(257); }).find("got 257") != std::string::npos);
  CHECK(threads() == restore.before);
}

}  // namespace tapestry::testing
