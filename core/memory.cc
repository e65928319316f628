#include "core/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include <sys/mman.h>

#include "core/error.h"

namespace tapestry {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Blocks are kept by size class. Eight classes per power of two waste at most 12 % of a block;
// powers of two alone would waste half, which a training step's peak memory cannot afford.
constexpr int kStepBits = 3;
constexpr int kClasses = 64 << kStepBits;

struct SizeClass {
  int index;
  std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
  bytes = std::max(bytes, kAlignment * (std::size_t{1} << kStepBits));
  const int log = std::bit_width(bytes - 1) - 1;  // 2^log < bytes ≤ 2^(log+1)
  const std::size_t step = std::size_t{1} << (log - kStepBits);
  const std::size_t rounded = (bytes + step - 1) / step * step;
  return {(log << kStepBits) +
              static_cast<int>((rounded >> (log - kStepBits)) & ((1U << kStepBits) - 1)),
          rounded};
}

class Pool {
 public:
  void* allocate(std::size_t bytes) {
    if (bytes > std::size_t{1} << 46)
      throw_out_of_memory(bytes);  // beyond any machine: the classes below cannot overflow
    const SizeClass size = size_class(bytes);
    {
      const std::lock_guard lock(mutex_);
      std::vector<void*>& blocks = free_[static_cast<std::size_t>(size.index)];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        stats_.cached_bytes -= static_cast<std::int64_t>(size.bytes);
        count(static_cast<std::int64_t>(size.bytes));
        return block;
      }
    }
    void* block = from_system(size.bytes);
    if (block == nullptr) {
      trim();  // what is cached may be what is missing
      block = from_system(size.bytes);
    }
    if (block == nullptr) throw_out_of_memory(bytes);
    const std::lock_guard lock(mutex_);
    count(static_cast<std::int64_t>(size.bytes));
    ++stats_.system_allocations;
    return block;
  }

  void release(void* block, std::size_t bytes) noexcept {
    const SizeClass size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    stats_.live_bytes -= static_cast<std::int64_t>(size.bytes);
    if (bypass_) {
      std::free(block);
      return;
    }
    free_[static_cast<std::size_t>(size.index)].push_back(block);
    stats_.cached_bytes += static_cast<std::int64_t>(size.bytes);
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (std::vector<void*>& blocks : free_) {
      for (void* block : blocks) std::free(block);
      blocks.clear();
    }
    stats_.cached_bytes = 0;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }

 private:
  void count(std::int64_t bytes) {
    stats_.live_bytes += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  }

  static void* from_system(std::size_t bytes) {
    const bool huge = bytes >= kHugePage;
    const std::size_t alignment = huge ? kHugePage : kAlignment;
    void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
    if (huge && block != nullptr) madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
  }

  [[noreturn]] void throw_out_of_memory(std::size_t bytes) {
    throw Error("memory", "the system has no {} MB more; {} MB are in use", bytes >> 20,
                stats().live_bytes >> 20)
        .hint("use a smaller batch, image size or width")
        .fault(Fault::kEnvironment);
  }

  std::mutex mutex_;
  std::vector<void*> free_[kClasses];
  MemoryStats stats_;
  const bool bypass_ = std::getenv("TAPESTRY_NO_POOL") != nullptr;
};

// Never destroyed: tensors in static storage may be released after any destructor of ours.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

}  // namespace

void* allocate_bytes(std::size_t bytes) { return pool().allocate(bytes); }
void release_bytes(void* block, std::size_t bytes) noexcept { pool().release(block, bytes); }
MemoryStats memory_stats() { return pool().stats(); }
void reset_peak_memory() { pool().reset_peak(); }
void trim_memory() { pool().trim(); }

}  // namespace tapestry
