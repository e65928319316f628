#include "core/memory.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "core/tensor.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

bool bypassed() { return std::getenv("TAPESTRY_NO_POOL") != nullptr; }

}  // namespace

TEST_CASE("memory: every block is aligned and large enough") {
  for (const std::size_t bytes : {0UL, 1UL, 63UL, 64UL, 65UL, 511UL, 512UL, 513UL, 1000UL, 4097UL,
                                  (2UL << 20) - 1, 2UL << 20, (2UL << 20) + 1, 5000000UL}) {
    void* block = allocate_bytes(bytes);
    REQUIRE(block != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % kAlignment == 0);
    std::memset(block, 0xAB, bytes);  // under a sanitizer: all of it is ours
    release_bytes(block, bytes);
  }
  for (const std::int64_t n : {1, 3, 17, 1000}) {
    const Tensor x = Tensor::empty({n});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data().data()) % kAlignment == 0);
  }
}

TEST_CASE("memory: size classes waste at most an eighth") {
  for (std::size_t bytes = 600; bytes < 3000000; bytes = bytes * 17 / 16 + 3) {
    const std::int64_t before = memory_stats().live_bytes;
    void* block = allocate_bytes(bytes);
    const std::int64_t taken = memory_stats().live_bytes - before;
    CHECK(taken >= static_cast<std::int64_t>(bytes));
    CHECK(taken <= static_cast<std::int64_t>(bytes + bytes / 8 + 1));
    release_bytes(block, bytes);
    CHECK(memory_stats().live_bytes == before);
  }
}

TEST_CASE("memory: free neighbors become one, and serve what is larger than each") {
  if (bypassed()) return;
  trim_memory();
  constexpr std::size_t kBytes = 1 << 20;
  void* parts[4];
  for (void*& part : parts) part = allocate_bytes(kBytes);
  const std::int64_t asked = memory_stats().system_allocations;
  release_bytes(parts[0], kBytes);
  release_bytes(parts[2], kBytes);
  release_bytes(parts[1], kBytes);  // joins both sides
  void* large = allocate_bytes(3 * kBytes);
  CHECK(large == parts[0]);
  CHECK(memory_stats().system_allocations == asked);
  release_bytes(large, 3 * kBytes);
  void* small = allocate_bytes(kBytes);
  void* next = allocate_bytes(2 * kBytes);  // the rest
  CHECK(small == parts[0]);
  CHECK(next == parts[1]);
  std::memset(next, 0xAB, 2 * kBytes);
  release_bytes(small, kBytes);
  release_bytes(next, 2 * kBytes);
  release_bytes(parts[3], kBytes);
  CHECK(memory_stats().system_allocations == asked);
}

TEST_CASE("memory: statistics follow what is handed out, kept and given back") {
  trim_memory();
  constexpr std::size_t kBytes = 1 << 20;
  const MemoryStats before = memory_stats();
  CHECK(before.cached_bytes == 0);
  reset_peak_memory();
  void* a = allocate_bytes(kBytes);
  void* b = allocate_bytes(kBytes);
  CHECK(memory_stats().live_bytes == before.live_bytes + 2 * static_cast<std::int64_t>(kBytes));
  CHECK(memory_stats().system_allocations == before.system_allocations + 2);
  release_bytes(a, kBytes);
  release_bytes(b, kBytes);
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().peak_bytes == before.live_bytes + 2 * static_cast<std::int64_t>(kBytes));
  if (!bypassed()) {
    CHECK(memory_stats().cached_bytes == 2 * static_cast<std::int64_t>(kBytes));
    void* again = allocate_bytes(kBytes);  // reused: nothing is asked of the system
    CHECK(memory_stats().system_allocations == before.system_allocations + 2);
    CHECK(memory_stats().cached_bytes == static_cast<std::int64_t>(kBytes));
    release_bytes(again, kBytes);
  }
  trim_memory();
  CHECK(memory_stats().cached_bytes == 0);
  reset_peak_memory();
  CHECK(memory_stats().peak_bytes == memory_stats().live_bytes);
}

TEST_CASE("memory: more than there is, is an error that leaves the statistics as they were") {
  const MemoryStats before = memory_stats();
  const std::string text = error_text([] { allocate_bytes(std::size_t{1} << 50); });
  CHECK(text.find("memory: the system has no 1073741824 MB more; ") == 0);
  CHECK(text.find("hint  use a smaller batch, image size or width") != std::string::npos);
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().peak_bytes == before.peak_bytes);
}

TEST_CASE("memory: views keep the block alive, the last handle gives it back") {
  const std::int64_t before = memory_stats().live_bytes;
  {
    Tensor view;
    {
      const Tensor x = Tensor::ones({100000});
      view = x.view({10}, 99990);
    }
    CHECK(memory_stats().live_bytes > before);
    CHECK(view.data()[9] == 1);
  }
  CHECK(memory_stats().live_bytes == before);
}

TEST_CASE("memory: many threads at once") {
  const std::int64_t before = memory_stats().live_bytes;
  std::vector<std::thread> threads;
  std::atomic<int> overlaps{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &overlaps] {
      for (int i = 0; i < 500; ++i) {
        Scratch<std::int32_t> block(100 + i % 50);
        for (int k = 0; k < 100; ++k) block[k] = t;
        for (int k = 0; k < 100; ++k) overlaps += block[k] != t;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(overlaps == 0);
  CHECK(memory_stats().live_bytes == before);
}

}  // namespace tapestry::testing
