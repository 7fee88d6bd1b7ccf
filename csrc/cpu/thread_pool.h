// Threads for an engine.
#pragma once

#include <stdint.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace fw {

// A fixed set of threads that run one task each, with the caller as thread 0. Running a task allocates nothing.
class Team {
 public:
  using Task = void (*)(void* context, int32_t thread);

  explicit Team(int32_t threads) {
    for (int32_t i = 1; i < threads; ++i) members_.emplace_back(&Team::serve, this, i);
  }
  ~Team() {
    if (getpid() != process_) {  // after a fork the threads are not there: there is nothing to wait for
      for (std::thread& member : members_) member.detach();
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
    }
    begin_.notify_all();
    for (std::thread& member : members_) member.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // How many can run here: one in a forked process.
  int32_t size() const { return getpid() == process_ ? static_cast<int32_t>(members_.size()) + 1 : 1; }

  void run(Task task, void* context) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      context_ = context;
      left_ = members_.size();
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
  std::vector<std::thread> members_;  // last, so that all they use is there before they are
};

}  // namespace fw
