#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"

namespace tapestry {
namespace {

thread_local bool inside = false;  // this thread is running chunks: nested calls run inline

// Note [Who runs a chunk]
// ~~~~~~~~~~~~~~~~~~~~~~~
// It does not matter to the result, so it can be chosen for speed. Each thread begins with a
// contiguous share of its own, the same one in every parallel_for over as many chunks: what one
// kernel wrote is then in the cache of the thread that reads it in the next, and pages are walked
// in order. A thread that has finished its share takes chunks from the others' shares, so that one
// which was late or interrupted holds nobody up.

/// The next chunk of a share, on a cache line of its own.
struct alignas(64) Next {
  std::atomic<std::int64_t> at{0};
};

/// One parallel_for in flight.
struct Job {
  FunctionRef<void(std::int64_t)> chunk;
  std::int64_t chunks;
  std::vector<Next>& next;  // of each thread's share
  std::mutex mutex = {};
  std::int64_t failed_chunk = -1;
  std::exception_ptr failure = {};

  std::int64_t shares() const { return static_cast<std::int64_t>(next.size()); }
  std::int64_t first(std::int64_t share) const { return share * chunks / shares(); }

  void work(std::int64_t thread) {
    inside = true;
    for (std::int64_t k = 0; k < shares(); ++k) {
      const std::int64_t share = (thread + k) % shares(), end = first(share + 1);
      std::atomic<std::int64_t>& at = next[static_cast<std::size_t>(share)].at;
      for (std::int64_t i; (i = at.fetch_add(1, std::memory_order_relaxed)) < end;) run(i);
    }
    inside = false;
  }

  void run(std::int64_t i) {
    try {
      chunk(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (failed_chunk < 0 || i < failed_chunk) {
        failed_chunk = i;
        failure = std::current_exception();
      }
    }
  }
};

// How often a waiting thread looks before it sleeps: about 20 µs, the time until the next kernel of
// a training step usually starts. Sleeping and waking costs about as much.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  explicit Pool(int threads) : next_(static_cast<std::size_t>(threads)) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker(i); });
  }
  ~Pool() {
    stop_ = true;
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t chunks, FunctionRef<void(std::int64_t)> chunk) {
    Job job{chunk, chunks, next_};
    for (std::int64_t share = 0; share < size(); ++share)
      next_[static_cast<std::size_t>(share)].at.store(job.first(share), std::memory_order_relaxed);
    job_.store(&job);
    generation_.fetch_add(1);
    generation_.notify_all();
    job.work(0);
    // Workers that have not woken up yet find no job and need not be waited for.
    job_.store(nullptr);
    for (int spin = 0; active_.load() != 0; ++spin) {
      spin < kSpins ? relax() : std::this_thread::yield();
    }
    if (job.failure) std::rethrow_exception(job.failure);
  }

 private:
  void worker(int number) {
    std::uint32_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_relaxed) == seen;
           ++spin) {
        relax();
      }
      generation_.wait(seen);
      seen = generation_.load();
      if (stop_) return;
      // Announce first, look second: run() clears job_ first and looks at active_ second, so one of
      // them sees the other.
      active_.fetch_add(1);
      if (Job* job = job_.load()) job->work(number);
      active_.fetch_sub(1);
    }
  }

  std::vector<Next> next_;
  std::vector<std::thread> workers_;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> active_{0};
  std::atomic<bool> stop_{false};
  std::atomic<Job*> job_{nullptr};
};

int default_threads() {
  if (const char* text = std::getenv("TAPESTRY_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*end != '\0' || n < 1 || n > 256) {
      throw Error("TAPESTRY_THREADS", "must be a whole number from 1 to 256, but is \"{}\"", text);
    }
    return static_cast<int>(n);
  }
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 256);
}

// One job at a time: a second thread that calls parallel_for meanwhile (a loader's, say) runs its
// chunks itself.
std::mutex pool_mutex;
std::unique_ptr<Pool>& pool() {
  static std::unique_ptr<Pool> instance;
  return instance;
}
std::atomic<int> thread_count{0};

void run_chunks(std::int64_t chunks, FunctionRef<void(std::int64_t)> chunk) {
  std::unique_lock lock(pool_mutex, std::defer_lock);
  if (chunks > 1 && !inside && threads() > 1 && lock.try_lock()) {
    if (!pool() || pool()->size() != threads()) {
      pool().reset();
      pool() = std::make_unique<Pool>(threads());
    }
    pool()->run(chunks, chunk);
    return;
  }
  for (std::int64_t i = 0; i < chunks; ++i) chunk(i);
}

}  // namespace

int threads() {
  int n = thread_count.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_threads();
    thread_count.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_threads(int n) {
  if (n < 1 || n > 256)
    throw Error("set_threads", "the number of threads must be from 1 to 256, got {}", n);
  thread_count.store(n, std::memory_order_relaxed);
}

void parallel_for(std::int64_t n, std::int64_t grain,
                  FunctionRef<void(std::int64_t, std::int64_t)> body) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  run_chunks((n + grain - 1) / grain,
             [&](std::int64_t i) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

double parallel_sum(std::int64_t n, std::int64_t grain,
                    FunctionRef<double(std::int64_t, std::int64_t)> body) {
  if (n <= 0) return 0;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t chunks = (n + grain - 1) / grain;
  if (chunks == 1) return body(0, n);
  std::vector<double> parts(static_cast<std::size_t>(chunks));
  run_chunks(chunks, [&](std::int64_t i) {
    parts[static_cast<std::size_t>(i)] = body(i * grain, std::min(n, (i + 1) * grain));
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

}  // namespace tapestry
