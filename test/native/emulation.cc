#include "emulation.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

// Leaves one stack for another: what a function must keep lies on them. swapcontext() would ask the system for
// the signals' mask every time.
extern "C" void lp_switch(void** leave, void* enter);
asm(R"(
.text
.globl lp_switch
.type lp_switch, @function
lp_switch:
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
)");


namespace lp::cuda {

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t kStack = 64 << 10;
constexpr unsigned kLanes = 32;

enum class Waits { no, warp, block, done };

struct Thread {
  void* top = nullptr;  // of its stack, while others have their turn
  std::vector<char> stack;
  dim3 index;
  Waits waits = Waits::no;
  uint64_t given = 0;
};

std::vector<Thread> threads;
size_t count = 0, current = 0;
void* turns = nullptr;  // the stack of whoever gives turns
const std::function<void()>* work = nullptr;

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::abort();
}

void wait(Waits how) {
  Thread& t = threads[current];
  t.waits = how;
  lp_switch(&t.top, turns);
}

void begin() {
  (*work)();
  wait(Waits::done);
  fail("a thread went on after its end");
}

/// A stack from which the first turn returns into begin().
void prepare(Thread& t) {
  t.stack.resize(kStack);
  auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(t.stack.data() + kStack) & ~uintptr_t{15});
  *--top = nullptr;  // where begin() would return to, and the alignment that a call leaves
  *--top = reinterpret_cast<void*>(&begin);
  top -= 6;  // registers, of any value
  t.top = top;
}

void take_turn(size_t i) {
  current = i;
  threadIdx = threads[i].index;
  lp_switch(&turns, threads[i].top);
}

/// Lets those of [first, last) go on that wait so, where none of them still runs.
bool release(size_t first, size_t last, Waits how) {
  bool any = false;
  for (size_t i = first; i < last; ++i) {
    if (threads[i].waits == Waits::no || (how == Waits::warp && threads[i].waits == Waits::block)) return false;
    if (threads[i].waits == Waits::warp && how == Waits::block) return false;
    any = any || threads[i].waits == how;
  }
  if (!any) return false;
  for (size_t i = first; i < last; ++i)
    if (threads[i].waits == how) threads[i].waits = Waits::no;
  return true;
}

void run_block(dim3 block) {
  for (size_t i = 0; i < count; ++i) {
    Thread& t = threads[i];
    const auto n = static_cast<unsigned>(i);
    t.index = dim3(n % block.x, n / block.x % block.y, n / block.x / block.y);
    t.waits = Waits::no;
    prepare(t);
  }
  for (;;) {
    bool ran = false, left = false;
    for (size_t first = 0; first < count; first += kLanes) {
      const size_t last = std::min<size_t>(count, first + kLanes);
      do {
        for (size_t i = first; i < last; ++i)
          if (threads[i].waits == Waits::no) {
            take_turn(i);
            ran = true;
          }
      } while (release(first, last, Waits::warp));
      for (size_t i = first; i < last; ++i) left = left || threads[i].waits != Waits::done;
    }
    if (!left) return;
    if (!release(0, count, Waits::block) && !ran)
      fail("a block's threads wait for each other in vain");
  }
}

}  // namespace

void emulate(dim3 grid, dim3 block, const std::function<void()>& thread) {
  static std::mutex mutex;  // one device
  const std::lock_guard lock(mutex);
  work = &thread;
  gridDim = grid;
  blockDim = block;
  count = static_cast<size_t>(block.x) * block.y * block.z;
  if (threads.size() < count) threads.resize(count);
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        run_block(block);
      }
}

void __syncthreads() { wait(Waits::block); }
void __syncwarp() { wait(Waits::warp); }

int lane_of_thread() { return static_cast<int>(current % kLanes); }

uint64_t exchange(uint64_t mine, int lane) {
  const size_t me = current, warp = me / kLanes * kLanes;
  threads[me].given = mine;
  wait(Waits::warp);
  const size_t from = warp + static_cast<size_t>(lane);
  if (from >= count || threads[from].waits == Waits::done)
    fail("a shuffle asks a lane that has returned");
  const uint64_t found = threads[from].given;
  wait(Waits::warp);  // all have read before the next is given
  return found;
}

}  // namespace lp::cuda
