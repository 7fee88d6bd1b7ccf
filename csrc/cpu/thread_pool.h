// A fixed set of threads.
#pragma once

#include <stdint.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace fw::cpu {

inline constexpr int64_t kMostThreads = 1024;

// Threads that run one task each, with the caller as thread 0. They sleep between tasks; running one allocates nothing.
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
    std::unique_lock<std::mutex> lock(mutex_);
    end_.wait(lock, [this] { return left_ == 0; });
  }

 private:
  void serve(int32_t thread) {
    for (uint64_t seen = 0;;) {
      Task task = nullptr;
      void* context = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        begin_.wait(lock, [&] { return closing_ || round_ != seen; });
        if (closing_) return;
        seen = round_;
        task = task_;
        context = context_;
      }
      task(context, thread);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--left_ == 0) end_.notify_one();
    }
  }

  const pid_t process_ = getpid();
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  size_t left_ = 0;
  uint64_t round_ = 0;
  bool closing_ = false;
  std::vector<std::thread> threads_;  // last, so that everything they use exists before they start
};

}  // namespace fw::cpu
