// Which schedule is the fastest here and now.
//
// All schedules give the same samples to the last bit, so an engine may try them and keep the best. On two idle cores
// the relay makes one float32 stream of `ref` 3.7 times faster than one thread does; on a core that another process
// wants too it is 5 times slower, since each sample waits for both threads. At 4 streams one group is 1.5 times faster
// than two, at 16 it is 1.3 times slower. No rule from shapes alone can know all that.
#pragma once

#include <stdint.h>

#include <algorithm>

namespace fw {

enum Schedule {
  kAlone,    // one thread for all streams
  kSpread,   // each thread has its share of the streams
  kRelayed,  // two threads, each with half of the network
  kGrouped,  // the same, with the streams in two groups
};
inline constexpr int kSchedules = 4;
inline constexpr int64_t kFewStreams = 16;  // beyond, spreading them wins, and one thread need not have room for all

class Tuner {
 public:
  struct Choice {
    Schedule schedule;
    int64_t samples;  // at most, before asking again
  };

  // What the next turns are for; another number of streams, or of threads, is another question.
  void expect(int64_t streams, int32_t threads) {
    if (streams == streams_ && threads == threads_) return;
    *this = Tuner();
    streams_ = streams;
    threads_ = threads;
    const bool few = streams <= kFewStreams;
    possible_[kAlone] = few || threads == 1;
    possible_[kSpread] = threads > 1 && streams > 1;
    possible_[kRelayed] = threads > 1 && few;
    possible_[kGrouped] = threads > 1 && few && streams > 1;
  }

  Choice next() {
    for (int s = 0; s < kSchedules; ++s) {
      if (possible_[s] && trials_[s] < kTrials) return {static_cast<Schedule>(s), kTrialSamples};
    }
    int best = possible_[kAlone] ? kAlone : kSpread;
    for (int s = 0; s < kSchedules; ++s) {
      if (possible_[s] && seconds_[s] < seconds_[best]) best = s;
    }
    if (since_trial_ > kTrialEvery) {  // times change: ask the others again, one after the other
      since_trial_ = 0;
      for (int step = 1; step < kSchedules; ++step) {
        const int s = (last_trial_ + step) % kSchedules;
        if (!possible_[s] || s == best) continue;
        last_trial_ = s;
        return {static_cast<Schedule>(s), kTrialSamples};
      }
    }
    return {static_cast<Schedule>(best), std::max(kTrialSamples, static_cast<int64_t>(kTurnSeconds / seconds_[best]))};
  }

  void record(Schedule schedule, int64_t samples, double seconds) {
    const double each = std::max(seconds / static_cast<double>(samples), 1e-9);
    // the first trial pays for cold caches and waking threads; later figures are noisy, and count half
    seconds_[schedule] = trials_[schedule] < kTrials ? each : (each + seconds_[schedule]) / 2;
    trials_[schedule] = std::min(trials_[schedule] + 1, kTrials);
    since_trial_ += seconds;
  }

 private:
  static constexpr int kTrials = 2;
  static constexpr int64_t kTrialSamples = 32;
  static constexpr double kTurnSeconds = 10e-3, kTrialEvery = 0.5;

  int64_t streams_ = 0;
  int32_t threads_ = 0;
  bool possible_[kSchedules] = {true};
  int trials_[kSchedules] = {}, last_trial_ = 0;
  double seconds_[kSchedules] = {}, since_trial_ = 0;
};

}  // namespace fw
