// What both kinds of mLSTM block share: memories of all heads in a slot, and the norm per head.
#ifndef XLSTMD_MATRIX_MEMORY_H
#define XLSTMD_MATRIX_MEMORY_H

#include "block.h"
#include "mlstm.h"

namespace xlstmd {

// Where queries, keys, values and gates of all tokens lie; head h's come h widths further.
struct MemoryInputs {
  Steps<const float> q, k, v, i, f;
};

class MatrixMemory {
 public:
  explicit MatrixMemory(const xlstmd_block &spec)
      : heads_(spec.heads),
        K_(spec.qk_width),
        V_(spec.value_width),
        rules_{static_cast<float>(spec.eps), static_cast<float>(spec.stabilizer_start),
               static_cast<float>(spec.cap)},
        head_eps_(static_cast<float>(spec.head_norm_eps)),
        head_norm_(kept(spec.weights[XLSTMD_HEAD_NORM], spec.heads * spec.value_width)) {}

  int64_t width() const { return heads_ * V_; }
  int64_t state_size() const { return heads_ * (K_ * V_ + K_ + 1); }
  size_t thread_bytes() const { return MLSTMHead<float>::bytes(K_, V_); }

  void clear(float *state) const {
    std::fill_n(state, heads_ * (K_ * V_ + K_), 0.0f);
    std::fill_n(state + heads_ * (K_ * V_ + K_), heads_, rules_.start);
  }

  // Reads of all heads to `out` [tokens][width]; memories move from slot to slot.
  void run(const Flow &flow, int64_t offset, const MemoryInputs &x, float *out) const {
    const MLSTMHead<float> memory(K_, V_, rules_);
    flow.pool.run(flow.rows * heads_, [&](int64_t index, int thread) {
      const int64_t row = index / heads_, head = index % heads_, token = row * flow.steps;
      const auto part = [&](Steps<const float> all, int64_t size) {
        return Steps<const float>{all[token] + head * size, all.row};
      };
      const MLSTMInputs<float> inputs{flow.steps,
                                      part(x.q, K_),
                                      part(x.k, K_),
                                      part(x.v, V_),
                                      part(x.i, 1),
                                      part(x.f, 1),
                                      flow.reset ? flow.reset + token : nullptr,
                                      flow.valid ? flow.valid + token : nullptr};
      const float *from = flow.before(row, offset);
      float *to = flow.after(row, offset);
      const int64_t n = heads_ * K_ * V_ + head * K_, m = heads_ * (K_ * V_ + K_) + head;
      const int64_t C = head * K_ * V_;
      memory.run(flow.pool.scratch(thread, thread_bytes()), inputs, {from + C, from + n, from + m},
                 {to + C, to + n, to + m}, {out + token * width() + head * V_, width()});
    });
  }

  // Calls write(lanes of the normed read, unit, count) for all units of one token.
  template <class Write>
  void normed(const float *read, const Write &write) const {
    for (int64_t head = 0; head < heads_; head++) {
      const float *h = read + head * V_;
      const Moments m = moments(h, V_, head_eps_, true);
      each_vector(h, V_, [&](VecF v, int64_t i, int count) {
        const int64_t unit = head * V_ + i;
        const VecF weight = load_some<float>(&head_norm_[static_cast<size_t>(unit)], count);
        write((v - m.mean) * m.inverse * weight, unit, count);
      });
    }
  }

 private:
  int64_t heads_, K_, V_;
  MLSTMRules<float> rules_;
  float head_eps_;
  std::vector<float> head_norm_;
};

// Both gates of all heads as one product in float32: they sit in exponents, where the rounding of
// shorter weights would grow.
class MemoryGates {
 public:
  MemoryGates(const xlstmd_block &spec, int64_t inputs) {
    const int64_t heads = spec.heads;
    std::vector<float> both(static_cast<size_t>(2 * heads * inputs));
    std::copy_n(spec.weights[XLSTMD_INPUT_GATE], heads * inputs, both.data());
    std::copy_n(spec.weights[XLSTMD_FORGET_GATE], heads * inputs, both.data() + heads * inputs);
    maps_ = Matrix(2 * heads, inputs, both.data(), Precision::float32);
    bias_ = kept(spec.weights[XLSTMD_INPUT_GATE_BIAS], heads);
    bias_.insert(bias_.end(), spec.weights[XLSTMD_FORGET_GATE_BIAS],
                 spec.weights[XLSTMD_FORGET_GATE_BIAS] + heads);
  }

  size_t bytes() const { return maps_.bytes(); }

  // x [tokens][x_row] to [tokens][2 heads], input gates first.
  void run(const Flow &flow, const float *x, int64_t x_row, float *to) const {
    product(flow.pool, maps_, x, x_row, flow.tokens(), nullptr,
            Store{to, maps_.outputs(), bias_.data()});
  }

 private:
  Matrix maps_;
  std::vector<float> bias_;
};

}  // namespace xlstmd
#endif
