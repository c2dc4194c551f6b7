// The gated feed-forward layer: x + down(activation(gate(norm x)) * up(norm x)).
#ifndef XLSTMD_FEEDFORWARD_H
#define XLSTMD_FEEDFORWARD_H

#include "block.h"
#include "vecmath.h"

namespace xlstmd {

class FeedForward {
 public:
  FeedForward(const xlstmd_block &spec, int64_t width, Precision precision)
      : width_(width),
        hidden_(spec.hidden),
        gelu_(spec.gelu != 0),
        norm_weight_(kept(spec.weights[XLSTMD_FEEDFORWARD_NORM], width)),
        norm_{norm_weight_.data(), static_cast<float>(spec.norm_eps), spec.rms_norm != 0},
        up_(interleaved(spec.weights[XLSTMD_FEEDFORWARD_GATE], spec.weights[XLSTMD_FEEDFORWARD_UP],
                        precision)),
        down_(width, spec.hidden, spec.weights[XLSTMD_FEEDFORWARD_DOWN], precision) {}
  FeedForward(const FeedForward &) = delete;

  size_t bytes() const { return up_.bytes() + down_.bytes(); }

  size_t scratch_bytes(int64_t tokens) const {
    return Pieces::bytes<float>(tokens * width_) + Pieces::bytes<float>(tokens * hidden_) +
           prepared(tokens);
  }

  void run(const Flow &flow) const {
    const int64_t tokens = flow.tokens();
    Pieces memory(flow.scratch);
    float *normed = memory.take<float>(tokens * width_);
    float *hidden = memory.take<float>(tokens * hidden_);
    void *ready = memory.take<char>(prepared(tokens));
    flow.normed(norm_, normed);
    if (gelu_) {
      activate(flow, normed, hidden, ready, [](VecF x) { return vgelu(x); });
    } else {
      activate(flow, normed, hidden, ready, [](VecF x) { return vsilu(x); });
    }
    product(flow.pool, down_, hidden, hidden_, tokens, ready, Add{flow.x, width_});
  }

 private:
  // Each panel holds as many gates as units that they gate.
  static constexpr int kHalf = kPanel<float> / 2;

  Matrix interleaved(const float *gate, const float *up, Precision precision) const {
    const int64_t panels = (hidden_ + kHalf - 1) / kHalf;
    std::vector<float> rows(static_cast<size_t>(panels * 2 * kHalf * width_));
    for (int64_t unit = 0; unit < hidden_; unit++) {
      const int64_t row = unit / kHalf * 2 * kHalf + unit % kHalf;
      std::copy_n(gate + unit * width_, width_, &rows[static_cast<size_t>(row * width_)]);
      std::copy_n(up + unit * width_, width_, &rows[static_cast<size_t>((row + kHalf) * width_)]);
    }
    return Matrix(panels * 2 * kHalf, width_, rows.data(), precision);
  }

  size_t prepared(int64_t tokens) const {
    return std::max(up_.prepared_bytes(tokens), down_.prepared_bytes(tokens));
  }

  template <class Activation>
  void activate(const Flow &flow, const float *normed, float *hidden, void *ready,
                const Activation &activation) const {
    product(flow.pool, up_, normed, width_, flow.tokens(), ready, [&](const Outputs &out) {
      const int64_t first = out.column / 2;
      const int64_t units = std::min<int64_t>(kHalf, hidden_ - first);
      for (int r = 0; r < out.rows; r++) {
        const float *from = out.at + r * kPanel<float>;
        float *to = hidden + (out.row + r) * hidden_ + first;
        each_vector(from, units, [&](VecF gate, int64_t i, int count) {
          store_some<float>(to + i, activation(gate) * load<float>(from + kHalf + i), count);
        });
      }
    });
  }

  int64_t width_, hidden_;
  bool gelu_;
  std::vector<float> norm_weight_;
  Norm norm_;
  Matrix up_, down_;
};

}  // namespace xlstmd
#endif
