// Threads that share numbered pieces of work, and sums over those pieces in a fixed order.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "cpu/thread_pool.h"
#include "cpu/training/floats.h"
#include "cpu/training/gemm.h"

namespace fw::cpu {

// Tiles of so many rows, whose weight gradients one thread sums up before they are added to the rest in order. About
// 768 rows: adding costs 1% or less, and one window of 8,192 samples is work for 11 threads or more. The number does
// not depend on that of the threads, and so the results do not.
inline int64_t tiles_per_sum(int64_t rows) {
  return std::max<int64_t>(1, 768 / rows);
}

// Threads, each with scratch memory, which take numbered pieces of work in order.
class Workers {
 public:
  Workers(const Gemm& gemm, int64_t scratch_floats, int64_t threads)
      : gemm_(gemm), pool_(static_cast<int32_t>(threads)) {
    for (int64_t i = 0; i < threads; ++i) scratch_.push_back(std::make_unique<Floats>(scratch_floats));
  }
  size_t size() const { return scratch_.size(); }
  template <class Work>
  void each(int64_t pieces, Work work) {  // work(piece, thread, scratch)
    struct Job {
      Workers& workers;
      Work& work;
      int64_t pieces;
      std::atomic<int64_t> next{0};
    } job{*this, work, pieces};
    pool_.run(
        [](void* context, int32_t thread) {
          Job& shared = *static_cast<Job*>(context);
          const uint32_t before = shared.workers.gemm_.begin();
          for (int64_t piece = shared.next++; piece < shared.pieces; piece = shared.next++) {
            shared.work(piece, thread, shared.workers.scratch_[static_cast<size_t>(thread)]->data());
          }
          shared.workers.gemm_.end(before);
        },
        &job);
  }

 private:
  const Gemm& gemm_;
  std::vector<std::unique_ptr<Floats>> scratch_;
  ThreadPool pool_;  // last: its threads end before what they use
};

// Sums over numbered pieces of work. Every thread sums up a piece in its own memory, and pieces are added in order.
class OrderedSums {
 public:
  OrderedSums(int64_t count, size_t threads) : count_(count), total_(count) {
    for (size_t i = 0; i < threads; ++i) of_threads_.push_back(std::make_unique<Floats>(count));
  }
  template <class Work>
  void each(Workers& workers, int64_t pieces, Work work) {  // work(piece, its sums, scratch)
    std::fill_n(total_.data(), count_, 0.0f);
    std::atomic<int64_t> turn{0};
    workers.each(pieces, [&](int64_t piece, int32_t thread, float* scratch) {
      float* const sums = of_threads_[static_cast<size_t>(thread)]->data();
      std::fill_n(sums, count_, 0.0f);
      work(piece, sums, scratch);
      while (turn.load(std::memory_order_acquire) != piece) std::this_thread::yield();
      for (int64_t i = 0; i < count_; ++i) total_.data()[i] += sums[i];
      turn.store(piece + 1, std::memory_order_release);
    });
  }
  float* total() const { return total_.data(); }

 private:
  int64_t count_;
  Floats total_;
  std::vector<std::unique_ptr<Floats>> of_threads_;
};

}  // namespace fw::cpu
