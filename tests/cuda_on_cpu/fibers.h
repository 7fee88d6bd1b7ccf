// Fibers: one CUDA thread each. Switching costs a few nanoseconds on x86-64; elsewhere ucontext is used.
// The sanitizers hear of every switch. Between two fibers of a block no order is implied by it: ThreadSanitizer
// sees only the order that barriers and warp operations make, so a missing one is a race even if all came out well.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <mutex>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void __tsan_write_range(void* begin, unsigned long bytes);
void __tsan_func_entry(void* caller);
void __tsan_func_exit();
}
#endif

namespace on_cpu {

// What happened before `release(place)` in one fiber is seen after `acquire(place)` in another.
inline void release([[maybe_unused]] void* place) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(place);
#endif
}
inline void acquire([[maybe_unused]] void* place) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(place);
#endif
}

#if defined(__SANITIZE_THREAD__)
// What `fiber` has done so far is seen after `acquire(place)`; said by another.
__attribute__((no_sanitize("thread"), noinline)) inline void release_of(void* fiber, void* place) {
  void* const self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
  __tsan_release(place);
  __tsan_switch_to_fiber(self, __tsan_switch_to_fiber_no_sync);
}
#endif

// The scheduler's own tables are touched by all fibers of a block in turn: that is no race.
struct Unwatched {
  Unwatched() {
#if defined(__SANITIZE_THREAD__)
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~Unwatched() {
#if defined(__SANITIZE_THREAD__)
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
  }
};

#if defined(__x86_64__)
// Keeps the registers that a call keeps on the old stack, and takes those of the new one.
asm(R"(
.text
.local on_cpu_switch
.type on_cpu_switch, @function
on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size on_cpu_switch, .-on_cpu_switch
)");
extern "C" void on_cpu_switch(void** from, void* to);
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kStack = 256 << 10;
#else
inline constexpr size_t kStack = 64 << 10;
#endif

// A fiber's memory, used again by later ones: making it anew costs a millisecond under ThreadSanitizer.
struct Stack {
  char* memory;
  void* tsan;
};

class Stacks {
 public:
  ~Stacks() {
    for (const Stack& each : free_) free(each.memory);
  }
  static Stacks& all() {
    static Stacks stacks;
    return stacks;
  }
  Stack take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        const Stack taken = free_.back();
        free_.pop_back();
        return taken;
      }
    }
    Stack made{static_cast<char*>(malloc(kStack)), nullptr};
    if (made.memory == nullptr) abort();
#if defined(__SANITIZE_THREAD__)
    made.tsan = __tsan_create_fiber(0);
#endif
    return made;
  }
  void give(const Stack& stack) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack.memory, kStack);  // the frames that were left never returned
#endif
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(stack);
  }

 private:
  std::mutex mutex_;
  std::vector<Stack> free_;
};

class Context {
 public:
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ~Context() {
    if (stack_ != nullptr) Stacks::all().give({stack_, tsan_});
  }

  void make(void (*entry)()) {
    const Stack taken = Stacks::all().take();
    stack_ = taken.memory;
    tsan_ = taken.tsan;
#if defined(__x86_64__)
    auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_ + kStack) & ~uintptr_t{15});
    *--top = nullptr;  // where a caller's return address would be, so that the stack is aligned as in a function
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    top_ = top;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = kStack;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#endif
  }

  // This context stands for the thread that runs it now.
  void adopt() {
#if defined(__SANITIZE_THREAD__)
    tsan_ = __tsan_get_current_fiber();
#endif
  }

  // Leaves `this` for `to`, until somebody comes back; never, if `last`.
  __attribute__((no_sanitize("thread"))) void switch_to(Context& to, [[maybe_unused]] bool last = false) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &fake_, to.bottom_, to.size_);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
    on_cpu_switch(&top_, to.top_);
#else
    swapcontext(&context_, &to.context_);
#endif
    arrived(*this, to);
  }

  // The first thing in a new fiber, which came from `from`.
  static void arrived([[maybe_unused]] Context& here, [[maybe_unused]] Context& from) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(here.fake_, &from.bottom_, &from.size_);
#endif
  }

  // All that has been done here happened before whoever acquires `left`.
  void leave([[maybe_unused]] void* left) {
#if defined(__SANITIZE_THREAD__)
    release_of(tsan_, left);
#endif
  }

  void know_stack() {
    bottom_ = stack_;
    size_ = kStack;
  }

 private:
  char* stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  [[maybe_unused]] void* fake_ = nullptr;
  [[maybe_unused]] void* tsan_ = nullptr;
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

// Who writes values that were put into other blocks, as ThreadSanitizer sees it: it knows all that the putting thread
// knew, but the thread does not know when a value has been written. Who acquires `place` does, and the end of the
// block, which acquires `left`. A report names the line that the address `caller` belongs to.
class Messenger {
 public:
  Messenger() = default;
  Messenger(const Messenger&) = delete;
  Messenger& operator=(const Messenger&) = delete;

#if defined(__SANITIZE_THREAD__)
  ~Messenger() {
    if (stack_.memory != nullptr) Stacks::all().give(stack_);
  }
  __attribute__((no_sanitize("thread"), noinline)) void writes(void* to, size_t bytes, void* released, void* place,
                                                               void* caller) {
    __tsan_release(released);
    if (stack_.memory == nullptr) stack_ = Stacks::all().take();
    void* const sender = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(stack_.tsan, __tsan_switch_to_fiber_no_sync);
    __tsan_acquire(released);
    __tsan_func_entry(caller);
    __tsan_write_range(to, bytes);
    __tsan_func_exit();
    __tsan_release(place);
    __tsan_switch_to_fiber(sender, __tsan_switch_to_fiber_no_sync);
  }
  void leave(void* left) {
    if (stack_.memory != nullptr) release_of(stack_.tsan, left);
  }

 private:
  Stack stack_{};
#else
  void writes(void*, size_t, void*, void*, void*) {}
  void leave(void*) {}
#endif
};

}  // namespace on_cpu
