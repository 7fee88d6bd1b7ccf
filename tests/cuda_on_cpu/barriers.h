// Where threads of a block meet: its barrier, named barriers, and the operations of a warp.
#pragma once

#include "schedule.h"

namespace on_cpu {

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
    if (b.at_barrier == 0) b.barrier_line = here;
    if (b.alive < static_cast<int>(b.fibers.size()) || !(b.barrier_line == here)) {
      self.wait = Wait::kBlock;
      self.line = here;
      b.fail_here([&] { return b.describe_barrier(self); });
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

// For `threads` threads of the block, which are whole warps: all lanes of a warp must come, from the same source line.
inline void named_barrier(int id, int threads, const char* file, int line) {
  Block& b = *block;
  void* place;
  {
    const Unwatched unwatched;
    if (id < 1 || id >= kNamed) {
      b.fail_here([&] {
        return "named barrier " + std::to_string(id) + " in " + Line{file, line}.text() + ": not from 1 to 15";
      });
    }
    Named& barrier = b.named[static_cast<size_t>(id)];
    place = &barrier.places[barrier.phase % kSyncPlaces];
  }
  release(place);
  {
    const Unwatched unwatched;
    Named& barrier = b.named[static_cast<size_t>(id)];
    Fiber& self = *fiber;
    if (barrier.arrived == 0) barrier.expected = threads;
    if (barrier.expected != threads || threads % kLanes || threads < kLanes) {
      b.fail_here([&] {
        return "named barrier: the numbers of threads differ, or are no whole warps, in " + Line{file, line}.text();
      });
    }
    self.named = id;
    self.line = {file, line};
    if (++barrier.arrived < threads) {
      b.wait(Wait::kNamed, {file, line});
    } else {
      barrier.arrived = 0;
      ++barrier.phase;
      const auto came = [&](const Fiber& f) { return &f == &self || (f.wait == Wait::kNamed && f.named == id); };
      for (size_t i = 0; i < b.fibers.size(); ++i) {
        const Fiber &lane = *b.fibers[i], &first = *b.fibers[i / kLanes * kLanes];
        if (came(lane) != came(first) || (came(lane) && !(lane.line == first.line))) {
          b.fail_here([&] {
            return b.name() + ": of one warp, " + where(lane) + ", but " + where(first) + "; the last came in " +
                   self.line.text();
          });
        }
      }
      for (const auto& each : b.fibers) {
        if (each.get() != &self && came(*each)) b.make_ready(*each);
      }
    }
  }
  acquire(place);
}

// Lanes of a warp meet. The last to come calls `combine` with what each of them has `given`. Only __syncwarp orders
// memory: what a lane wrote to memory before a shuffle or a vote, another lane need not see after it.
template <class Given, class Combine>
void meet(const char* operation, unsigned mask, Given* given, const Combine& combine, Line here,
          bool orders_memory = false) {
  Block& b = *block;
  char* place = nullptr;
  {
    const Unwatched unwatched;
    Fiber& self = *fiber;
    Warp& warp = b.warps[static_cast<size_t>(self.index / kLanes)];
    const int lane = self.index % kLanes;
    const auto refuse = [&](const std::string& what) {
      return b.name() + ": thread " + std::to_string(self.index) + " calls " + operation + " in " + here.text() + " " +
             what;
    };
    if (!(mask >> lane & 1)) b.fail_here([&] { return refuse("but is not in its own mask"); });
    if (const unsigned gone = mask & (warp.ended | ~warp.lanes); gone != 0) {
      b.fail_here([&] {
        return refuse("but lane " + std::to_string(__builtin_ctz(gone)) + " has ended and cannot take part");
      });
    }
    Meeting* found = nullptr;
    for (Meeting& each : warp.open) {
      if (each.mask == mask && each.line == here && each.operation == operation) found = &each;
    }
    if (found == nullptr) {
      warp.open.push_back({operation, here, mask, 0, &warp.places[warp.operations++ % kSyncPlaces]});
      found = &warp.open.back();
    }
    found->came |= 1u << lane;
    self.operation = operation;
    self.given = given;
    place = found->place;
  }
  if (orders_memory) release(place);
  {
    const Unwatched unwatched;
    Fiber& self = *fiber;
    Warp& warp = b.warps[static_cast<size_t>(self.index / kLanes)];
    const auto open =
        std::find_if(warp.open.begin(), warp.open.end(), [&](const Meeting& m) { return m.place == place; });
    if (open->came != mask) {
      b.wait(Wait::kWarp, here);
    } else {
      *open = warp.open.back();
      warp.open.pop_back();
      Given* all[kLanes] = {};
      const auto first = static_cast<size_t>(self.index / kLanes * kLanes);
      for (size_t i = 0; i < kLanes; ++i) {
        if (mask >> i & 1) all[i] = static_cast<Given*>(b.fibers[first + i]->given);
      }
      combine(all);
      for (size_t i = 0; i < kLanes; ++i) {
        if (all[i] != nullptr && b.fibers[first + i].get() != &self) b.make_ready(*b.fibers[first + i]);
      }
    }
  }
  if (orders_memory) acquire(place);
}

inline void sync_warp(unsigned mask, const char* file, int line) {
  char nothing = 0;
  meet("__syncwarp", mask, &nothing, [](char**) {}, {file, line}, true);
}

inline int own_lane() {
  const Unwatched unwatched;
  return fiber->index % kLanes;
}

template <class Value>
struct Shuffled {
  Value value;
  int from;
};

template <class Value>
Value shuffle(const char* operation, unsigned mask, Value value, int from, const char* file, int line) {
  if (mask >> own_lane() & 1 && (from < 0 || from >= kLanes || !(mask >> from & 1))) {
    const Unwatched unwatched;
    block->fail_here([&] {
      return std::string(operation) + " in " + Line{file, line}.text() + ": reads a lane outside of its mask";
    });
  }
  Shuffled<Value> given{value, from};
  meet(operation, mask, &given,
       [](Shuffled<Value>** all) {
         Value got[kLanes];
         for (int i = 0; i < kLanes; ++i) {
           if (all[i] != nullptr) got[i] = all[all[i]->from]->value;
         }
         for (int i = 0; i < kLanes; ++i) {
           if (all[i] != nullptr) all[i]->value = got[i];
         }
       },
       {file, line});
  return given.value;
}

inline unsigned ballot(const char* operation, unsigned mask, bool vote, const char* file, int line) {
  unsigned votes = vote;
  meet(operation, mask, &votes,
       [](unsigned** all) {
         unsigned sum = 0;
         for (int i = 0; i < kLanes; ++i) sum |= (all[i] != nullptr ? *all[i] : 0u) << i;
         for (int i = 0; i < kLanes; ++i) {
           if (all[i] != nullptr) *all[i] = sum;
         }
       },
       {file, line});
  return votes;
}

}  // namespace on_cpu
