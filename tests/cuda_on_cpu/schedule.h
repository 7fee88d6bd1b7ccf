// Which fiber of a block goes on, what can be said when none can, and how a launch runs its blocks.
#pragma once

#include <algorithm>
#include <chrono>

#include "blocks.h"

namespace on_cpu {

inline std::string where(const Fiber& f) {
  const auto thread = "thread " + std::to_string(f.index);
  const auto waits = [&](const std::string& what) { return thread + " waits " + what + " in " + f.line.text(); };
  switch (f.wait) {
    case Wait::kEnded:
      return thread + " has ended";
    case Wait::kBlock:
      return waits("at __syncthreads");
    case Wait::kNamed:
      return waits("at named barrier " + std::to_string(f.named));
    case Wait::kWarp:
      return waits(std::string("at ") + f.operation);
    case Wait::kCluster:
      return waits("at a cluster barrier");
    case Wait::kSignal:
      return waits("for phase " + std::to_string(f.phase) + " of a signal") + " (" + f.signal->text() + ")";
    default:
      return thread + " runs";
  }
}

// Two threads that stand in different places say it best.
inline std::string Block::describe() const {
  const Fiber* first = fibers.front().get();
  for (const auto& other : fibers) {
    if (other->wait != first->wait || !(other->line == first->line)) {
      return name() + ": " + where(*first) + ", but " + where(*other);
    }
  }
  return name() + ": " + where(*first) + ", and so do all others";
}

// Why the thread that came last to a block barrier does not fit in.
inline std::string Block::describe_barrier(const Fiber& last) const {
  for (const auto& other : fibers) {
    if (other->wait == Wait::kEnded || (other->wait == Wait::kBlock && !(other->line == last.line))) {
      return name() + ": " + where(last) + ", but " + where(*other);
    }
  }
  return describe();
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
    here->warps[static_cast<size_t>(self->index / kLanes)].ended |= 1u << self->index % kLanes;
  }
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
  self.context.switch_to(scheduler);
}

template <class Describe>
void Block::fail_here(const Describe& describe) {
  launch.fail(describe());
  fiber->context.switch_to(scheduler);
  abort();  // nobody resumes a fiber of a failed launch
}

inline void Block::make_ready(Fiber& waiting) {
  waiting.wait = Wait::kNothing;
  ready.push_back(&waiting);
}

inline void Block::release_all(Wait what) {
  for (const auto& each : fibers) {
    if (each->wait == what) make_ready(*each);
  }
}

inline Fiber& Block::take_ready() {
  const bool any = !deep || random.below(64) == 0;
  if (any) std::swap(ready[random.below(ready.size())], ready.back());
  Fiber& next = *ready.back();
  ready.pop_back();
  return next;
}

inline void Block::begin() {
  deep = launch.seed / 4 % 2;
  const size_t habit = launch.seed % 4;  // so that 8 seeds in a row have each habit with each order of threads
  arrival = static_cast<Arrival>(habit < 3 ? habit : random.below(3));
  alive = static_cast<int>(launch.threads.volume());
  posted.resize(cluster.blocks.size());
  warps = std::vector<Warp>(static_cast<size_t>((alive + kLanes - 1) / kLanes));
  for (int i = 0; i < alive; ++i) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& made = *fibers.back();
    const auto at = static_cast<unsigned>(i);
    made.index = i;
    made.thread = {at % launch.threads.x, at / launch.threads.x % launch.threads.y,
                   at / launch.threads.x / launch.threads.y};
    made.context.make(entry);
    warps[at / kLanes].lanes |= 1u << at % kLanes;
    ready.push_back(&made);
  }
}

inline void Block::end() {
  post();
  account();
  for (const auto& each : fibers) each->context.leave(&left_place);
  for (Warp& each : warps) each.messenger.leave(&left_place);
  acquire(&left_place);
  if (shared != nullptr) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared + launch.shared_bytes, kFence);
#endif
    for (size_t i = 0; i < kFence; ++i) {
      if (static_cast<unsigned char>(shared[launch.shared_bytes + i]) == kFenceByte) continue;
      launch.fail(name() + ": wrote beyond its shared memory");
    }
    memset(shared, 0xFF, launch.shared_bytes);  // nobody may look at an ended block's memory
  }
  const std::lock_guard<std::mutex> lock(cluster.mutex);
  ended = true;
  ++cluster.ended;
  cluster.wake_all();
  fibers.clear();
}

inline void Block::run() {
  const Unwatched unwatched;
  block = this;
  scheduler.adopt();
  release(&begun_place);
  begin();
  while (alive > 0 && !launch.failed) {
    exchange();
    if (ready.empty() && !resolve()) break;
    resume(take_ready());
  }
  end();
  block = nullptr;
}

// What other blocks hear of this one and it of them, at the times that its habit says.
inline void Block::exchange() {
  if (arrival_due) tell_arrival();
  if (arrival == Arrival::kLate) return;
  const auto due = [&] { return arrival == Arrival::kSoon || random.below(16) == 0; };
  if (posted_count > 0 && due()) post();
  if (inbox.any.load(std::memory_order_relaxed) && due()) collect();
  if (!under_way.empty() && due()) {
    for (size_t count = arrival == Arrival::kSoon ? under_way.size() : random.below(under_way.size() + 1); count > 0;
         --count) {
      deliver(random.below(under_way.size()));
    }
  }
}

// When all fibers wait: true if some may go on, once other blocks have done what they wait for. Barriers of a block and
// of warps end when their last thread arrives, so here only those of the cluster and signals can.
inline bool Block::resolve() {
  if (!looks_outside()) {
    launch.fail(describe());
    return false;
  }
  post();
  std::unique_lock<std::mutex> lock(cluster.mutex);
  while (!launch.failed) {
    if (!release_from_cluster() && waits_for_bytes) deliver_until_ready();
    if (!ready.empty()) return true;
    if (!sleep(lock)) break;
  }
  return false;
}

// What the fibers wait for that another block may do; true if there is any.
inline bool Block::looks_outside() {
  waits_for_barrier = waits_for_bytes = false;
  for (const auto& each : fibers) {
    waits_for_bytes |= each->wait == Wait::kSignal;
    waits_for_barrier |= each->wait == Wait::kCluster && each->cluster_arrivals <= cluster_phase;
  }
  return waits_for_barrier || waits_for_bytes;
}

inline bool Block::release_from_cluster() {
  if (!waits_for_barrier || cluster.phase < cluster_phase) return false;
  for (const auto& each : fibers) {
    if (each->wait == Wait::kCluster && each->cluster_arrivals <= cluster.phase) make_ready(*each);
  }
  return !ready.empty();
}

// Until another block has done something; false if it never will.
inline bool Block::sleep(std::unique_lock<std::mutex>& lock) {
  {
    const std::lock_guard<std::mutex> inbox_lock(inbox.mutex);
    if (waits_for_bytes && !inbox.messages.empty()) return true;
    inbox.wanted = waits_for_bytes;
  }
  idle = true;
  if (waits_for_barrier && cluster.ended > 0) {
    for (const auto& each : fibers) {
      if (each->wait != Wait::kCluster) continue;
      launch.fail(name() + ": " + where(*each) + ", but another block of the cluster has ended");
      break;
    }
  } else if (cluster.stuck()) {
    launch.fail(cluster.describe());
  }
  if (launch.failed) {
    cluster.wake_all();
    return false;
  }
  changed.wait_for(lock, std::chrono::milliseconds(20));  // a fault in another cluster wakes nobody
  idle = false;
  return true;
}

// True if no block can go on. Those that sleep have posted all that they put.
inline bool Cluster::stuck() const {
  for (Block* each : blocks) {
    if (each->ended) continue;
    if (!each->idle || (each->waits_for_barrier && phase >= each->cluster_phase)) return false;
    const std::lock_guard<std::mutex> lock(each->inbox.mutex);
    if (each->waits_for_bytes && !each->inbox.messages.empty()) return false;
  }
  return true;
}

// Of every block a thread that waits for another block, or that it has ended: two that stand in different places.
inline std::string Cluster::describe() const {
  if (blocks.size() == 1) return "nothing can go on: " + blocks.front()->describe();
  std::vector<std::string> blocked;
  Line line;
  bool differs = false;
  for (const Block* each : blocks) {
    std::string said = each->name() + " has ended";
    Line stands;
    for (const auto& f : each->fibers) {
      if (f->wait != Wait::kSignal && (f->wait != Wait::kCluster || each->waits_for_bytes)) continue;
      said = each->name() + ": " + where(*f);
      stands = f->line;
      break;
    }
    if (blocked.size() < 2) {
      blocked.push_back(said);
      if (blocked.size() == 1) line = stands;
      differs = blocked.size() == 2 && !(stands == line);
    } else if (!differs && !(stands == line)) {
      blocked.back() = said;
      differs = true;
    }
  }
  return "nothing can go on: " + blocked[0] + "; " + blocked[1];
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
