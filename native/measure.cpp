// What the machine can do at most: multiply-adds from registers, and bytes from each level of memory.
#include <algorithm>
#include <chrono>

#include "guard.h"
#include "pool.h"
#include "vec.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs `round` on every thread until the time is over; gives rounds a second of all threads.
template <class Round>
double rate(xlstmd_pool &pool, double seconds, const Round &round) {
  std::atomic<int64_t> rounds{0};
  const double start = now();
  pool.run(pool.threads(), [&](int64_t index, int) {
    int64_t own = 0;
    for (; now() - start < seconds; own++) round(index);
    rounds += own;
  });
  return static_cast<double>(rounds) / (now() - start);
}

constexpr int kChains = 12;  // more than a unit has multiply-adds in flight
constexpr int kLinks = 20000;

void multiply_add() {
  VecF sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = splat<float>(static_cast<float>(i));
  VecF factor = splat<float>(0.999f), term = splat<float>(0.5f);
  asm volatile("" : "+m"(factor), "+m"(term));
  for (int k = 0; k < kLinks; k++)
    for (int i = 0; i < kChains; i++) sums[i] = sums[i] * factor + term;
  for (int i = 0; i < kChains; i++) asm volatile("" : : "m"(sums[i]));
}

void read_all(const float *from, int64_t count) {
  constexpr int kSums = 8;
  VecF sums[kSums] = {};
  for (int64_t k = 0; k + kSums * kLanes<float> <= count; k += kSums * kLanes<float>)
    for (int i = 0; i < kSums; i++) sums[i] += load<float>(from + k + i * kLanes<float>);
  for (int i = 0; i < kSums; i++) asm volatile("" : : "m"(sums[i]));
}

}  // namespace
}  // namespace xlstmd

extern "C" double xlstmd_measure_fma(xlstmd_pool *pool, double seconds) {
  using namespace xlstmd;
  const auto lock = pool->enter();
  const double flops = 2.0 * kChains * kLinks * kLanes<float>;
  return rate(*pool, seconds, [](int64_t) { multiply_add(); }) * flops / 1e9;
}

extern "C" double xlstmd_measure_read(xlstmd_pool *pool, int64_t bytes, double seconds) {
  using namespace xlstmd;
  const auto lock = pool->enter();
  const int64_t count = bytes / static_cast<int64_t>(sizeof(float));
  float *memory = nullptr;
  const size_t all = static_cast<size_t>(count) * static_cast<size_t>(pool->threads());
  if (guarded([&] { memory = static_cast<float *>(pool->shared(all * sizeof(float))); }) != kDone)
    return 0;
  std::fill_n(memory, all, 1.0f);
  // Looking at the clock takes as long as reading a few kilobytes.
  const int64_t times = 1 + (1 << 22) / std::max<int64_t>(bytes, 1);
  const auto round = [&](int64_t index) {
    for (int64_t i = 0; i < times; i++) read_all(memory + index * count, count);
  };
  return rate(*pool, seconds, round) * static_cast<double>(times * count) * sizeof(float) / 1e9;
}
