#include "core/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

namespace tapestry {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Note [Large blocks]
// ~~~~~~~~~~~~~~~~~~~
// Nearly all memory of a training step is in few large blocks of many different sizes. Kept by
// size, a freed block waits for a request of its own size while others ask the system for more: a
// style transfer step that holds 409 MB at its peak then occupied 546 MB. So they come from one
// range of addresses, as large as the machine's memory, whose pages exist from their first use on,
// and free neighbors become one. A request takes the smallest part that is large enough, the lowest
// of several.
//
// It also lets large blocks share huge pages. Blocks with huge pages of their own end in one that
// is partly unused, in the mean half of 2 MB.
class Arena {
 public:
  Arena() {
    const std::size_t memory = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                               static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) / kHugePage *
                               kHugePage;
    void* range = mmap(nullptr, memory + kHugePage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return;  // a limit on address space: each block from the system, then
    const auto start = reinterpret_cast<std::uintptr_t>(range);
    base_ =
        static_cast<std::byte*>(range) + ((start + kHugePage - 1) / kHugePage * kHugePage - start);
    size_ = memory;
#ifdef MADV_HUGEPAGE
    madvise(base_, size_, MADV_HUGEPAGE);
#endif
  }

  static std::size_t rounded(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }
  bool owns(const void* block) const {
    const auto* at = static_cast<const std::byte*>(block);
    return base_ != nullptr && at >= base_ && at < base_ + size_;
  }
  /// How many bytes below the highest ever used are free.
  std::size_t idle() const { return idle_; }

  /// A multiple of kPage bytes, or nullptr when there are not so many together. `grew`: they were
  /// not all there before.
  void* take(std::size_t bytes, bool& grew) {
    const auto found = by_size_.lower_bound({bytes, 0});
    grew = found == by_size_.end();
    std::size_t at = top_;
    if (!grew) {
      const auto [size, start] = *found;
      at = start;
      remove(start, size);
      if (size > bytes) insert(start + bytes, size - bytes);
    } else {
      const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
      const bool extends = last != free_.end() && last->first + last->second == top_;
      if (extends) at = last->first;
      if (bytes > size_ - at) return nullptr;
      if (extends) remove(last->first, last->second);
      top_ = at + bytes;
    }
    return base_ + at;
  }

  void give(void* block, std::size_t bytes) {
    auto at = static_cast<std::size_t>(static_cast<std::byte*>(block) - base_);
    const auto next = free_.lower_bound(at);
    if (next != free_.begin()) {
      const auto [start, size] = *std::prev(next);
      if (start + size == at) {
        remove(start, size);
        at = start;
        bytes += size;
      }
    }
    if (const auto after = free_.find(at + bytes); after != free_.end()) {
      const auto [start, size] = *after;
      remove(start, size);
      bytes += size;
    }
    insert(at, bytes);
  }

  /// Gives the pages of free parts back to the system.
  void trim() {
    for (const auto& [start, size] : free_) madvise(base_ + start, size, MADV_DONTNEED);
    if (!free_.empty()) {
      const auto [start, size] = *std::prev(free_.end());
      if (start + size == top_) {
        remove(start, size);
        top_ = start;
      }
    }
  }

 private:
  static constexpr std::size_t kPage = 4096;

  void insert(std::size_t start, std::size_t size) {
    free_.emplace(start, size);
    by_size_.emplace(size, start);
    idle_ += size;
  }
  void remove(std::size_t start, std::size_t size) {
    free_.erase(start);
    by_size_.erase({size, start});
    idle_ -= size;
  }

  std::byte* base_ = nullptr;
  std::size_t size_ = 0, top_ = 0, idle_ = 0;
  std::map<std::size_t, std::size_t> free_;  // start → size
  std::set<std::pair<std::size_t, std::size_t>> by_size_;
};

// Small blocks are kept by size class. Eight classes per power of two waste at most 12 % of a
// block.
constexpr int kStepBits = 3;
constexpr int kClasses = 64 << kStepBits;
// From here on finding a place in the arena, some 0.2 µs, is little against using the block.
constexpr std::size_t kLargeBytes = 64 << 10;

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
    const SizeClass size = size_of(bytes);
    if (bytes >= kLargeBytes && !bypass_) {
      const std::lock_guard lock(mutex_);
      bool grew = false;
      if (void* block = arena_.take(size.bytes, grew)) {
        count(static_cast<std::int64_t>(size.bytes));
        if (grew) ++stats_.system_allocations;
        return block;
      }
    } else {
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
    const SizeClass size = size_of(bytes);
    const std::lock_guard lock(mutex_);
    stats_.live_bytes -= static_cast<std::int64_t>(size.bytes);
    if (arena_.owns(block)) {
      arena_.give(block, size.bytes);
      return;
    }
    if (bypass_ || bytes >= kLargeBytes) {
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
    arena_.trim();
    stats_.cached_bytes = 0;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    MemoryStats result = stats_;
    result.cached_bytes += static_cast<std::int64_t>(arena_.idle());
    return result;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }

 private:
  SizeClass size_of(std::size_t bytes) const {
    if (bytes < kLargeBytes) return size_class(bytes);
    return {0, Arena::rounded(bytes)};
  }
  void count(std::int64_t bytes) {
    stats_.live_bytes += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  }

  static void* from_system(std::size_t bytes) {
    return std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  }

  [[noreturn]] void throw_out_of_memory(std::size_t bytes) {
    throw Error("memory", "the system has no {} MB more; {} MB are in use", bytes >> 20,
                stats().live_bytes >> 20)
        .hint("use a smaller batch, image size or width")
        .fault(Fault::kEnvironment);
  }

  std::mutex mutex_;
  Arena arena_;
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
