// The convolution of a block: its weights, and its windows in slots.
#ifndef XLSTMD_CONV_LAYER_H
#define XLSTMD_CONV_LAYER_H

#include "block.h"
#include "conv.h"
#include "vecmath.h"

namespace xlstmd {

class ConvLayer {
 public:
  ConvLayer(const xlstmd_block &spec, int64_t width)
      : window_(spec.conv_window), width_(width), bias_(kept(spec.weights[XLSTMD_CONV_BIAS], width)) {
    const float *weights = spec.weights[XLSTMD_CONV_WEIGHT];
    taps_.resize(static_cast<size_t>(window_ * width));
    for (int64_t unit = 0; unit < width; unit++)
      for (int64_t j = 0; j < window_; j++)
        taps_[static_cast<size_t>(j * width + unit)] = weights[unit * window_ + j];
  }

  bool absent() const { return window_ == 0; }
  int64_t state_size() const { return absent() ? 0 : (window_ - 1) * width_; }
  size_t thread_bytes() const { return Window<const float>::bytes(window_); }

  // y = silu(conv x) of all rows; x and y have a number of floats from token to token.
  void run(const Flow &flow, int64_t offset, const float *x, int64_t x_row, float *y,
           int64_t y_row) const {
    const ConvWeights<float> weights{taps_.data(), bias_.data(), window_, width_};
    flow.pool.run(flow.rows, 4 * flow.tokens() * window_ * width_, [&](int64_t row, int thread) {
      const int64_t token = row * flow.steps;
      conv_row<float>(flow.pool.scratch(thread, thread_bytes()), weights, flow.steps,
                      x + token * x_row, x_row, flow.reset ? flow.reset + token : nullptr,
                      flow.valid ? flow.valid + token : nullptr, flow.before(row, offset),
                      flow.after(row, offset), y + token * y_row, y_row);
      for (int64_t t = 0; t < flow.steps; t++) {
        float *to = y + (token + t) * y_row;
        each_vector(to, width_, [&](VecF v, int64_t i, int count) {
          store_some<float>(to + i, vsilu(v), count);
        });
      }
    });
  }

 private:
  int64_t window_, width_;
  std::vector<float> taps_, bias_;
};

}  // namespace xlstmd
#endif
