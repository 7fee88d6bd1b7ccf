// Around the kernels over tiles: weights as products want them, threads, and sums in a fixed order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "cpu/arena.h"
#include "cpu/operands.h"
#include "cpu/team.h"

namespace fw {

// Tiles whose weight gradients are summed by one thread before they join the rest in order. Of fixed size, so that
// results do not depend on the number of threads; of 1,000 rows or so, so that joining costs 1%.
inline constexpr int64_t kTilesTogether = 12;

// A matrix in the making.
class Assembly {
 public:
  Assembly(int64_t inner, int64_t columns) : inner_(inner), columns_(columns), values_(inner * columns) {}

  // `rows` x `columns` numbers from a tensor to (row, column) on; `row_step` and `step` lead through the tensor.
  void put(const float* from, int64_t row_step, int64_t step, int64_t rows, int64_t columns, int64_t row,
           int64_t column) {
    for (int64_t i = 0; i < rows; ++i) {
      float* const to = values_.data() + (row + i) * columns_ + column;
      for (int64_t j = 0; j < columns; ++j) to[j] = from[i * row_step + j * step];
    }
  }
  Dense dense() const { return {values_.data(), inner_, columns_}; }

 private:
  int64_t inner_, columns_;
  std::vector<float> values_;
};

// Memory for floats, on 64 bytes and not cleared.
class Floats {
 public:
  explicit Floats(int64_t count) {
    const auto bytes = static_cast<size_t>(count) * sizeof(float);
    data_ = static_cast<float*>(::operator new(bytes, kAlignment));
    prefer_large_pages(data_, static_cast<int64_t>(bytes));
  }
  ~Floats() { ::operator delete(data_, kAlignment); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  float* data_;
};

// Packed matrices and copied rows, kept as long as the job runs.
class Shelf {
 public:
  explicit Shelf(const Products& products) : products_(products) {}
  const float* pack(const Assembly& matrix) {
    const Dense dense = matrix.dense();
    float* const memory = make(products_.packed_floats(dense.inner, dense.columns));
    products_.pack(dense, memory);
    return memory;
  }
  const float* keep(const Assembly& row) {
    const Dense dense = row.dense();
    float* const memory = make(dense.columns);
    std::copy(dense.data, dense.data + dense.columns, memory);
    return memory;
  }
  void clear() { made_.clear(); }

 private:
  float* make(int64_t count) {
    made_.push_back(std::make_unique<Floats>(count));
    return made_.back()->data();
  }
  const Products& products_;
  std::vector<std::unique_ptr<Floats>> made_;
};

// Threads with scratch memory of their own, which take numbered pieces of work in order.
class Crew {
 public:
  Crew(const Products& products, int64_t scratch_floats, int64_t threads)
      : products_(products), team_(static_cast<int32_t>(threads)) {
    for (int64_t i = 0; i < threads; ++i) scratch_.push_back(std::make_unique<Floats>(scratch_floats));
  }
  size_t size() const { return scratch_.size(); }
  template <class Work>
  void each(int64_t pieces, Work work) {  // work(piece, thread, scratch)
    struct Job {
      Crew& crew;
      Work& work;
      int64_t pieces;
      std::atomic<int64_t> next{0};
    } job{*this, work, pieces};
    team_.run(
        [](void* context, int32_t thread) {
          Job& own = *static_cast<Job*>(context);
          const uint32_t before = own.crew.products_.begin();
          for (int64_t piece = own.next++; piece < own.pieces; piece = own.next++) {
            own.work(piece, thread, own.crew.scratch_[static_cast<size_t>(thread)]->data());
          }
          own.crew.products_.end(before);
        },
        &job);
  }

 private:
  const Products& products_;
  std::vector<std::unique_ptr<Floats>> scratch_;
  Team team_;  // last: its threads are gone before what they use
};

// Sums over numbered pieces of work: every thread adds up a piece apart, and pieces join in their order.
class OrderedSums {
 public:
  OrderedSums(int64_t count, size_t threads) : count_(count), total_(count) {
    for (size_t i = 0; i < threads; ++i) own_.push_back(std::make_unique<Floats>(count));
  }
  template <class Work>
  void each(Crew& crew, int64_t pieces, Work work) {  // work(piece, its sums, scratch)
    std::fill_n(total_.data(), count_, 0.0f);
    std::atomic<int64_t> turn{0};
    crew.each(pieces, [&](int64_t piece, int32_t thread, float* scratch) {
      float* const sums = own_[static_cast<size_t>(thread)]->data();
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
  std::vector<std::unique_ptr<Floats>> own_;
};

// Rows and columns of sums -> a tensor of gradients, where wanted.
inline void give(float* to, int64_t to_row, const float* from, int64_t from_row, int64_t rows, int64_t columns) {
  if (to == nullptr) return;
  for (int64_t i = 0; i < rows; ++i) std::copy(from + i * from_row, from + i * from_row + columns, to + i * to_row);
}

}  // namespace fw
