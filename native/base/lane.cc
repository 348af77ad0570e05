#include "base/lane.h"

#include <set>

#include "base/aten.h"
#include "base/team.h"

namespace lp {

int parallel_threads() {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  at::parallel_for(0, 64 * at::get_num_threads(), 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  return std::min(static_cast<int>(seen.size()), Team::current().threads());
}

Lane::Lane(int threads) : thread_([this, threads] { run(threads); }) {}

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Lane::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Lane::run(int threads) {
  at::init_num_threads();
  if (threads > 0) at::set_num_threads(threads);
  at::AutoDispatchBelowADInplaceOrView no_autograd;  // backward passes are written by hand
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
  }
}

}  // namespace lp
