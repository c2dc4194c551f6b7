// The pre-up-projection mLSTM block of the xLSTM paper: x + down((head norm(mLSTM) + skip * c) *
// silu(gate)), with [u, gate] = up(norm x), c = silu(conv u), queries and keys of c, values of u.
#include "conv_layer.h"
#include "matrix_memory.h"

namespace xlstmd {
namespace {

// A map with diagonal blocks of a few units each.
class SmallBlocks {
 public:
  SmallBlocks(const float *weights, int64_t width, int64_t block) : width_(width), block_(block) {
    // [input within the block][output unit], so that lanes of outputs lie side by side.
    weights_.resize(static_cast<size_t>(block * width));
    for (int64_t unit = 0; unit < width; unit++)
      for (int64_t i = 0; i < block; i++)
        weights_[static_cast<size_t>(i * width + unit)] =
            weights[(unit / block * block + i) * block + unit % block];
  }

  // Of one row, as the pool counts.
  int64_t work() const { return 2 * block_ * width_; }

  void row(const float *x, float *to) const {
    if (block_ == 4) return by_lanes(x, to, std::make_integer_sequence<int, kLanes<float>>{});
    for (int64_t unit = 0; unit < width_; unit++) {
      float sum = 0;
      for (int64_t i = 0; i < block_; i++)
        sum += weights_[static_cast<size_t>(i * width_ + unit)] * x[unit / block_ * block_ + i];
      to[unit] = sum;
    }
  }

 private:
  // Blocks of four, as published models have them: whole blocks lie in a vector.
  template <int... LANE>
  void by_lanes(const float *x, float *to, std::integer_sequence<int, LANE...>) const {
    const float *weights = weights_.data();
    each_vector(x, width_, [&, width = width_](VecF v, int64_t unit, int count) {
      const auto part = [&](int64_t i, VecF from) {
        return load_some<float>(weights + i * width + unit, count) * from;
      };
      const VecF first = part(0, __builtin_shufflevector(v, v, (LANE / 4 * 4)...));
      const VecF second = part(1, __builtin_shufflevector(v, v, (LANE / 4 * 4 + 1)...));
      const VecF third = part(2, __builtin_shufflevector(v, v, (LANE / 4 * 4 + 2)...));
      const VecF fourth = part(3, __builtin_shufflevector(v, v, (LANE / 4 * 4 + 3)...));
      store_some<float>(to + unit, (first + second) + (third + fourth), count);
    });
  }

  int64_t width_, block_;
  std::vector<float> weights_;
};

class PreUpBlock final : public Block {
 public:
  PreUpBlock(const xlstmd_block &spec, int64_t width, Precision precision)
      : width_(width),
        inner_(spec.inner),
        heads_(spec.heads),
        norm_weight_(kept(spec.weights[XLSTMD_NORM], width)),
        norm_{norm_weight_.data(), static_cast<float>(spec.norm_eps), false},
        memory_(spec),
        gates_(spec, 3 * spec.inner),
        query_(spec.weights[XLSTMD_QUERY], spec.inner, spec.projection_block),
        key_(spec.weights[XLSTMD_KEY], spec.inner, spec.projection_block),
        value_(spec.weights[XLSTMD_VALUE], spec.inner, spec.projection_block),
        conv_(spec, spec.inner),
        skip_(kept(spec.weights[XLSTMD_SKIP], spec.inner)),
        down_(width, spec.inner, spec.weights[XLSTMD_DOWN], precision) {
    std::vector<float> rows(static_cast<size_t>(2 * inner_ * width));
    std::copy_n(spec.weights[XLSTMD_UP], inner_ * width, rows.data());
    std::copy_n(spec.weights[XLSTMD_GATE], inner_ * width, rows.data() + inner_ * width);
    up_ = Matrix(2 * inner_, width, rows.data(), precision);
  }

  int64_t state_size() const override { return conv_.state_size() + memory_.state_size(); }
  void clear(float *state) const override {
    std::fill_n(state, conv_.state_size(), 0.0f);
    memory_.clear(state + conv_.state_size());
  }
  size_t bytes() const override {
    return up_.bytes() + gates_.bytes() + down_.bytes() + 3 * 4 * 4 * static_cast<size_t>(inner_);
  }
  size_t thread_bytes(int64_t, int64_t, int) const override {
    return std::max(memory_.thread_bytes(), conv_.thread_bytes());
  }

  size_t scratch_bytes(int64_t rows, int64_t steps) const override {
    const int64_t tokens = rows * steps;
    return Pieces::bytes<float>(tokens * width_) + Pieces::bytes<float>(tokens * 2 * inner_) +
           2 * Pieces::bytes<float>(tokens * inner_) + Pieces::bytes<float>(tokens * 3 * inner_) +
           Pieces::bytes<float>(tokens * gates_.row()) + prepared(tokens);
  }

  void mix(const Flow &flow, int64_t offset) const override {
    const int64_t tokens = flow.tokens();
    Pieces memory(flow.scratch);
    float *normed = memory.take<float>(tokens * width_);
    float *both = memory.take<float>(tokens * 2 * inner_);  // the branch of the memory, the gate
    float *mixed = memory.take<float>(tokens * inner_);
    float *read = memory.take<float>(tokens * inner_);
    float *qkv = memory.take<float>(tokens * 3 * inner_);
    float *gates = memory.take<float>(tokens * gates_.row());
    void *ready = memory.take<char>(prepared(tokens));
    flow.normed(norm_, normed);
    product(flow.pool, up_, normed, width_, tokens, ready, Store{both, 2 * inner_, nullptr});
    conv_.run(flow, offset, both, 2 * inner_, mixed, inner_);
    project(flow, both, mixed, qkv);
    const int64_t row = 3 * inner_;
    gates_.run(flow, qkv, row, gates);
    memory_.run(flow, offset + conv_.state_size(),
                {{qkv, row}, {qkv + inner_, row}, {qkv + 2 * inner_, row}, {gates, gates_.row()}},
                read);
    gate(flow, both, mixed, read);
    product(flow.pool, down_, read, inner_, tokens, ready, Add{flow.x, width_});
  }

  void finish(const Flow &) const override {}

 private:
  size_t prepared(int64_t tokens) const {
    return std::max(up_.prepared_bytes(tokens), down_.prepared_bytes(tokens));
  }

  void project(const Flow &flow, const float *both, const float *mixed, float *qkv) const {
    flow.each_token(3 * query_.work(), [&](int64_t token) {
      const float *c = mixed + token * inner_;
      float *to = qkv + token * 3 * inner_;
      query_.row(c, to);
      key_.row(c, to + inner_);
      value_.row(both + token * 2 * inner_, to + 2 * inner_);
    });
  }

  void gate(const Flow &flow, const float *both, const float *mixed, float *read) const {
    flow.each_token(48 * inner_, [&](int64_t token) {
      const float *c = mixed + token * inner_, *z = both + token * 2 * inner_ + inner_;
      float *to = read + token * inner_;
      memory_.normed(to, [&](VecF h, int64_t unit, int count) {
        const VecF skip = load_some<float>(&skip_[static_cast<size_t>(unit)], count);
        h += skip * load_some<float>(c + unit, count);
        store_some<float>(to + unit, h * vsilu(load_some<float>(z + unit, count)), count);
      });
    });
  }

  int64_t width_, inner_, heads_;
  std::vector<float> norm_weight_;
  Norm norm_;
  MatrixMemory memory_;
  MemoryGates gates_;
  SmallBlocks query_, key_, value_;
  ConvLayer conv_;
  std::vector<float> skip_;
  Matrix up_, down_;
};

}  // namespace

std::unique_ptr<Block> make_preup_block(const xlstmd_block &spec, int64_t width,
                                        Precision precision) {
  return std::make_unique<PreUpBlock>(spec, width, precision);
}

}  // namespace xlstmd
