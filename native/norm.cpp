// Norms over groups of units as an operation of its own: forward, and the exact backward.
//
// With xhat = (x - mean) / deviation, y = xhat w and g = dy w:
//   dx = (g - mean g - xhat mean(g xhat)) / deviation;  the means of x and g only where centered.
#include <algorithm>
#include <cmath>

#include "guard.h"
#include "pool.h"
#include "vec.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// Rows whose part of the weight's gradient is summed by one task: the same for any threads.
constexpr int64_t kRows = 64;

template <class T>
struct GroupNorm {
  const xlstmd_norm_problem &p;

  int64_t width() const { return p.groups * p.units; }
  int64_t blocks() const { return (p.rows + kRows - 1) / kRows; }

  template <class F>
  void each(const F &f) const {
    for (int64_t i = 0; i < p.units; i += kLanes<T>)
      f(i, static_cast<int>(std::min<int64_t>(kLanes<T>, p.units - i)));
  }

  template <class F>
  T mean(const F &f) const {
    Vec<T> total{};
    each([&](int64_t i, int lanes) { total += f(i, lanes); });
    return sum_lanes<T>(total) / static_cast<T>(p.units);
  }

  struct Moments {
    T mean, inverse;
  };
  Moments moments(const T *x) const {
    T middle = 0;
    if (p.centered) {
      middle = mean([&](int64_t i, int lanes) { return load_some<T>(x + i, lanes); });
      // What rounding left of it: where all units are nearly equal, it would be all there is.
      middle += mean([&](int64_t i, int lanes) { return away_from(x + i, middle, lanes); });
    }
    const T square = mean([&](int64_t i, int lanes) {
      const Vec<T> away = away_from(x + i, middle, lanes);
      return away * away;
    });
    return {middle, T(1) / std::sqrt(square + static_cast<T>(p.eps))};
  }

  // Distances from the mean, zero in lanes that hold no unit.
  static Vec<T> away_from(const T *x, T middle, int lanes) {
    Vec<T> away = load_some<T>(x, lanes) - middle;
    if (lanes < kLanes<T>) {
      T part[kLanes<T>] = {};
      store_some<T>(part, away, lanes);
      away = load<T>(part);
    }
    return away;
  }

  template <class F>
  void each_group(int64_t block, const F &f) const {
    for (int64_t row = block * kRows; row < std::min(p.rows, (block + 1) * kRows); row++)
      for (int64_t group = 0; group < p.groups; group++) f(row * width() + group * p.units, group * p.units);
  }

  void forward(xlstmd_pool &pool, const T *x, const T *weight, T *y) const {
    pool.run(blocks(), [&](int64_t block, int) {
      each_group(block, [&](int64_t at, int64_t unit) {
        const Moments m = moments(x + at);
        each([&](int64_t i, int lanes) {
          const Vec<T> normed = (load_some<T>(x + at + i, lanes) - m.mean) * m.inverse;
          store_some<T>(y + at + i, normed * load_some<T>(weight + unit + i, lanes), lanes);
        });
      });
    });
  }

  void backward(xlstmd_pool &pool, const T *x, const T *weight, const T *dy, T *dx,
                T *d_weight) const {
    auto *parts = static_cast<T *>(pool.shared(sizeof(T) * blocks() * width()));
    pool.run(blocks(), [&](int64_t block, int) {
      T *part = parts + block * width();
      std::fill_n(part, width(), T(0));
      each_group(block, [&](int64_t at, int64_t unit) {
        group_back(x + at, weight + unit, dy + at, dx + at, part + unit);
      });
    });
    std::fill_n(d_weight, width(), T(0));
    for (int64_t block = 0; block < blocks(); block++)
      for (int64_t i = 0; i < width(); i++) d_weight[i] += parts[block * width() + i];
  }

  void group_back(const T *x, const T *weight, const T *dy, T *dx, T *part) const {
    const Moments m = moments(x);
    const auto slope = [&](int64_t i, int lanes) {
      return load_some<T>(dy + i, lanes) * load_some<T>(weight + i, lanes);
    };
    const auto normed = [&](int64_t i, int lanes) {
      return away_from(x + i, m.mean, lanes) * m.inverse;
    };
    const T along = mean([&](int64_t i, int lanes) { return slope(i, lanes) * normed(i, lanes); });
    const T middle = p.centered ? mean(slope) : T(0);
    each([&](int64_t i, int lanes) {
      const Vec<T> hat = normed(i, lanes);
      store_some<T>(dx + i, (slope(i, lanes) - middle - hat * along) * m.inverse, lanes);
      store_some<T>(part + i, load_some<T>(part + i, lanes) + load_some<T>(dy + i, lanes) * hat,
                    lanes);
    });
  }
};

}  // namespace
}  // namespace xlstmd

#define XLSTMD_NORM(suffix, T)                                                                    \
  extern "C" int32_t xlstmd_norm_forward_##suffix(xlstmd_pool *pool, const xlstmd_norm_problem *p, \
                                                  const T *x, const T *weight, T *y) {            \
    return xlstmd::guarded([&] {                                                                  \
      const auto lock = pool->enter();                                                            \
      xlstmd::GroupNorm<T>{*p}.forward(*pool, x, weight, y);                                      \
    });                                                                                           \
  }                                                                                               \
  extern "C" int32_t xlstmd_norm_backward_##suffix(                                               \
      xlstmd_pool *pool, const xlstmd_norm_problem *p, const T *x, const T *weight, const T *dy,  \
      T *dx, T *d_weight) {                                                                       \
    return xlstmd::guarded([&] {                                                                  \
      const auto lock = pool->enter();                                                            \
      xlstmd::GroupNorm<T>{*p}.backward(*pool, x, weight, dy, dx, d_weight);                      \
    });                                                                                           \
  }
XLSTMD_NORM(f32, float)
XLSTMD_NORM(f64, double)
