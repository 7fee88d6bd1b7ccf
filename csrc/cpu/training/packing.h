// Weight packing: from tensors, through a padded matrix, to the layout that a product reads; and gradients the other
// way.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cpu/training/floats.h"
#include "cpu/training/gemm.h"

namespace fw::cpu {

// A matrix that is put together from pieces of tensors; zero where nothing was put.
class Assembly {
 public:
  Assembly(int64_t inner, int64_t columns) : inner_(inner), columns_(columns), values_(inner * columns) {}

  // Copies `rows` x `columns` numbers of a tensor to the place that begins at (row, column). In the tensor, rows are
  // `row_step` apart and columns `step`.
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

// Packed matrices and padded biases, which live as long as this object. Several threads may pack at a time.
class PackedWeights {
 public:
  explicit PackedWeights(const Gemm& gemm) : gemm_(gemm) {}
  const float* pack(const Assembly& matrix) {
    const Dense dense = matrix.dense();
    float* const memory = make(gemm_.packed_floats(dense.inner, dense.columns));
    gemm_.pack(dense, memory);
    return memory;
  }
  // A bias, as the one row of a matrix.
  const float* copy(const Assembly& row) {
    const Dense dense = row.dense();
    float* const memory = make(dense.columns);
    std::copy(dense.data, dense.data + dense.columns, memory);
    return memory;
  }

 private:
  float* make(int64_t count) {
    auto memory = std::make_unique<Floats>(count);
    const std::lock_guard<std::mutex> lock(mutex_);
    made_.push_back(std::move(memory));
    return made_.back()->data();
  }
  const Gemm& gemm_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Floats>> made_;
};

// Copies the part of padded sums that a tensor of gradients holds; does nothing where the tensor is null.
inline void copy_gradient(float* to, int64_t to_row, const float* from, int64_t from_row, int64_t rows,
                          int64_t columns) {
  if (to == nullptr) return;
  for (int64_t i = 0; i < rows; ++i) std::copy(from + i * from_row, from + i * from_row + columns, to + i * to_row);
}

}  // namespace fw::cpu
