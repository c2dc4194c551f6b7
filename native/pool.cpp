#include "pool.h"

#include <cstdlib>
#include <new>

#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// Waits of a few microseconds lie between two phases of one call: worth spinning through. Longer
// ones lie between calls: a sleeping worker leaves its core to others.
constexpr int kSpins = 4000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Scratch::~Scratch() { std::free(memory_); }

void *Scratch::bytes(size_t count) {
  if (count > size_) {
    std::free(memory_);
    size_ = 0;
    // No more than is asked for, so that sanitizers see what lies beyond.
    const size_t size = (count + 63) / 64 * 64;
    memory_ = std::aligned_alloc(64, size);
    if (memory_ == nullptr) throw std::bad_alloc();
    size_ = size;
  }
  return memory_;
}

}  // namespace xlstmd

xlstmd_pool::xlstmd_pool(int threads) : shares_(threads < 1 ? 1 : threads) {
  const int count = static_cast<int>(shares_.size());
  for (int i = 0; i < count; i++) scratch_.push_back(std::make_unique<xlstmd::Scratch>());
  try {
    for (int i = 1; i < count; i++) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {
    dismiss();
    throw;
  }
}

xlstmd_pool::xlstmd_pool(int threads, xlstmd_team_run run, xlstmd_team_number number)
    : shares_(threads < 1 ? 1 : threads), run_(run), number_(number) {
  for (size_t i = 0; i < shares_.size(); i++) scratch_.push_back(std::make_unique<xlstmd::Scratch>());
}

xlstmd_pool::~xlstmd_pool() { dismiss(); }

void xlstmd_pool::dismiss() {
  stop_.store(true);
  {
    std::lock_guard<std::mutex> lock(sleep_);
    round_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto &worker : workers_) worker.join();
}

void xlstmd_pool::share(int64_t tasks, Body body, const void *task) {
  body_ = body;
  task_ = task;
  const int64_t count = threads();
  for (int64_t i = 0; i < count; i++) {
    shares_[i].end = (i + 1) * tasks / count;
    shares_[i].next.store(i * tasks / count, std::memory_order_relaxed);
  }
  if (run_) {
    // However many threads come: whoever is there takes the shares of those who are not.
    run_([](void *pool) {
      auto *self = static_cast<xlstmd_pool *>(pool);
      self->take_tasks(self->number_());
    }, this, static_cast<uint32_t>(count), 0);
    return;
  }
  round_.fetch_add(1);
  if (asleep_.load() > 0) {
    std::lock_guard<std::mutex> lock(sleep_);
    wake_.notify_all();
  }
  take_tasks(0);
  // Nobody waits for a worker that has not come: from here on it comes too late.
  round_.fetch_add(1);
  int spins = 0;
  while (inside_.load() > 0) {
    if (++spins < xlstmd::kSpins) {
      xlstmd::relax();
    } else {
      std::this_thread::yield();
    }
  }
}

// Its own share first, the same one in every call, so that a core finds its weights in its cache;
// then what the others have not come to.
void xlstmd_pool::take_tasks(int thread) {
  const int count = threads();
  for (int i = 0; i < count; i++) {
    Share &share = shares_[(thread + i) % count];
    for (;;) {
      const int64_t index = share.next.fetch_add(1, std::memory_order_relaxed);
      if (index >= share.end) break;
      body_(task_, index, thread);
    }
  }
}

void xlstmd_pool::work(int thread) {
  uint64_t seen = 0;
  int spins = 0;
  while (!stop_.load()) {
    const uint64_t round = round_.load();
    if (round == seen) {
      if (++spins < xlstmd::kSpins) {
        xlstmd::relax();
      } else {
        sleep(seen);
        spins = 0;
      }
      continue;
    }
    spins = 0;
    seen = round;
    if (round % 2 == 0) continue;
    // Whoever closes the round sees this worker inside, or the worker sees that it is closed.
    inside_.fetch_add(1);
    if (round_.load() == round) take_tasks(thread);
    inside_.fetch_sub(1);
  }
}

void xlstmd_pool::sleep(uint64_t seen) {
  std::unique_lock<std::mutex> lock(sleep_);
  asleep_.fetch_add(1);
  wake_.wait(lock, [this, seen] { return round_.load() != seen; });
  asleep_.fetch_sub(1);
}

extern "C" xlstmd_pool *xlstmd_pool_create(int32_t threads) {
  try {
    return new xlstmd_pool(threads);
  } catch (...) {
    return nullptr;
  }
}

extern "C" xlstmd_pool *xlstmd_pool_create_on(int32_t threads, xlstmd_team_run run,
                                              xlstmd_team_number number) {
  try {
    return new xlstmd_pool(threads, run, number);
  } catch (...) {
    return nullptr;
  }
}

extern "C" void xlstmd_pool_destroy(xlstmd_pool *pool) { delete pool; }
