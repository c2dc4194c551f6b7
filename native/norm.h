// Norms of one row, and of the units of one head.
#ifndef XLSTMD_NORM_H
#define XLSTMD_NORM_H

#include <cmath>

#include "vec.h"

namespace xlstmd {

// Sum of f(x) over a row, lanes first: the order depends on the width alone.
template <class F>
inline float sum_over(const float *x, int64_t width, const F &f) {
  VecF total{};
  int64_t i = 0;
  for (; i + kLanes<float> <= width; i += kLanes<float>) total += f(load<float>(x + i));
  float sum = sum_lanes<float>(total);
  for (; i < width; i++) sum += f(splat<float>(x[i]))[0];
  return sum;
}

// Calls f(lanes of x, first unit, count) for a whole row.
template <class F>
inline void each_vector(const float *x, int64_t width, const F &f) {
  for (int64_t i = 0; i < width; i += kLanes<float>) {
    const int count = width - i < kLanes<float> ? static_cast<int>(width - i) : kLanes<float>;
    f(load_some<float>(x + i, count), i, count);
  }
}

struct Moments {
  float mean, inverse;  // of the deviation
};

inline Moments moments(const float *x, int64_t width, float eps, bool centered) {
  const auto size = static_cast<float>(width);
  const float mean = centered ? sum_over(x, width, [](VecF v) { return v; }) / size : 0.0f;
  const float squares = sum_over(x, width, [&](VecF v) { return (v - mean) * (v - mean); });
  return {mean, 1.0f / std::sqrt(squares / size + eps)};
}

struct Norm {
  const float *weight;
  float eps;
  bool rms;

  void row(const float *x, int64_t width, float *to) const {
    const Moments m = moments(x, width, eps, !rms);
    each_vector(x, width, [&](VecF v, int64_t i, int count) {
      const VecF normed = (v - m.mean) * m.inverse * load_some<float>(weight + i, count);
      store_some<float>(to + i, normed, count);
    });
  }
};

}  // namespace xlstmd
#endif
