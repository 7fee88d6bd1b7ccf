// What a launch is made of: clusters of blocks, which are OS threads, of warps of CUDA threads, which are fibers.
#pragma once

#include <stdio.h>
#include <string.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../native/random.h"
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

constexpr int kLanes = 32, kNamed = 16, kSignals = 128;
constexpr size_t kFence = 64;  // bytes behind the shared memory that nobody may change
constexpr unsigned char kFenceByte = 0xA5;
constexpr unsigned kSyncPlaces = 64;  // a barrier's place is used again 64 barriers later, when all have left it
constexpr unsigned kPhasePlaces = 4;  // nobody may wait for a phase when the one after it has ended
constexpr unsigned kAllLanes = 0xFFFFFFFF;

struct Line {
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Line& other) const { return file == other.file && line == other.line; }
  std::string text() const {
    const char* slash = strrchr(file, '/');
    return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
  }
};

using fw_test::Random;

enum class Wait { kNothing, kBlock, kNamed, kWarp, kCluster, kSignal, kEnded };

struct Signal;

struct Fiber {
  Context context;
  uint3 thread{};
  int index = 0;
  Wait wait = Wait::kNothing;
  Line line;
  const char* operation = "";  // of the warp
  void* given = nullptr;       // what this lane gives to it, and gets
  int named = 0;
  const Signal* signal = nullptr;
  uint32_t phase = 0;  // of the signal
  uint64_t cluster_arrivals = 0;
  bool in_cluster_barrier = false;  // has arrived and not waited
  Line arrived_in;
  char released_place = 0;  // what the messenger knows
};

// Lanes of a warp at one operation: it is over when all of the mask have come.
struct Meeting {
  const char* operation;
  Line line;
  unsigned mask, came;
  char* place;
};

struct Warp {
  std::vector<Meeting> open;
  unsigned lanes = 0, ended = 0;  // as masks
  uint64_t operations = 0;
  char places[kSyncPlaces]{};
  Messenger messenger;
};

struct Named {
  int expected = 0, arrived = 0;
  uint64_t phase = 0;
  char places[kSyncPlaces]{};
};

// What stands behind the 8 bytes of an mbarrier. A phase ends when its bytes were expected, once, and have all come.
struct Signal {
  const void* at = nullptr;
  std::atomic<uint32_t> open{0};  // the phase that has not ended; other blocks look at it
  int64_t bytes = 0;              // expected and not come; below zero: come and not expected
  bool expected = false;
  Line expected_in;
  bool heeded = true;  // somebody waited for the last phase that ended
  std::vector<Fiber*> waiting;
  char places[kPhasePlaces]{};

  // Relaxed: an order that came with the number, ThreadSanitizer would take for one that the program made.
  uint32_t phase() const { return open.load(std::memory_order_relaxed); }
  std::string text() const {
    return "in phase " + std::to_string(phase()) + (expected ? "" : " nothing is expected") +
           (expected && bytes >= 0
                ? ", " + std::to_string(bytes) + " bytes have not come"
                : ", " + std::to_string(-bytes) + " bytes have come" + (expected ? " too many" : ""));
  }
};

// A value on its way to the shared memory of another block.
struct Message {
  char* to;
  uint64_t value;
  Signal* signal;
  uint32_t phase;  // of the signal, when the value was put
  uint32_t bytes;
  const struct Block* from;
  Line line;
};

struct Inbox {
  std::mutex mutex;
  std::vector<Message> messages;
  std::atomic<bool> any{false};
  std::atomic<bool> closed{false};  // the block has ended
  bool wanted = false;              // the block sleeps until a message comes
};

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

// When values that were put arrive.
enum class Arrival { kLate, kSoon, kByChance };

struct Cluster;

struct Block {
  Launch& launch;
  Cluster& cluster;
  int rank;  // in the cluster
  uint3 index{};

  Random random;
  bool deep = false;  // the thread that could go on last goes on first, so that some run far ahead
  Arrival arrival = Arrival::kByChance;
  Context scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> ready;
  const void* body = nullptr;  // a std::function would allocate in the fiber
  void (*call)(const void*) = nullptr;
  int alive = 0;
  char begun_place = 0;  // all that happened before the launch
  char left_place = 0;   // all that fibers did happened before the block's end

  std::unique_ptr<char[]> shared_memory;
  char* shared = nullptr;

  int at_barrier = 0;
  Line barrier_line;
  uint64_t barriers = 0;
  char places[kSyncPlaces]{};
  std::vector<Warp> warps;
  std::array<Named, kNamed> named;

  int at_cluster = 0;
  bool arrival_due = false;    // all fibers have arrived; the cluster does not know
  uint64_t cluster_phase = 0;  // barriers of the cluster that this block has arrived at
  std::condition_variable changed;
  bool idle = false, ended = false;                         // as the cluster knows
  bool waits_for_barrier = false, waits_for_bytes = false;  // when idle

  std::array<Signal, kSignals> signals;
  uint32_t signals_made = 0;
  std::vector<std::vector<Message>> posted;  // by the receiver's rank; it does not know of them
  size_t posted_count = 0;
  Inbox inbox;
  std::vector<Message> under_way;  // taken from the inbox, not delivered

  Block(Launch& l, Cluster& c, int r, uint64_t seed) : launch(l), cluster(c), rank(r), random(seed) {}

  void run();
  void wait(Wait what, const Line& line);  // in a fiber: until the scheduler says that it is over
  void release_all(Wait what);
  void make_ready(Fiber& fiber);
  std::string name() const { return "block " + std::to_string(index.x); }
  template <class Describe>
  [[noreturn]] void fail_here(const Describe& describe);  // in a fiber that nobody resumes, so it may hold no string

  void begin();
  void end();
  void resume(Fiber& fiber);
  Fiber& take_ready();
  void exchange();
  bool resolve();
  bool looks_outside();
  bool release_from_cluster();
  bool sleep(std::unique_lock<std::mutex>& lock);
  std::string describe() const;
  std::string describe_barrier(const Fiber& last) const;

  void tell_arrival();
  void post();
  void collect();
  void deliver(size_t chosen);
  void deliver_until_ready();
  void account();
};

struct Cluster {
  std::mutex mutex;
  std::vector<Block*> blocks;
  int arrived = 0, ended = 0;
  uint64_t phase = 0;
  char places[kSyncPlaces]{};

  bool stuck() const;
  std::string describe() const;
  void wake_all() const {
    for (Block* each : blocks) each->changed.notify_one();
  }
};

inline thread_local Block* block = nullptr;
inline thread_local Fiber* fiber = nullptr;

}  // namespace on_cpu
