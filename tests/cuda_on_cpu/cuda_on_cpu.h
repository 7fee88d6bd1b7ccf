// CUDA on the CPU: with this folder first among the include paths, a C++ compiler builds the very sources that nvcc
// builds, and a launch runs them here: every block is an OS thread, every CUDA thread a fiber (fibers.h) of it.
//
// A fiber runs until it waits: at a block barrier, a warp operation, a named or a cluster barrier. Which one goes next
// is drawn from a seed, so each seed is another schedule. What can be wrong with waiting is found by what must hold
// when all fibers of a block wait: every thread of the block stands at the same barrier, in the same line of the
// source; every lane of a mask takes part in the warp operation; no thread has ended while others wait for it. A launch
// with such a fault ends with cudaErrorLaunchFailure, and fault() says what it was.
//
// Memory of a block and of the device is filled with NaN when it is made and when it ends, and has its exact size, so
// that AddressSanitizer sees an overrun and a result shows what was never written. The sanitizers know of the fibers.
//
// What this does not show: weak memory order, real rounding of the special functions, speed.
#pragma once

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdarg>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "fibers.h"

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned volume() const { return x * y * z; }
};

namespace on_cpu {

constexpr int kLanes = 32, kNamed = 16;
constexpr size_t kFence = 64;  // bytes behind the shared memory that nobody may change
constexpr unsigned char kFenceByte = 0xA5;
constexpr unsigned kSyncPlaces = 64;  // a barrier's place is used again 64 barriers later, when all have left it

struct Line {
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Line& other) const { return file == other.file && line == other.line; }
  std::string text() const {
    const char* slash = strrchr(file, '/');
    return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
  }
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t below(size_t count) {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return static_cast<size_t>((z ^ z >> 31) % count);
  }

 private:
  uint64_t state_;
};

enum class Wait { kNothing, kBlock, kNamed, kWarp, kClusterArrive, kCluster, kEnded };

struct Fiber {
  Context context;
  uint3 thread{};
  int index = 0;
  Wait wait = Wait::kNothing;
  Line line;
  const char* operation = "";
  int named = 0;
  unsigned mask = 0;       // of the warp operation
  uint64_t given = 0;      // what this lane gives to it
  uint64_t got[kLanes]{};  // and what all gave
  uint64_t cluster_arrivals = 0;
  void* sync = nullptr;
};

struct Named {
  int expected = 0, arrived = 0;
};

struct Cluster;

struct Launch {
  dim3 grid, threads, cluster;
  size_t shared_bytes = 0;
  uint64_t seed = 0;
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string fault;

  void fail(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!failed) fault = what;
    failed = true;
  }
};

struct Block {
  Launch& launch;
  Cluster& cluster;
  int rank;  // in the cluster
  uint3 index{};
  Random random;
  Context scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> ready;
  const void* body = nullptr;  // a std::function would allocate in the fiber
  void (*call)(const void*) = nullptr;
  std::unique_ptr<char[]> shared_memory;
  char* shared = nullptr;
  int alive = 0, at_barrier = 0, at_cluster = 0;
  uint64_t cluster_phase = 0;  // barriers of the cluster that this block has arrived at
  uint64_t barriers = 0;
  std::vector<Named> named = std::vector<Named>(kNamed);
  char places[kSyncPlaces]{}, warp_places[kSyncPlaces]{};
  char begun_place = 0;  // all that happened before the launch
  char left_place = 0;   // all that fibers did happened before the block's end
  uint64_t warp_operations = 0;

  Block(Launch& l, Cluster& c, int r, uint64_t seed) : launch(l), cluster(c), rank(r), random(seed) {}

  void run();
  void resume(Fiber& fiber);
  void wait(Wait what, const Line& line);  // in a fiber: until the scheduler says that it is over
  void release_all(Wait what);
  bool resolve();
  std::string describe() const;
  template <class Describe>
  [[noreturn]] void fail_here(const Describe& describe);  // in a fiber that nobody resumes, so it may hold no string
};

struct Cluster {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Block*> blocks;
  int arrived = 0, ended = 0;
  uint64_t phase = 0;
  char places[kSyncPlaces]{};
};

inline thread_local Block* block = nullptr;
inline thread_local Fiber* fiber = nullptr;

inline std::string where(const Fiber& f) {
  const auto i = std::to_string(f.index);
  switch (f.wait) {
    case Wait::kEnded:
      return "thread " + i + " has ended";
    case Wait::kBlock:
      return "thread " + i + " waits at __syncthreads in " + f.line.text();
    case Wait::kNamed:
      return "thread " + i + " waits at named barrier " + std::to_string(f.named) + " in " + f.line.text();
    case Wait::kWarp:
      return "thread " + i + " waits at " + f.operation + " in " + f.line.text();
    case Wait::kClusterArrive:
    case Wait::kCluster:
      return "thread " + i + " waits at a cluster barrier in " + f.line.text();
    default:
      return "thread " + i + " runs";
  }
}

// Two threads that stand in different places say it best.
inline std::string Block::describe() const {
  const Fiber* first = fibers.front().get();
  for (const auto& other : fibers) {
    if (other->wait != first->wait || !(other->line == first->line)) {
      return "block " + std::to_string(index.x) + ": " + where(*first) + ", but " + where(*other);
    }
  }
  return "block " + std::to_string(index.x) + ": " + where(*first) + ", and so do all others";
}

inline void entry() {
  Block* here;
  Fiber* self;
  const void* body;
  void (*call)(const void*);
  {
    const Unwatched unwatched;
    here = block;
    self = fiber;
    Context::arrived(self->context, here->scheduler);
    call = here->call;
    body = here->body;
  }
  acquire(&here->begun_place);
  call(body);
  {
    const Unwatched unwatched;
    self->wait = Wait::kEnded;
    --here->alive;
  }
  release(&here->left_place);
  self->context.switch_to(here->scheduler, true);
}

inline void Block::resume(Fiber& next) {
  fiber = &next;
  next.context.know_stack();
  scheduler.switch_to(next.context);
}

inline void Block::wait(Wait what, const Line& line) {
  Fiber& self = *fiber;
  self.wait = what;
  self.line = line;
  release(&left_place);
  self.context.switch_to(scheduler);
}

template <class Describe>
void Block::fail_here(const Describe& describe) {
  launch.fail(describe());
  release(&left_place);
  fiber->context.switch_to(scheduler);
  abort();  // nobody resumes a fiber of a failed launch
}

inline void Block::release_all(Wait what) {
  for (const auto& each : fibers) {
    if (each->wait == what) {
      each->wait = Wait::kNothing;
      ready.push_back(each.get());
    }
  }
}

// When all fibers wait: true if some may go on. Barriers of a block and of warps end when their last thread arrives, so
// here only those of the cluster can end, and anything else is a fault.
inline bool Block::resolve() {
  int waiting = 0;
  for (const auto& each : fibers) waiting += each->wait == Wait::kCluster;
  if (waiting == 0) {
    launch.fail(describe());
    return false;
  }
  uint64_t phase;
  {
    std::unique_lock<std::mutex> lock(cluster.mutex);
    const auto moved = [&] { return cluster.phase >= cluster_phase || launch.failed || cluster.ended > 0; };
    if (at_cluster != 0) {  // some threads wait for others of this block, which wait for something else
      launch.fail(describe());
      return false;
    }
    while (!cluster.changed.wait_for(lock, std::chrono::milliseconds(20), moved)) {
    }
    if (cluster.phase < cluster_phase && !launch.failed) {
      launch.fail("block " + std::to_string(index.x) + ": " + where(*fibers.front()) +
                  ", but another block of the cluster has ended");
    }
    phase = cluster.phase;
  }
  if (launch.failed) return false;
  for (const auto& each : fibers) {
    if (each->wait == Wait::kCluster && each->cluster_arrivals <= phase) {
      each->wait = Wait::kNothing;
      ready.push_back(each.get());
    }
  }
  return !ready.empty();
}

inline void Block::run() {
  const Unwatched unwatched;
  block = this;
  scheduler.adopt();
  release(&begun_place);
  alive = static_cast<int>(launch.threads.volume());
  for (int i = 0; i < alive; ++i) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& made = *fibers.back();
    const auto at = static_cast<unsigned>(i);
    made.index = i;
    made.thread = {at % launch.threads.x, at / launch.threads.x % launch.threads.y,
                   at / launch.threads.x / launch.threads.y};
    made.context.make(entry);
    ready.push_back(&made);
  }
  while (alive > 0 && !launch.failed) {
    if (ready.empty() && !resolve()) break;
    const size_t chosen = random.below(ready.size());
    std::swap(ready[chosen], ready.back());
    Fiber* next = ready.back();
    ready.pop_back();
    resume(*next);
  }
  {
    const std::lock_guard<std::mutex> lock(cluster.mutex);
    ++cluster.ended;
  }
  cluster.changed.notify_all();
  acquire(&left_place);
  fibers.clear();
  if (shared != nullptr) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared + launch.shared_bytes, kFence);
#endif
    for (size_t i = 0; i < kFence; ++i) {
      if (static_cast<unsigned char>(shared[launch.shared_bytes + i]) == kFenceByte) continue;
      launch.fail("block " + std::to_string(index.x) + ": wrote beyond its shared memory");
    }
    memset(shared, 0xFF, launch.shared_bytes);  // nobody may look at an ended block's memory
  }
  block = nullptr;
}

// What kernels call.

inline void block_barrier(const char* file, int line) {
  Block& b = *block;
  void* place;
  {
    const Unwatched unwatched;
    place = &b.places[b.barriers % kSyncPlaces];
  }
  release(place);
  {
    const Unwatched unwatched;
    const Line here{file, line};
    Fiber& self = *fiber;
    self.sync = place;
    for (const auto& other : b.fibers) {
      if (other->wait == Wait::kEnded || (other->wait == Wait::kBlock && !(other->line == here))) {
        self.wait = Wait::kBlock;
        self.line = here;
        b.fail_here(
            [&] { return "block " + std::to_string(b.index.x) + ": " + where(self) + ", but " + where(*other); });
      }
      if (other->wait == Wait::kBlock) break;  // those before it were compared when it came
    }
    if (++b.at_barrier == static_cast<int>(b.fibers.size())) {
      b.at_barrier = 0;
      ++b.barriers;
      b.release_all(Wait::kBlock);
    } else {
      b.wait(Wait::kBlock, here);
    }
  }
  acquire(place);
}

inline void named_barrier(int id, int threads, const char* file, int line) {
  Block& b = *block;
  void* place = &b.named[static_cast<size_t>(id)];
  release(place);
  {
    const Unwatched unwatched;
    Named& barrier = b.named[static_cast<size_t>(id)];
    if (barrier.arrived == 0) barrier.expected = threads;
    if (barrier.expected != threads || threads % kLanes) {
      b.fail_here([] { return "named barrier: the numbers of threads differ"; });
    }
    fiber->named = id;
    if (++barrier.arrived == threads) {
      barrier.arrived = 0;
      for (const auto& each : b.fibers) {
        if (each->wait == Wait::kNamed && each->named == id) {
          each->wait = Wait::kNothing;
          b.ready.push_back(each.get());
        }
      }
    } else {
      b.wait(Wait::kNamed, {file, line});
    }
  }
  acquire(place);
}

// All lanes of the mask meet; afterwards fiber->got has what each gave. Only __syncwarp orders memory: what a lane
// wrote before a shuffle or a vote, another may not see after it.
inline const uint64_t* meet(const char* operation, unsigned mask, uint64_t given, const char* file, int line,
                            bool orders_memory = false) {
  Block& b = *block;
  Fiber& self = *fiber;
  void* place = nullptr;
  int begin = 0, lanes = 0;
  {
    const Unwatched unwatched;
    begin = self.index / kLanes * kLanes;
    lanes = std::min(kLanes, static_cast<int>(b.fibers.size()) - begin);
    const Line here{file, line};
    if (!(mask >> (self.index - begin) & 1)) {
      b.fail_here([&] {
        return "thread " + std::to_string(self.index) + " calls " + operation + " in " + here.text() +
               " but is not in its own mask";
      });
    }
    for (int i = 0; i < lanes && place == nullptr; ++i) {  // the place of those who wait there already, or a new one
      const Fiber& other = *b.fibers[static_cast<size_t>(begin + i)];
      if (other.wait == Wait::kWarp && other.mask == mask && other.line == here) place = other.sync;
    }
    if (place == nullptr) place = &b.warp_places[b.warp_operations++ % kSyncPlaces];
    self.sync = place;
  }
  if (orders_memory) release(place);
  {
    const Unwatched unwatched;
    const Line here{file, line};
    self.operation = operation;
    self.mask = mask;
    self.given = given;
    bool all = true;
    for (int i = 0; i < kLanes; ++i) {
      if (!(mask >> i & 1) || begin + i == self.index) continue;
      const Fiber* other = i < lanes ? b.fibers[static_cast<size_t>(begin + i)].get() : nullptr;
      if (other == nullptr || other->wait == Wait::kEnded) {
        b.fail_here([&] {
          return "block " + std::to_string(b.index.x) + ": lane " + std::to_string(i) + " of thread " +
                 std::to_string(self.index) + "'s warp has ended and cannot take part in " + operation + " in " +
                 here.text();
        });
      }
      all = all && other->wait == Wait::kWarp && other->mask == mask && other->line == here;
    }
    if (all) {
      for (int i = 0; i < lanes; ++i) {
        if (!(mask >> i & 1)) continue;
        Fiber& other = *b.fibers[static_cast<size_t>(begin + i)];
        for (int k = 0; k < lanes; ++k) {
          const bool in = mask >> k & 1;
          other.got[k] = in ? b.fibers[static_cast<size_t>(begin + k)]->given : ~uint64_t{0};
        }
      }
      for (int i = 0; i < lanes; ++i) {
        Fiber& other = *b.fibers[static_cast<size_t>(begin + i)];
        if (&other == &self || !(mask >> i & 1)) continue;
        other.wait = Wait::kNothing;
        b.ready.push_back(&other);
      }
    } else {
      b.wait(Wait::kWarp, here);
    }
  }
  if (orders_memory) acquire(place);
  return self.got;
}

template <class Value>
uint64_t to_bits(Value value) {
  static_assert(sizeof value <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class Value>
Value shuffle(const char* operation, unsigned mask, Value value, int from, const char* file, int line) {
  const uint64_t* got = meet(operation, mask, to_bits(value), file, line);
  const Unwatched unwatched;
  if (!(mask >> from & 1)) {
    block->fail_here([&] { return std::string(operation) + ": reads a lane outside of its mask"; });
  }
  Value result;
  memcpy(&result, &got[from], sizeof result);
  return result;
}

inline int own_lane() {
  const Unwatched unwatched;
  return fiber->index % kLanes;
}

inline unsigned ballot(const char* operation, unsigned mask, bool vote, const char* file, int line) {
  const uint64_t* got = meet(operation, mask, vote, file, line);
  const Unwatched unwatched;
  unsigned votes = 0;
  for (int i = 0; i < kLanes; ++i) votes |= (mask >> i & 1 && got[i] == 1 ? 1u : 0u) << i;
  return votes;
}

inline void cluster_arrive(const char* file, int line) {
  Block& b = *block;
  Cluster& cluster = b.cluster;
  void* place;
  {
    const Unwatched unwatched;
    place = &cluster.places[fiber->cluster_arrivals % kSyncPlaces];
    fiber->line = {file, line};
  }
  release(place);
  const Unwatched unwatched;
  ++fiber->cluster_arrivals;
  if (++b.at_cluster < static_cast<int>(b.fibers.size())) return;
  b.at_cluster = 0;
  {
    const std::lock_guard<std::mutex> lock(cluster.mutex);
    ++b.cluster_phase;
    if (++cluster.arrived == static_cast<int>(cluster.blocks.size())) {
      cluster.arrived = 0;
      ++cluster.phase;
    }
  }
  cluster.changed.notify_all();
}

inline void cluster_wait(const char* file, int line) {
  void* place;
  {
    const Unwatched unwatched;
    place = &block->cluster.places[(fiber->cluster_arrivals - 1) % kSyncPlaces];
    block->wait(Wait::kCluster, {file, line});
  }
  acquire(place);
}

inline void* dynamic_shared() {
  const Unwatched unwatched;
  return block->shared;
}

// The same place in the dynamic shared memory of another block of the cluster.
inline void* shared_of(const void* own, int rank) {
  const Unwatched unwatched;
  const auto offset = static_cast<const char*>(own) - block->shared;
  if (rank < 0 || rank >= static_cast<int>(block->cluster.blocks.size()) || offset < 0 ||
      offset > static_cast<ptrdiff_t>(block->launch.shared_bytes)) {
    block->fail_here([] { return "map_shared_rank: no such block, or not dynamic shared memory"; });
  }
  return block->cluster.blocks[static_cast<size_t>(rank)]->shared + offset;
}

// threadIdx and the like: objects whose x, y and z ask.
template <unsigned (*kAsk)(int)>
struct Index {
  template <int kAxis>
  struct Axis {
    operator unsigned() const {
      const Unwatched unwatched;
      return kAsk(kAxis);
    }
  };
  Axis<0> x;
  Axis<1> y;
  Axis<2> z;
};
template <class Three>
unsigned axis_of(const Three& three, int axis) {
  return axis == 0 ? three.x : axis == 1 ? three.y : three.z;
}
inline unsigned thread_index(int axis) {
  return axis_of(fiber->thread, axis);
}
inline unsigned block_index(int axis) {
  return axis_of(block->index, axis);
}
inline unsigned block_size(int axis) {
  return axis_of(block->launch.threads, axis);
}
inline unsigned grid_size(int axis) {
  return axis_of(block->launch.grid, axis);
}

// How launches run, and what went wrong in the last one.
struct Settings {
  uint64_t seed = 0, launches = 0;
  std::string fault;
  static Settings& all() {
    static Settings settings;
    return settings;
  }
};

constexpr int kMostThreads = 64;  // blocks at once; a cluster is never torn apart

template <class Call>
bool launch(dim3 grid, dim3 threads, dim3 cluster_size, size_t shared_bytes, const Call& call) {
  Launch launch;
  launch.grid = grid;
  launch.threads = threads;
  launch.cluster = cluster_size;
  launch.shared_bytes = shared_bytes;
  launch.seed = Settings::all().seed + 1000003 * Settings::all().launches++;
  const int blocks = static_cast<int>(grid.volume()), size = static_cast<int>(cluster_size.volume());
  for (int first = 0; first < blocks && !launch.failed;) {
    std::vector<std::unique_ptr<Cluster>> clusters;
    std::vector<std::unique_ptr<Block>> made;
    while (first < blocks && static_cast<int>(made.size()) + size <= std::max(kMostThreads, size)) {
      clusters.push_back(std::make_unique<Cluster>());
      for (int rank = 0; rank < size; ++rank, ++first) {
        auto b =
            std::make_unique<Block>(launch, *clusters.back(), rank, launch.seed * 4096 + static_cast<uint64_t>(first));
        const auto at = static_cast<unsigned>(first);
        b->index = {at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y};
        b->body = &call;
        b->call = [](const void* body) { (*static_cast<const Call*>(body))(); };
        if (shared_bytes) {
          b->shared_memory.reset(new char[shared_bytes + kFence]);
          b->shared = b->shared_memory.get();
          memset(b->shared, 0xFF, shared_bytes);  // NaN
          memset(b->shared + shared_bytes, kFenceByte, kFence);
#if defined(__SANITIZE_ADDRESS__)
          __asan_poison_memory_region(b->shared + shared_bytes, kFence);
#endif
        }
        clusters.back()->blocks.push_back(b.get());
        made.push_back(std::move(b));
      }
    }
    std::vector<std::thread> running;
    for (const auto& each : made) running.emplace_back([&each] { each->run(); });
    for (std::thread& each : running) each.join();
  }
  Settings::all().fault = launch.fault;
  return !launch.failed;
}

inline const std::string& fault() {
  return Settings::all().fault;
}
inline void set_seed(uint64_t seed) {
  Settings::all().seed = seed;
  Settings::all().launches = 0;
}

}  // namespace on_cpu

// The language.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static thread_local  // all fibers of a block run on one OS thread
#define FW_DYNAMIC_SHARED(name) auto* const name = static_cast<unsigned char*>(::on_cpu::dynamic_shared())

#define __syncthreads() ::on_cpu::block_barrier(__FILE__, __LINE__)
#define __syncwarp(...) ::on_cpu::meet("__syncwarp", ::on_cpu::mask_or_all(__VA_ARGS__), 0, __FILE__, __LINE__, true)
#define __shfl_sync(mask, value, from) ::on_cpu::shuffle("__shfl_sync", mask, value, (from) & 31, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
  ::on_cpu::shuffle("__shfl_xor_sync", mask, value, ::on_cpu::own_lane() ^ (bits), __FILE__, __LINE__)
#define __shfl_down_sync(mask, value, by) \
  ::on_cpu::shuffle("__shfl_down_sync", mask, value, ::on_cpu::above(static_cast<int>(by)), __FILE__, __LINE__)
#define __shfl_up_sync(mask, value, by) \
  ::on_cpu::shuffle("__shfl_up_sync", mask, value, ::on_cpu::below(static_cast<int>(by)), __FILE__, __LINE__)
#define __ballot_sync(mask, vote) ::on_cpu::ballot("__ballot_sync", mask, vote, __FILE__, __LINE__)
#define __any_sync(mask, vote) (::on_cpu::ballot("__any_sync", mask, vote, __FILE__, __LINE__) != 0)
#define __all_sync(mask, vote) (::on_cpu::ballot("__all_sync", mask, vote, __FILE__, __LINE__) == (mask))

inline constexpr on_cpu::Index<on_cpu::thread_index> threadIdx{};
inline constexpr on_cpu::Index<on_cpu::block_index> blockIdx{};
inline constexpr on_cpu::Index<on_cpu::block_size> blockDim{};
inline constexpr on_cpu::Index<on_cpu::grid_size> gridDim{};

namespace on_cpu {
inline unsigned mask_or_all(unsigned mask = 0xFFFFFFFF) {
  return mask;
}
inline int above(int by) {
  return own_lane() + by < kLanes ? own_lane() + by : own_lane();
}
inline int below(int by) {
  return own_lane() >= by ? own_lane() - by : own_lane();
}
}  // namespace on_cpu

template <class Value>
Value __ldg(const Value* place) {
  return *place;
}

template <class Value>
Value atomicAdd(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(place, &old, old + value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
inline float atomicAdd(float* place, float value) {
  uint32_t old = __atomic_load_n(reinterpret_cast<uint32_t*>(place), __ATOMIC_RELAXED), sum;
  float before;
  do {
    memcpy(&before, &old, sizeof before);
    const float after = before + value;
    memcpy(&sum, &after, sizeof sum);
  } while (!__atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(place), &old, sum, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
  return before;
}
template <class Value>
Value atomicMin(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(place, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class Value>
Value atomicMax(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(place, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class Value>
Value atomicExch(Value* place, Value value) {
  return __atomic_exchange_n(place, value, __ATOMIC_RELAXED);
}
template <class Value>
Value atomicCAS(Value* place, Value expected, Value value) {
  __atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline float __expf(float value) {
  return std::exp(value);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
inline int __clz(int bits) {
  return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits));
}

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
