// The choice of schedules, on times that are made up: what it tries, and that it tries nothing once it is settled.
// Run by tests/native/test_tuner.py.
#include "cpu/generation/tuner.h"

#include "check.h"

namespace {

using fw::cpu::Tuner;

constexpr double kSeconds[] = {4e-3, 3e-3, 1e-3, 2e-3};  // of a sample by each schedule: the relay is the fastest

// Lets a tuner choose for `turns` turns -> how often it chose another schedule than `expected`.
int others(Tuner& tuner, int turns, fw::cpu::Schedule expected) {
  int count = 0;
  for (int turn = 0; turn < turns; ++turn) {
    const Tuner::Choice choice = tuner.next();
    count += choice.schedule != expected;
    tuner.record(choice.samples, kSeconds[choice.schedule] * static_cast<double>(choice.samples));
  }
  return count;
}

}  // namespace

int main() {
  Tuner tuner;
  tuner.expect(2, 2);
  others(tuner, 40, fw::cpu::kRelayed);
  CHECK(others(tuner, 400, fw::cpu::kRelayed) > 0);  // it asks the others again from time to time
  tuner.settle(true);
  CHECK(others(tuner, 4000, fw::cpu::kRelayed) == 0);
  tuner.settle(false);
  CHECK(others(tuner, 400, fw::cpu::kRelayed) > 0);
  tuner.settle(true);
  tuner.expect(3, 2);  // nothing is known of three streams: one thread, and no trial
  CHECK(others(tuner, 400, fw::cpu::kAlone) == 0);
  tuner.expect(64, 2);
  CHECK(others(tuner, 400, fw::cpu::kSpread) == 0);
  return failures == 0 ? 0 : 1;
}
