// The part of cooperative groups that clusters need.
#pragma once

#include "cuda_on_cpu.h"

namespace cooperative_groups {

struct cluster_group {
  void sync(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    on_cpu::cluster_arrive(file, line);
    on_cpu::cluster_wait(file, line);
  }
  void barrier_arrive(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    on_cpu::cluster_arrive(file, line);
  }
  void barrier_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    on_cpu::cluster_wait(file, line);
  }
  unsigned block_rank() const { return on_cpu::rank_in_cluster(); }
  unsigned num_blocks() const {
    const on_cpu::Unwatched unwatched;
    return static_cast<unsigned>(on_cpu::block->cluster.blocks.size());
  }
  template <class Value>
  Value* map_shared_rank(Value* own, int rank, const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    return static_cast<Value*>(on_cpu::shared_of(own, rank, file, line));
  }
};

inline cluster_group this_cluster() {
  return {};
}

}  // namespace cooperative_groups
