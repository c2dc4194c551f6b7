// A pool of threads that share the tasks of one call, and the memory they compute in.
#ifndef XLSTMD_POOL_H
#define XLSTMD_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "xlstmd_native.h"

namespace xlstmd {

// Memory on a cache line's boundary that grows and is never given back before the end.
class Scratch {
 public:
  ~Scratch();
  void *bytes(size_t count);

 private:
  void *memory_ = nullptr;
  size_t size_ = 0;
};

// Hands out pieces of one scratch memory, each on a cache line's boundary. Ask `needed` first.
class Pieces {
 public:
  explicit Pieces(void *memory) : at_(static_cast<char *>(memory)) {}
  template <class T>
  T *take(size_t count) {
    T *piece = reinterpret_cast<T *>(at_);
    at_ += bytes<T>(count);
    return piece;
  }
  template <class T>
  static size_t bytes(size_t count) {
    return (count * sizeof(T) + 63) / 64 * 64;
  }

 private:
  char *at_;
};

}  // namespace xlstmd

struct xlstmd_pool {
 public:
  explicit xlstmd_pool(int threads);
  // On the threads of somebody else, who runs what it is given and numbers them.
  xlstmd_pool(int threads, xlstmd_team_run run, xlstmd_team_number number);
  ~xlstmd_pool();

  int threads() const { return static_cast<int>(scratch_.size()); }

  // One call at a time: whoever enters the library with this pool holds the lock until it leaves.
  // `work` is all that the call has to do, in multiply-adds or what takes as long: a call that is
  // over before a thread has woken runs on the caller's alone.
  std::unique_lock<std::mutex> enter(int64_t work = kMuch) {
    std::unique_lock<std::mutex> lock(entry_);
    alone_ = threads() == 1 || work < kWorthWaking;
    return lock;
  }

  // Runs task(index, thread) for every index below `tasks`, and returns when all are done. `work` is
  // that of all tasks together.
  template <class Task>
  void run(int64_t tasks, int64_t work, const Task &task) {
    if (alone_ || tasks <= 1 || work < kWorthSharing) {
      for (int64_t index = 0; index < tasks; index++) task(index, 0);
      return;
    }
    share(tasks, [](const void *body, int64_t index, int thread) {
      (*static_cast<const Task *>(body))(index, thread);
    }, &task);
  }
  template <class Task>
  void run(int64_t tasks, const Task &task) {
    run(tasks, kMuch, task);
  }

  // Makes sure that every thread has so much scratch: tasks must not run out of memory.
  void reserve(size_t bytes) {
    for (auto &each : scratch_) each->bytes(bytes);
  }
  void *scratch(int thread, size_t bytes) { return scratch_[thread]->bytes(bytes); }
  void *shared(size_t bytes) { return shared_.bytes(bytes); }

 private:
  // Some forty microseconds of one thread, and two.
  static constexpr int64_t kWorthWaking = 2'000'000, kWorthSharing = 100'000;
  static constexpr int64_t kMuch = INT64_MAX;

  using Body = void (*)(const void *, int64_t, int);
  void share(int64_t tasks, Body body, const void *task);
  void sleep(uint64_t seen);
  void work(int thread);
  void dismiss();
  void take_tasks(int thread);

  std::vector<std::unique_ptr<xlstmd::Scratch>> scratch_;
  xlstmd::Scratch shared_;
  std::vector<std::thread> workers_;
  std::mutex entry_;
  bool alone_ = false;
  std::mutex sleep_;
  std::condition_variable wake_;
  // Odd while tasks can be taken.
  std::atomic<uint64_t> round_{0};
  // Tasks of one thread that nobody has taken yet, on a cache line of their own.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  std::vector<Share> shares_;
  std::atomic<int> inside_{0};  // workers that are taking tasks
  std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false};
  xlstmd_team_run run_ = nullptr;
  xlstmd_team_number number_ = nullptr;
  Body body_ = nullptr;
  const void *task_ = nullptr;
};

#endif
