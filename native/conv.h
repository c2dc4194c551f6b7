// Causal depthwise convolution over a sequence of one row.
//
// With x the last W inputs of one unit, its own step included, oldest first:
// y_t = bias + sum over j of weight[j] x_{t-W+1+j}. Padding never enters the window; a reset empties
// it.
#ifndef XLSTMD_CONV_H
#define XLSTMD_CONV_H

#include <algorithm>

#include "pool.h"
#include "vec.h"

namespace xlstmd {

template <class T>
struct ConvWeights {
  const T *taps;  // [window][units], the newest step last
  const T *bias;  // [units], or null
  int64_t window, units;
};

// The last inputs of a row, oldest first, by address: null stands for zeros.
template <class T>
class Window {
 public:
  static size_t bytes(int64_t window) { return Pieces::bytes<T *>(static_cast<size_t>(window)); }

  // `start` [window - 1] rows, `row` apart.
  Window(Pieces &memory, int64_t window, T *start, int64_t row)
      : at_(memory.take<T *>(static_cast<size_t>(window))), window_(window) {
    for (int64_t j = 0; j + 1 < window; j++) at_[j] = start + j * row;
  }

  void clear() { std::fill_n(at_, window_, nullptr); }
  // `x` becomes the newest one: all `window` of them are there until `shift`.
  void add(T *x) { at_[window_ - 1] = x; }
  void shift() { std::copy(at_ + 1, at_ + window_, at_); }
  T *operator[](int64_t j) const { return at_[j]; }

 private:
  T **at_;
  int64_t window_;
};

// A run of units: y = bias + sum of taps; nulls of the window are left out.
template <class T>
void conv_step(const ConvWeights<T> &w, const Window<const T> &window, T *y) {
  for (int64_t u = 0; u < w.units; u += kLanes<T>) {
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, w.units - u));
    Vec<T> sum = w.bias ? load_some<T>(w.bias + u, lanes) : Vec<T>{};
    for (int64_t j = 0; j < w.window; j++)
      if (window[j])
        sum += load_some<T>(w.taps + j * w.units + u, lanes) * load_some<T>(window[j] + u, lanes);
    store_some<T>(y + u, sum, lanes);
  }
}

// All steps of one row: x and y have `units` numbers a step, x_row and y_row apart. `from` and `to`
// hold the window [window - 1][units] before and after; they may be the same. y may not be x.
// Scratch: Window<const T>::bytes(window).
template <class T>
void conv_row(void *scratch, const ConvWeights<T> &w, int64_t steps, const T *x, int64_t x_row,
              const uint8_t *reset, const uint8_t *valid, const T *from, T *to, T *y,
              int64_t y_row) {
  Pieces memory(scratch);
  Window<const T> window(memory, w.window, from, w.units);
  for (int64_t t = 0; t < steps; t++) {
    if (reset && reset[t]) window.clear();
    if (valid && !valid[t]) {
      std::fill_n(y + t * y_row, w.units, T(0));
      continue;
    }
    window.add(x + t * x_row);
    conv_step<T>(w, window, y + t * y_row);
    window.shift();
  }
  // Oldest first: what is still to be read lies behind what is written.
  for (int64_t j = 0; j + 1 < w.window; j++) {
    T *row = to + j * w.units;
    if (!window[j]) {
      std::fill_n(row, w.units, T(0));
    } else if (window[j] != row) {
      std::copy_n(window[j], w.units, row);
    }
  }
}

}  // namespace xlstmd
#endif
