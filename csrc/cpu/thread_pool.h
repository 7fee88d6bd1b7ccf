// A fixed set of threads.
#pragma once

#include <stdint.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fw::cpu {

inline constexpr int64_t kMostThreads = 1024;

// Threads that run one task each, with the caller as thread 0; running one allocates nothing. A thread that waits looks
// for a while, as work often comes in bursts and waking a thread takes the system some 0.1 ms, and then sleeps.
class ThreadPool {
 public:
  using Task = void (*)(void* context, int32_t thread);

  explicit ThreadPool(int32_t threads) {
    for (int32_t i = 1; i < threads; ++i) threads_.emplace_back(&ThreadPool::serve, this, i);
  }
  ~ThreadPool() {
    if (getpid() != process_) {  // a forked process has none of the threads, so there is nothing to wait for
      for (std::thread& thread : threads_) thread.detach();
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
      ++round_;
    }
    begin_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // How many threads can run: one in a forked process.
  int32_t size() const { return getpid() == process_ ? static_cast<int32_t>(threads_.size()) + 1 : 1; }

  void run(Task task, void* context) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      context_ = context;
      left_ = threads_.size();
      ++round_;
    }
    begin_.notify_all();
    task(context, 0);
    wait(end_, [this] { return left_ == 0; });
  }

 private:
  static constexpr int32_t kLooks = 1000;  // before a thread sleeps: 0.05 to 0.1 ms

  // Returns once `ready`, which reads atomic numbers that are written under the mutex.
  template <class Ready>
  void wait(std::condition_variable& condition, Ready ready) {
    for (int32_t looks = 0; looks < kLooks; ++looks) {
      if (ready()) return;
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
    std::unique_lock<std::mutex> lock(mutex_);
    condition.wait(lock, ready);
  }

  void serve(int32_t thread) {
    for (uint64_t seen = 0;; ++seen) {
      wait(begin_, [&] { return round_ != seen; });
      if (closing_) return;
      task_(context_, thread);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--left_ == 0) end_.notify_one();
    }
  }

  const pid_t process_ = getpid();
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  Task task_ = nullptr;  // written before `round_`, and so are the next two
  void* context_ = nullptr;
  std::atomic<size_t> left_{0};
  bool closing_ = false;
  std::atomic<uint64_t> round_{0};
  std::vector<std::thread> threads_;  // last, so that everything they use exists before they start
};

}  // namespace fw::cpu
