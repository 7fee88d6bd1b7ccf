// Chooses the schedule that is the fastest on this machine at this time.
//
// All schedules give the same samples to the last bit, so an engine may try them and keep the best. On two idle cores
// the relay makes one float32 stream of `ref` 3.7 times faster than one thread does; on a core that another process
// wants too it is 5 times slower, since each sample waits for both threads. At 4 streams one group is 1.5 times faster
// than two, at 16 it is 1.3 times slower. No rule from shapes alone can know all that. (Relay and groups: see
// cpu/generation/engine.h.)
#pragma once

#include <stdint.h>

#include <algorithm>

namespace fw::cpu {

enum Schedule {
  kAlone,    // one thread for all streams
  kSpread,   // each thread has its share of the streams
  kRelayed,  // a relay: two threads, each with half of the network
  kGrouped,  // the same, with the streams in two groups
};
inline constexpr int kSchedules = 4;
// So many share each weight that is read. More are spread over the threads and computed in groups, one after the
// other: all of them at a time would crowd the caches, and need scratch for all.
inline constexpr int64_t kFewStreams = 16;

// A turn is some samples made under one schedule, and its figure the seconds a sample took. A schedule is judged by the
// median of its last figures. A single figure is off by half when another process wants the core for a moment: choosing
// by one made 16 streams 1.1 to 1.7 times faster on two threads, where the best schedule makes them 1.9 times faster.
class Tuner {
 public:
  struct Choice {
    Schedule schedule;
    int64_t samples;  // at most, before asking again
  };

  // Call it before next(). Another number of streams or threads discards all figures.
  void expect(int64_t streams, int32_t threads) {
    if (streams == streams_ && threads == threads_) return;
    const bool settled = settled_;
    *this = Tuner();
    settled_ = settled;
    streams_ = streams;
    threads_ = threads;
    const bool few = streams <= kFewStreams;
    possible_[kAlone] = few || threads == 1;
    possible_[kSpread] = threads > 1 && streams > 1;
    possible_[kRelayed] = threads > 1 && few;
    possible_[kGrouped] = threads > 1 && few && streams > 1;
  }

  // A settled tuner tries nothing. It keeps to the best schedule that it has measured for this number of streams; where
  // it has measured none, to one thread, or for many streams to spreading them. For live playback, in which one slow
  // trial would be heard.
  void settle(bool settled) {
    settled_ = settled;
    left_ = 0;
  }

  Choice next() {
    if (left_ == 0) begin_turn();
    return {turn_, left_};
  }

  // A turn may be recorded in parts, when its caller wants fewer samples at a time.
  void record(int64_t samples, double seconds) {
    left_ -= samples;
    done_ += samples;
    turn_seconds_ += seconds;
    if (left_ > 0) return;
    History& history = histories_[turn_];
    const double each = std::max(turn_seconds_ / static_cast<double>(done_), 1e-9);
    history.each[history.turns++ % kFigures] = each;
    promising_ = each < histories_[best()].median();
    since_trial_ += turn_seconds_;
  }

 private:
  static constexpr int kFigures = 5, kFirstTurns = 4;  // the first turn pays for cold caches and waking threads
  static constexpr int64_t kLeastSamples = 32;
  static constexpr double kTrialSeconds = 3e-3, kTurnSeconds = 10e-3, kTrialEvery = 0.25;

  struct History {
    double each[kFigures] = {};
    int64_t turns = 0;

    double median() const {
      const int64_t first = turns <= kFigures && turns > 1 ? 1 : 0;  // the first turn was cold: leave it out
      const int64_t last = std::min<int64_t>(turns, kFigures);
      double sorted[kFigures] = {};
      for (int64_t i = 0; i < last - first; ++i) {  // std::sort of five makes gcc 12 see bounds crossed
        int64_t at = i;
        for (; at > 0 && sorted[at - 1] > each[first + i]; --at) sorted[at] = sorted[at - 1];
        sorted[at] = each[first + i];
      }
      return sorted[(last - first) / 2];
    }
  };

  void begin_turn() {
    done_ = 0;
    turn_seconds_ = 0;
    turn_ = pick();
    const History& history = histories_[turn_];
    const double seconds = turn_ == best() ? kTurnSeconds : kTrialSeconds;
    left_ = kLeastSamples;
    if (history.turns > 0) left_ = std::max(left_, static_cast<int64_t>(seconds / history.median()));
  }

  Schedule pick() {
    if (settled_) return best();
    for (int64_t turns = 0; turns < kFirstTurns; ++turns) {  // in rotation: a busy moment slows them all
      for (int s = 0; s < kSchedules; ++s) {
        if (possible_[s] && histories_[s].turns <= turns) return static_cast<Schedule>(s);
      }
    }
    const Schedule fastest = best();
    if (promising_) return turn_;  // repeat a trial that beat the best, until their medians decide
    if (since_trial_ < kTrialEvery) return fastest;
    since_trial_ = 0;
    for (int step = 1; step < kSchedules; ++step) {  // the machine's load changes: now and then try another one
      const int s = (last_trial_ + step) % kSchedules;
      if (!possible_[s] || s == fastest) continue;
      last_trial_ = s;
      return static_cast<Schedule>(s);
    }
    return fastest;
  }

  Schedule best() const {
    int best = possible_[kAlone] ? kAlone : kSpread;
    for (int s = 0; s < kSchedules; ++s) {
      if (possible_[s] && histories_[s].turns > 0 && histories_[s].median() < histories_[best].median()) best = s;
    }
    return static_cast<Schedule>(best);
  }

  int64_t streams_ = 0;
  int32_t threads_ = 0;
  bool possible_[kSchedules] = {true};
  History histories_[kSchedules];
  Schedule turn_ = kAlone;
  int last_trial_ = 0;
  int64_t left_ = 0, done_ = 0;
  bool promising_ = false, settled_ = false;
  double turn_seconds_ = 0, since_trial_ = 0;
};

}  // namespace fw::cpu
