// Causal depthwise convolution over a sequence as an operation of its own: forward and backward.
#include "conv.h"

#include "guard.h"
#include "transpose.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

using Problem = xlstmd_conv_problem;

const uint8_t *mask_of(const Problem &p, const uint8_t *mask, int64_t row) {
  return mask ? mask + row * p.steps : nullptr;
}

template <class T>
int32_t forward(xlstmd_pool *pool, const Problem &p, const T *x, const T *weight, const T *bias,
                const T *start, T *y, T *end) {
  return guarded([&] {
    const auto lock = pool->enter();
    T *taps = static_cast<T *>(pool->shared(sizeof(T) * p.window * p.units));
    transpose<T>(p.units, p.window, weight, p.window, taps, p.units);
    const ConvWeights<T> weights{taps, bias, p.window, p.units};
    const size_t bytes = Window<const T>::bytes(p.window);
    pool->reserve(bytes);
    pool->run(p.rows, [&](int64_t row, int thread) {
      const int64_t size = p.steps * p.units, kept = (p.window - 1) * p.units;
      conv_row<T>(pool->scratch(thread, bytes), weights, p.steps, x + row * size, p.units,
                  mask_of(p, p.reset, row), mask_of(p, p.valid, row), start + row * kept,
                  end + row * kept, y + row * size, p.units);
    });
  });
}

// A block of units, all rows one after the other: weights' gradients need no sum over threads.
template <class T>
struct Backward {
  const Problem &p;
  const T *taps, *x, *start, *d_y, *d_end;
  T *d_x, *d_taps, *d_bias, *d_start;
  int64_t first, units;  // of the block

  static size_t bytes(int64_t window) { return 2 * Window<T>::bytes(window); }

  void run(void *scratch) const {
    for (int64_t j = 0; j < p.window; j++) std::fill_n(d_taps + j * p.units + first, units, T(0));
    if (d_bias) std::fill_n(d_bias + first, units, T(0));
    for (int64_t row = 0; row < p.rows; row++) one_row(scratch, row);
  }

  void one_row(void *scratch, int64_t row) const {
    const int64_t at = row * p.steps * p.units + first;
    const int64_t kept = row * (p.window - 1) * p.units + first;
    Pieces memory(scratch);
    Window<const T> inputs(memory, p.window, start + kept, p.units);
    Window<T> slopes(memory, p.window, d_start + kept, p.units);
    for (int64_t j = 0; j + 1 < p.window; j++)
      std::fill_n(d_start + kept + j * p.units, units, T(0));
    for (int64_t t = 0; t < p.steps; t++) {
      std::fill_n(d_x + at + t * p.units, units, T(0));
      if (p.reset && p.reset[row * p.steps + t]) {
        inputs.clear();
        slopes.clear();
      }
      if (p.valid && !p.valid[row * p.steps + t]) continue;
      inputs.add(x + at + t * p.units);
      slopes.add(d_x + at + t * p.units);
      one_step(d_y + at + t * p.units, inputs, slopes);
      inputs.shift();
      slopes.shift();
    }
    for (int64_t j = 0; j + 1 < p.window; j++) {
      T *to = slopes[j];
      for (int64_t u = 0; to && u < units; u++) to[u] += d_end[kept + j * p.units + u];
    }
  }

  void one_step(const T *slope, const Window<const T> &inputs, const Window<T> &slopes) const {
    for (int64_t u = 0; d_bias && u < units; u++) d_bias[first + u] += slope[u];
    for (int64_t j = 0; j < p.window; j++) {
      const T *input = inputs[j], *tap = taps + j * p.units + first;
      if (input == nullptr) continue;
      T *to = slopes[j], *to_tap = d_taps + j * p.units + first;
      for (int64_t u = 0; u < units; u++) to[u] += tap[u] * slope[u];
      for (int64_t u = 0; u < units; u++) to_tap[u] += input[u] * slope[u];
    }
  }
};

template <class T>
int32_t backward(xlstmd_pool *pool, const Problem &p, const T *x, const T *weight, const T *start,
                 const T *d_y, const T *d_end, T *d_x, T *d_weight, T *d_bias, T *d_start) {
  return guarded([&] {
    const auto lock = pool->enter();
    const size_t size = static_cast<size_t>(p.window * p.units);
    Pieces memory(pool->shared(2 * Pieces::bytes<T>(size)));
    T *taps = memory.take<T>(size), *d_taps = memory.take<T>(size);
    transpose<T>(p.units, p.window, weight, p.window, taps, p.units);
    const size_t bytes = Backward<T>::bytes(p.window);
    pool->reserve(bytes);
    constexpr int64_t kUnits = 64;
    pool->run((p.units + kUnits - 1) / kUnits, [&](int64_t block, int thread) {
      const int64_t first = block * kUnits;
      Backward<T>{p, taps, x, start, d_y, d_end, d_x, d_taps, d_bias, d_start, first,
                  std::min(kUnits, p.units - first)}
          .run(pool->scratch(thread, bytes));
    });
    transpose<T>(p.window, p.units, d_taps, p.units, d_weight, p.window);
  });
}

}  // namespace
}  // namespace xlstmd

#define XLSTMD_CONV(suffix, T)                                                                    \
  extern "C" int32_t xlstmd_conv_forward_##suffix(xlstmd_pool *pool,                              \
                                                  const xlstmd_conv_problem *p, const T *x,       \
                                                  const T *weight, const T *bias, const T *start, \
                                                  T *y, T *end) {                                 \
    return xlstmd::forward<T>(pool, *p, x, weight, bias, start, y, end);                          \
  }                                                                                               \
  extern "C" int32_t xlstmd_conv_backward_##suffix(                                               \
      xlstmd_pool *pool, const xlstmd_conv_problem *p, const T *x, const T *weight,               \
      const T *start, const T *d_y, const T *d_end, T *d_x, T *d_weight, T *d_bias,               \
      T *d_start) {                                                                               \
    return xlstmd::backward<T>(pool, *p, x, weight, start, d_y, d_end, d_x, d_weight, d_bias,     \
                               d_start);                                                          \
  }
XLSTMD_CONV(f32, float)
XLSTMD_CONV(f64, double)
