// What both kinds of mLSTM block share: memories of all heads in a slot, and the norm per head.
#ifndef XLSTMD_MATRIX_MEMORY_H
#define XLSTMD_MATRIX_MEMORY_H

#include "block.h"
#include "mlstm.h"

namespace xlstmd {

// Where queries, keys and values of all tokens lie (head h's come h widths further), and what
// `MemoryGates` made of them, which is written over.
struct MemoryInputs {
  Steps<const float> q, k, v;
  Steps<float> gates;
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
    if (flow.steps == 1) return step(flow, offset, x, out);
    const MLSTMHead<float> memory(K_, V_, rules_);
    flow.pool.run(flow.rows * heads_, work(flow.tokens()), [&](int64_t index, int thread) {
      const int64_t row = index / heads_, head = index % heads_, token = row * flow.steps;
      const auto part = [&](auto all, int64_t size) {
        return Steps<const float>{all[token] + head * size, all.row};
      };
      const MLSTMInputs<float> inputs{flow.steps,
                                      part(x.q, K_),
                                      part(x.k, K_),
                                      part(x.v, V_),
                                      part(x.gates, 1),
                                      part(Steps<float>{x.gates.at + heads_, x.gates.row}, 1),
                                      flow.reset ? flow.reset + token : nullptr,
                                      flow.valid ? flow.valid + token : nullptr};
      const MLSTMMemory<float> to = of_head(flow.after(row, offset), head);
      memory.run(flow.pool.scratch(thread, thread_bytes()), inputs,
                 of_head(flow.before(row, offset), head), to,
                 {out + token * width() + head * V_, width()});
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
  // A step reads and writes the whole memory; a chunk computes as much for each of its steps.
  int64_t work(int64_t tokens) const { return 4 * tokens * heads_ * K_ * V_; }

  // One head's part of a slot: all heads' C, then their n, then their m.
  template <class T>
  MLSTMMemory<T> of_head(T *slot, int64_t head) const {
    T *n = slot + heads_ * K_ * V_;
    return {slot + head * K_ * V_, n + head * K_, n + heads_ * K_ + head};
  }

  void step(const Flow &flow, int64_t offset, const MemoryInputs &x, float *out) const {
    const auto gates = [&](int64_t row) {
      float *at = x.gates[row];
      return StepGates<float>{at, at + heads_, at + 2 * heads_};
    };
    constexpr int64_t kGatesWork = 4000;
    flow.each_token(kGatesWork, [&](int64_t row) {
      if (flow.holds(row, 0)) return;
      const float *before = of_head(flow.before(row, offset), 0).m;
      gates(row).fill(heads_, x.gates[row], x.gates[row] + heads_,
                      flow.empties(row, 0) ? nullptr : before,
                      of_head(flow.after(row, offset), 0).m, rules_);
    });
    flow.pool.run(flow.rows * heads_, work(flow.rows), [&](int64_t index, int) {
      const int64_t row = index / heads_, head = index % heads_;
      const MLSTMStep<float> step{{K_, V_}, rules_, gates(row)};
      step.run(head, x.q[row] + head * K_, x.k[row] + head * K_, x.v[row] + head * V_,
               of_head(flow.before(row, offset), head), of_head(flow.after(row, offset), head),
               out + index * V_, flow.empties(row, 0), flow.holds(row, 0));
    });
  }

  int64_t heads_, K_, V_;
  MLSTMRules<float> rules_;
  float head_eps_;
  std::vector<float> head_norm_;
};

// Both gates of all heads, in float32: they sit in exponents, where the rounding of shorter weights
// would grow. There are few of them over a long depth, so that each is a sum of lanes along it.
class MemoryGates {
 public:
  MemoryGates(const xlstmd_block &spec, int64_t inputs)
      : heads_(spec.heads), inputs_(inputs), pitch_(whole_vectors<float>(inputs)) {
    maps_.resize(static_cast<size_t>(2 * heads_ * pitch_));
    const int places[] = {XLSTMD_INPUT_GATE, XLSTMD_FORGET_GATE};
    const int biases[] = {XLSTMD_INPUT_GATE_BIAS, XLSTMD_FORGET_GATE_BIAS};
    for (int64_t i = 0; i < 2; i++) {
      for (int64_t head = 0; head < heads_; head++)
        std::copy_n(spec.weights[places[i]] + head * inputs, inputs,
                    &maps_[static_cast<size_t>((i * heads_ + head) * pitch_)]);
      bias_.insert(bias_.end(), spec.weights[biases[i]], spec.weights[biases[i]] + heads_);
    }
  }

  size_t bytes() const { return 4 * maps_.size(); }
  // Numbers of a token: input gates, forget gates, and room for what the memory makes of them.
  int64_t row() const { return 3 * heads_; }

  // x [tokens][x_row] to [tokens][row()].
  void run(const Flow &flow, const float *x, int64_t x_row, float *to) const {
    flow.each_token(4 * heads_ * inputs_, [&](int64_t token) {
      for (int64_t first = 0; first < 2 * heads_; first += kTogether)
        with_rows<kTogether>(std::min<int64_t>(kTogether, 2 * heads_ - first), [&](auto count) {
          some<decltype(count)::value>(x + token * x_row, first, to + token * row());
        });
    });
  }

 private:
  static constexpr int kTogether = 8;

  template <int COUNT>
  void some(const float *x, int64_t first, float *to) const {
    const float *map = &maps_[static_cast<size_t>(first * pitch_)];
    VecF sums[COUNT] = {};
    each_vector(x, inputs_, [&](VecF v, int64_t i, int) {
      for (int gate = 0; gate < COUNT; gate++) sums[gate] += v * load<float>(map + gate * pitch_ + i);
    });
    for (int gate = 0; gate < COUNT; gate++)
      to[first + gate] = sum_lanes<float>(sums[gate]) + bias_[static_cast<size_t>(first + gate)];
  }

  int64_t heads_, inputs_, pitch_;
  std::vector<float> maps_, bias_;  // maps: [input gates, forget gates][inputs, in whole vectors]
};

}  // namespace xlstmd
#endif
