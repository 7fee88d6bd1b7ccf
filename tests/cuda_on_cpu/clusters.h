// What blocks of a cluster do to each other: the cluster's barrier, a look into another's shared memory, and messages:
// values that are put there and counted by a signal.
//
// A message arrives late. It waits where it was put, then in the receiver's inbox, then on its way, and leaves each at
// a time of the schedule and in an order that are drawn (Block::exchange); or, in some schedules, not before the
// receiver has nothing else to do. So who does not wait for it reads NaN, or what was there before. For ThreadSanitizer
// it is written by a messenger, which knows what the warp of the sender knew, and whom only those know who waited.
#pragma once

#include "barriers.h"

namespace on_cpu {

// aligned: all lanes of a warp come from the same line, as the hardware's faster barrier asks.
inline void cluster_arrive(const char* file, int line, bool aligned = false) {
  Block& b = *block;
  void* place;
  {
    const Unwatched unwatched;
    Fiber& self = *fiber;
    place = &b.cluster.places[self.cluster_arrivals % kSyncPlaces];
    self.arrived_in = {file, line};
    if (self.in_cluster_barrier) {
      b.fail_here([&] { return b.name() + ": arrives twice at a cluster barrier in " + self.arrived_in.text(); });
    }
  }
  release(place);
  const Unwatched unwatched;
  fiber->in_cluster_barrier = true;
  ++fiber->cluster_arrivals;
  if (++b.at_cluster < static_cast<int>(b.fibers.size())) return;
  b.at_cluster = 0;
  b.arrival_due = true;
  for (size_t i = 0; i < b.fibers.size() && aligned; ++i) {
    const Fiber &lane = *b.fibers[i], &first = *b.fibers[i / kLanes * kLanes];
    if (lane.arrived_in == first.arrived_in) continue;
    b.fail_here([&] {
      return b.name() + ": lanes of one warp come to a cluster barrier in " + lane.arrived_in.text() + " and in " +
             first.arrived_in.text();
    });
  }
}

inline void cluster_wait(const char* file, int line) {
  void* place;
  {
    const Unwatched unwatched;
    Fiber& self = *fiber;
    if (!self.in_cluster_barrier) {
      block->fail_here([&] {
        return block->name() + ": waits at a cluster barrier in " + Line{file, line}.text() + " without having arrived";
      });
    }
    self.in_cluster_barrier = false;
    place = &block->cluster.places[(self.cluster_arrivals - 1) % kSyncPlaces];
    block->wait(Wait::kCluster, {file, line});
  }
  acquire(place);
}

inline void Block::tell_arrival() {
  arrival_due = false;
  const std::lock_guard<std::mutex> lock(cluster.mutex);
  ++cluster_phase;
  if (++cluster.arrived < static_cast<int>(cluster.blocks.size())) return;
  cluster.arrived = 0;
  ++cluster.phase;
  cluster.wake_all();
}

inline unsigned rank_in_cluster() {
  const Unwatched unwatched;
  return static_cast<unsigned>(block->rank);
}

// The same place in the dynamic shared memory of another block of the cluster. In a fiber, unwatched.
inline char* place_in(const void* own, int rank, size_t bytes, const char* operation, const Line& line) {
  const Block& b = *block;
  const auto offset = static_cast<const char*>(own) - b.shared;
  const bool inside = offset >= 0 && static_cast<size_t>(offset) + bytes <= b.launch.shared_bytes;
  if (rank < 0 || rank >= static_cast<int>(b.cluster.blocks.size()) || !inside) {
    block->fail_here([&] {
      return block->name() + ": " + operation + " in " + line.text() + ": no such block, or not dynamic shared memory";
    });
  }
  return b.cluster.blocks[static_cast<size_t>(rank)]->shared + offset;
}

inline void* shared_of(const void* own, int rank, const char* file, int line) {
  const Unwatched unwatched;
  return place_in(own, rank, 0, "map_shared_rank", {file, line});
}

// Signals. Their 8 bytes hold a magic number and which of the block's they are. Whoever uses one reads them, so that
// ThreadSanitizer sees a use that nothing orders behind its preparation.

constexpr uint64_t kSignalMagic = 0x51674A17;

inline void prepare_signal(uint64_t* word, const char* file, int line) {
  uint64_t prepared;
  {
    const Unwatched unwatched;
    Block& b = *block;
    const Line here{file, line};
    place_in(word, b.rank, sizeof *word, "prepare", here);
    const auto refuse = [&](const char* what) {
      b.fail_here([&] { return b.name() + ": prepare in " + here.text() + ": " + what; });
    };
    if (reinterpret_cast<uintptr_t>(word) % sizeof *word) refuse("a signal is misaligned");
    for (uint32_t i = 0; i < b.signals_made; ++i) {
      if (b.signals[i].at == word) refuse("a signal is prepared twice");
    }
    if (b.signals_made == kSignals) refuse("more signals than CUDA on the CPU has room for");
    b.signals[b.signals_made].at = word;
    prepared = kSignalMagic << 32 | b.signals_made++;
  }
  *word = prepared;
}

// The signal at a place in the shared memory of `owner`.
inline Signal& signal_at(const void* at, Block& owner, const char* operation, const Line& here) {
  const uint64_t word = *static_cast<const volatile uint64_t*>(at);
  const Unwatched unwatched;
  const auto index = static_cast<uint32_t>(word);
  if (word >> 32 != kSignalMagic || index >= kSignals || owner.signals[index].at != at) {
    block->fail_here([&] {
      return block->name() + ": " + operation + " in " + here.text() + ": a signal that was not prepared, or is spoilt";
    });
  }
  return owner.signals[index];
}

inline Signal& own_signal(uint64_t* word, const char* operation, const Line& here) {
  {
    const Unwatched unwatched;
    place_in(word, block->rank, sizeof *word, operation, here);
  }
  return signal_at(word, *block, operation, here);
}

// Ends the phase if it is over. By the block that has the signal, as all that changes it.
inline void end_phase(Block& b, Signal& signal) {
  if (!signal.expected || signal.bytes != 0) return;
  signal.expected = false;
  signal.heeded = !signal.waiting.empty();
  signal.open.store(signal.phase() + 1, std::memory_order_relaxed);
  for (Fiber* each : signal.waiting) b.make_ready(*each);
  signal.waiting.clear();
}

constexpr int64_t kMostBytes = (1 << 20) - 1;  // that a phase counts, either way

inline void expect_bytes(uint64_t* word, uint32_t bytes, const char* file, int line) {
  const Line here{file, line};
  Signal& signal = own_signal(word, "expect", here);
  void* place;
  {
    const Unwatched unwatched;
    place = &signal.places[signal.phase() % kPhasePlaces];
  }
  release(place);
  const Unwatched unwatched;
  Block& b = *block;
  if (signal.expected) {
    b.fail_here([&] {
      return b.name() + ": expects twice in phase " + std::to_string(signal.phase()) + " of a signal, in " +
             here.text() + " and before in " + signal.expected_in.text();
    });
  }
  signal.expected = true;
  signal.expected_in = here;
  signal.bytes += bytes;
  if (signal.bytes > kMostBytes) b.fail_here([&] { return b.name() + ": too many bytes in " + here.text(); });
  end_phase(b, signal);
}

// The hardware looks at the phase's parity alone: it passes over a wait for a phase to come, and hangs in one for a
// phase whose successor has ended too, be that before the wait or before the waiting thread looked again.
inline void wait_for_phase(uint64_t* word, uint32_t phase, const char* file, int line) {
  const Line here{file, line};
  Signal& signal = own_signal(word, "wait", here);
  void* place;
  {
    const Unwatched unwatched;
    Block& b = *block;
    if (signal.phase() == phase) {
      fiber->signal = &signal;
      fiber->phase = phase;
      signal.waiting.push_back(fiber);
      b.wait(Wait::kSignal, here);
    }
    if (signal.phase() != phase + 1) {
      b.fail_here([&] {
        const bool late = static_cast<int32_t>(signal.phase() - phase) > 0;
        return b.name() + ": thread " + std::to_string(fiber->index) + " waits for phase " + std::to_string(phase) +
               " of a signal in " + here.text() + " too " + (late ? "late" : "early") + ": it is in phase " +
               std::to_string(signal.phase());
      });
    }
    signal.heeded = true;
    place = &signal.places[phase % kPhasePlaces];
  }
  acquire(place);
}

// Messages

__attribute__((noinline)) inline void put_message(void* own, uint64_t* word, uint32_t rank, uint64_t value,
                                                  uint32_t bytes, const char* file, int line) {
  const Line here{file, line};
  Block *b, *receiver;
  char *to, *there;
  {
    const Unwatched unwatched;
    b = block;
    const int target = rank < b->cluster.blocks.size() ? static_cast<int>(rank) : -1;
    to = place_in(own, target, bytes, "put", here);
    there = place_in(word, target, sizeof *word, "put", here);
    receiver = b->cluster.blocks[rank];
    const auto said = [&] { return b->name() + ": put in " + here.text() + ": "; };
    if (reinterpret_cast<uintptr_t>(to) % bytes) {
      b->fail_here([&] { return said() + std::to_string(bytes) + " bytes at a misaligned place"; });
    }
    if (receiver->inbox.closed.load(std::memory_order_relaxed)) {
      b->fail_here([&] { return said() + receiver->name() + " has ended"; });
    }
  }
  Signal& signal = signal_at(there, *receiver, "put", here);
  void *released, *place;
  Messenger* messenger;
  uint32_t phase;
  {
    const Unwatched unwatched;
    phase = signal.phase();
    place = &signal.places[phase % kPhasePlaces];
    Warp& warp = b->warps[static_cast<size_t>(fiber->index / kLanes)];
    messenger = &warp.messenger;
    released = &fiber->released_place;
    b->posted[rank].push_back({to, value, &signal, phase, bytes, b, here});
    ++b->posted_count;
  }
  messenger->writes(to, bytes, released, place, __builtin_return_address(0));
}

inline std::string text_of(const Message& m) {
  return std::to_string(m.bytes) + " bytes that " + m.from->name() + " put in " + m.line.text();
}

// Into the inboxes of their receivers.
inline void Block::post() {
  if (posted_count == 0) return;
  posted_count = 0;
  for (size_t to = 0; to < posted.size(); ++to) {
    if (posted[to].empty()) continue;
    Block& receiver = *cluster.blocks[to];
    bool wake = false, closed = false;
    {
      const std::lock_guard<std::mutex> lock(receiver.inbox.mutex);
      std::vector<Message>& messages = receiver.inbox.messages;
      closed = receiver.inbox.closed;
      messages.insert(messages.end(), posted[to].begin(), posted[to].end());
      receiver.inbox.any = true;
      std::swap(wake, receiver.inbox.wanted);
    }
    if (closed) launch.fail(receiver.name() + " has ended before it got " + text_of(posted[to].front()));
    posted[to].clear();
    if (!wake) continue;
    const std::lock_guard<std::mutex> lock(cluster.mutex);
    receiver.changed.notify_one();
  }
}

inline void Block::collect() {
  const std::lock_guard<std::mutex> lock(inbox.mutex);
  under_way.insert(under_way.end(), inbox.messages.begin(), inbox.messages.end());
  inbox.messages.clear();
  inbox.any = false;
}

// First the value, then its bytes.
inline void Block::deliver(size_t chosen) {
  std::swap(under_way[chosen], under_way.back());
  const Message m = under_way.back();
  under_way.pop_back();
  memcpy(m.to, &m.value, m.bytes);
  if (m.phase != m.signal->phase()) {  // had it come at once, it would have been counted in the other phase
    launch.fail(name() + ": nothing keeps " + text_of(m) + " in one phase of its signal: put in " +
                std::to_string(m.phase) + ", come in " + std::to_string(m.signal->phase()));
  }
  m.signal->bytes -= m.bytes;
  if (m.signal->bytes < -kMostBytes) launch.fail(name() + ": too many bytes with " + text_of(m));
  end_phase(*this, *m.signal);
}

inline void Block::deliver_until_ready() {
  collect();
  while (ready.empty() && !under_way.empty()) deliver(random.below(under_way.size()));
}

// At the block's end nothing may be on its way to it, and no phase may be open or unheeded.
inline void Block::account() {
  {
    const std::lock_guard<std::mutex> lock(inbox.mutex);
    inbox.closed = true;
  }
  if (launch.failed) return;
  collect();
  if (!under_way.empty()) launch.fail(name() + " has ended before it got " + text_of(under_way.front()));
  for (uint32_t i = 0; i < signals_made; ++i) {
    const Signal& signal = signals[i];
    if (signal.bytes != 0) launch.fail(name() + " has ended with an open signal: " + signal.text());
    if (!signal.heeded) {
      launch.fail(name() + " has ended and nobody waited for phase " + std::to_string(signal.phase() - 1) +
                  " of a signal");
    }
  }
}

}  // namespace on_cpu
