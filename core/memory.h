// The memory pool: every tensor and every kernel's scratch space comes from here. Freed blocks are
// kept and reused, because fresh pages cost the operating system about 2 µs each, more than the
// arithmetic done on them.
#ifndef TAPESTRY_CORE_MEMORY_H_
#define TAPESTRY_CORE_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace tapestry {

/// Alignment of every block in bytes: one cache line, and one AVX-512 vector.
inline constexpr std::size_t kAlignment = 64;

/// Counts over the life of the process, in bytes. `live` is handed out now, `peak` the largest
/// `live` so far, `cached` kept for reuse (at most: what trim_memory() gave back from between live
/// blocks counts too); `system_allocations` counts requests that went to the operating system.
struct MemoryStats {
  std::int64_t live_bytes = 0, peak_bytes = 0, cached_bytes = 0, system_allocations = 0;
};
MemoryStats memory_stats();
/// Sets peak_bytes to live_bytes, to measure the peak of what follows.
void reset_peak_memory();
/// Gives cached blocks back to the operating system.
void trim_memory();

/// A block of raw memory from the pool, aligned to kAlignment, contents unspecified. Blocks of 64
/// KiB and more share a range of huge pages. Throws Error when the system has no more memory, with
/// the bytes asked for and held. Thread-safe. TAPESTRY_NO_POOL=1 in the environment bypasses the
/// pool, so that sanitizers see every block.
void* allocate_bytes(std::size_t bytes);
void release_bytes(void* block, std::size_t bytes) noexcept;

/// Scratch space of a kernel: n elements of T, unspecified contents, returned to the pool at the
/// end of the scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t n)
      : bytes_(static_cast<std::size_t>(n) * sizeof(T)),
        data_(static_cast<T*>(allocate_bytes(bytes_))) {}
  ~Scratch() { release_bytes(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() { return data_; }
  T& operator[](std::int64_t i) { return data_[i]; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace tapestry

#endif  // TAPESTRY_CORE_MEMORY_H_
