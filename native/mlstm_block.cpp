// The post-up-projection mLSTM block of the large models: x + out(sigmoid(o) head norm(mLSTM(norm
// x))), then the feed-forward layer.
#include "feedforward.h"
#include "matrix_memory.h"

namespace xlstmd {
namespace {

class MLSTMBlock final : public Block {
 public:
  MLSTMBlock(const xlstmd_block &spec, int64_t width, Precision precision)
      : width_(width),
        qk_(spec.heads * spec.qk_width),
        heads_(spec.heads),
        norm_weight_(kept(spec.weights[XLSTMD_NORM], width)),
        norm_{norm_weight_.data(), static_cast<float>(spec.norm_eps), spec.rms_norm != 0},
        memory_(spec),
        gates_(spec, width),
        out_(width, width, spec.weights[XLSTMD_OUT], precision),
        feedforward_(spec, width, precision) {
    // Queries, keys, values and output gates in one product.
    std::vector<float> rows(static_cast<size_t>(projected() * width));
    float *to = rows.data();
    const std::pair<int, int64_t> parts[] = {
        {XLSTMD_QUERY, qk_}, {XLSTMD_KEY, qk_}, {XLSTMD_VALUE, width}, {XLSTMD_OUTPUT_GATE, width}};
    for (const auto &[place, outputs] : parts) {
      std::copy_n(spec.weights[place], outputs * width, to);
      to += outputs * width;
    }
    in_ = Matrix(projected(), width, rows.data(), precision);
  }

  int64_t state_size() const override { return memory_.state_size(); }
  void clear(float *state) const override { memory_.clear(state); }
  size_t bytes() const override {
    return in_.bytes() + gates_.bytes() + out_.bytes() + feedforward_.bytes();
  }
  size_t thread_bytes(int64_t, int64_t, int) const override { return memory_.thread_bytes(); }

  size_t scratch_bytes(int64_t rows, int64_t steps) const override {
    const int64_t tokens = rows * steps;
    const size_t own = 2 * Pieces::bytes<float>(tokens * width_) +
                       Pieces::bytes<float>(tokens * projected()) +
                       Pieces::bytes<float>(tokens * gates_.row()) + prepared(tokens);
    return std::max(own, feedforward_.scratch_bytes(tokens));
  }

  void mix(const Flow &flow, int64_t offset) const override {
    const int64_t tokens = flow.tokens();
    Pieces memory(flow.scratch);
    float *normed = memory.take<float>(tokens * width_);
    float *read = memory.take<float>(tokens * width_);
    float *all = memory.take<float>(tokens * projected());
    float *gates = memory.take<float>(tokens * gates_.row());
    void *ready = memory.take<char>(prepared(tokens));
    flow.normed(norm_, normed);
    gates_.run(flow, normed, width_, gates);
    product(flow.pool, in_, normed, width_, tokens, ready, Store{all, projected(), nullptr});
    const int64_t row = projected();
    memory_.run(flow, offset,
                {{all, row}, {all + qk_, row}, {all + 2 * qk_, row}, {gates, gates_.row()}}, read);
    const float *output_gate = all + 2 * qk_ + width_;
    flow.each_token(48 * width_, [&](int64_t token) {
      memory_.normed(read + token * width_, [&](VecF h, int64_t unit, int count) {
        const VecF gate = load_some<float>(output_gate + token * row + unit, count);
        store_some<float>(normed + token * width_ + unit, vsigmoid(gate) * h, count);
      });
    });
    product(flow.pool, out_, normed, width_, tokens, ready, Add{flow.x, width_});
  }

  void finish(const Flow &flow) const override { feedforward_.run(flow); }

 private:
  int64_t projected() const { return 2 * qk_ + 2 * width_; }
  size_t prepared(int64_t tokens) const {
    return std::max(in_.prepared_bytes(tokens), out_.prepared_bytes(tokens));
  }

  int64_t width_, qk_, heads_;
  std::vector<float> norm_weight_;
  Norm norm_;
  MatrixMemory memory_;
  MemoryGates gates_;
  Matrix in_, out_;
  FeedForward feedforward_;
};

}  // namespace

std::unique_ptr<Block> make_mlstm_block(const xlstmd_block &spec, int64_t width,
                                        Precision precision) {
  return std::make_unique<MLSTMBlock>(spec, width, precision);
}

}  // namespace xlstmd
