// The post-up-projection sLSTM block: x + head norm(sLSTM(norm x)), then the feed-forward layer.
#include "conv_layer.h"
#include "feedforward.h"
#include "slstm.h"

namespace xlstmd {
namespace {

template <class Panels>
class SLSTMBlock final : public Block {
 public:
  SLSTMBlock(const xlstmd_block &spec, int64_t width, Precision precision)
      : width_(width),
        heads_(spec.heads),
        units_(width / spec.heads),
        rules_{spec.exp_forget != 0, static_cast<float>(spec.cap)},
        head_eps_(static_cast<float>(spec.head_norm_eps)),
        norm_weight_(kept(spec.weights[XLSTMD_NORM], width)),
        norm_{norm_weight_.data(), static_cast<float>(spec.norm_eps), spec.rms_norm != 0},
        head_norm_(kept(spec.weights[XLSTMD_HEAD_NORM], width)),
        bias_(kept(spec.weights[XLSTMD_BIAS], kGates * width)),
        conv_(spec, width),
        maps_(heads_, units_, units_,
              [&](int64_t h, int64_t k, int64_t g) {
                const int places[] = {XLSTMD_INPUT_GATE, XLSTMD_FORGET_GATE, XLSTMD_CELL_INPUT,
                                      XLSTMD_OUTPUT_GATE};
                return spec.weights[places[g]] + (h * units_ + k) * units_;
              }),
        recurrent_(heads_, units_, units_,
                   [&](int64_t h, int64_t k, int64_t g) {
                     return spec.weights[XLSTMD_RECURRENT] +
                            ((h * units_ + k) * kGates + g) * units_;
                   }),
        feedforward_(spec, width, precision) {}

  int64_t state_size() const override { return conv_.state_size() + 4 * width_; }

  void clear(float *state) const override {
    std::fill_n(state, conv_.state_size() + 3 * width_, 0.0f);
    std::fill_n(state + conv_.state_size() + 3 * width_, width_, kStabilizerStart);
  }

  size_t bytes() const override {
    return 2 * 4 * static_cast<size_t>(kGates * width_ * units_) + feedforward_.bytes();
  }

  size_t scratch_bytes(int64_t rows, int64_t steps) const override {
    const int64_t tokens = rows * steps;
    return std::max(2 * Pieces::bytes<float>(tokens * width_), feedforward_.scratch_bytes(tokens));
  }

  size_t thread_bytes(int64_t rows, int64_t steps, int threads) const override {
    const int64_t block = rows_per_task(rows, heads_, threads);
    return std::max(conv_.thread_bytes(),
                    Rows::bytes(block, units_) + chunk_bytes(chunk_steps(block, steps) * block));
  }

  void mix(const Flow &flow, int64_t offset) const override {
    Pieces memory(flow.scratch);
    float *plain = memory.take<float>(flow.tokens() * width_);
    float *gated = memory.take<float>(flow.tokens() * width_);
    flow.normed(norm_, plain);
    if (!conv_.absent()) conv_.run(flow, offset, plain, width_, gated, width_);
    const int64_t block = rows_per_task(flow.rows, heads_, flow.pool.threads());
    const int64_t blocks = (flow.rows + block - 1) / block;
    const int64_t work = (flow.rows + 1) * flow.steps * 2 * kGates * width_ * units_;
    flow.pool.run(heads_ * blocks, work, [&](int64_t index, int thread) {
      const int64_t first = index % blocks * block, rows = std::min(block, flow.rows - first);
      recur(flow, offset + conv_.state_size(), plain, conv_.absent() ? plain : gated, index / blocks, first,
            rows, thread);
    });
  }

  void finish(const Flow &flow) const override { feedforward_.run(flow); }

 private:
  using Rows = SLSTMRows<float, Panels>;
  using Input = typename Panels::Input;

  int64_t padded() const { return Rows::padded(units_); }

  // Tokens whose inputs are multiplied together: a few register tiles.
  static int64_t chunk_steps(int64_t rows, int64_t steps) {
    constexpr int64_t kTokens = 4 * kTileRows;
    return std::min(steps, std::max<int64_t>(1, kTokens / rows));
  }
  size_t chunk_bytes(int64_t tokens) const {
    return Pieces::bytes<float>(tokens * kGates * padded()) +
           2 * Pieces::bytes<Input>(tokens * Rows::input_pitch(units_));
  }

  void recur(const Flow &flow, int64_t offset, const float *plain, const float *gated, int64_t head,
             int64_t first, int64_t rows, int thread) const {
    const int64_t chunk = chunk_steps(rows, flow.steps);
    Pieces memory(flow.pool.scratch(thread, Rows::bytes(rows, units_) + chunk_bytes(chunk * rows)));
    Rows block(memory, head, first, rows, units_);
    float *sums = memory.take<float>(chunk * rows * kGates * padded());
    Input *inputs[2];
    for (Input *&each : inputs)
      each = memory.take<Input>(chunk * rows * Rows::input_pitch(units_));
    const int64_t part = head * units_;
    for (int64_t r = 0; r < rows; r++) {
      const float *from = flow.before(first + r, offset) + part;
      block.set(r, from, from + width_, from + 2 * width_, from + 3 * width_);
    }
    for (int64_t t = 0; t < flow.steps; t += chunk) {
      const int64_t steps = std::min(chunk, flow.steps - t);
      multiply(flow, block, t, steps, plain, gated, inputs, sums);
      for (int64_t i = 0; i < steps; i++) step(flow, block, t + i, sums + i * rows * kGates * padded());
    }
    for (int64_t r = 0; r < rows; r++) {
      float *to = flow.after(first + r, offset) + part;
      block.get(r, to, to + width_, to + 2 * width_, to + 3 * width_);
    }
  }

  // The inputs' part of the pre-activations of a few steps: [step][row][unit block][gate][lane].
  void multiply(const Flow &flow, const Rows &block, int64_t t, int64_t steps, const float *plain,
                const float *gated, Input *const (&memory)[2], float *sums) const {
    const int64_t tokens = steps * block.rows;
    const auto place = [&](int64_t i) {
      return ((block.first + i % block.rows) * flow.steps + t + i / block.rows) * width_ +
             block.head * units_;
    };
    const float *sources[2] = {plain, gated};
    const int kinds = conv_.absent() ? 1 : 2;
    if constexpr (!std::is_same_v<Input, float>) {
      for (int kind = 0; kind < kinds; kind++)
        for (int64_t i = 0; i < tokens; i++) {
          Input *to = memory[kind] + i * Rows::input_pitch(units_);
          each_vector(sources[kind] + place(i), units_, [&](VecF v, int64_t u, int count) {
            Panels::put(to + u, v, count);
          });
          // The last pair's second half has no weights, but what is no number stays none.
          std::fill(to + units_, to + Panels::padded(units_), Input(0));
        }
    }
    const auto input = [&](int kind, int64_t i) -> const Input * {
      if constexpr (std::is_same_v<Input, float>) {
        return sources[kind] + place(i);
      } else {
        return memory[kind] + i * Rows::input_pitch(units_);
      }
    };
    for (int64_t unit = 0; unit < units_; unit += kLanes<float>)
      for (int64_t i = 0; i < tokens; i += kTileRows)
        with_rows<kTileRows>(std::min<int64_t>(kTileRows, tokens - i), [&](auto count) {
          constexpr int R = decltype(count)::value;
          VecF tile[R][kGates];
          const Input *x[2][R];
          for (int r = 0; r < R; r++) {
            x[0][r] = input(0, i + r);
            x[1][r] = input(kinds - 1, i + r);
            for (int g = 0; g < kGates; g++)
              tile[r][g] = load_some<float>(&bias_[static_cast<size_t>(
                                                g * width_ + block.head * units_ + unit)],
                                            block.lanes(unit));
          }
          if (kinds == 1) {
            maps_.template add<kGates, R>(tile, block.head, unit / kLanes<float>, x[0]);
          } else {
            maps_.template add<2, R>(tile, block.head, unit / kLanes<float>, x[1], 0);
            maps_.template add<2, R>(tile, block.head, unit / kLanes<float>, x[0], 2);
          }
          for (int r = 0; r < R; r++)
            for (int g = 0; g < kGates; g++)
              store<float>(sums + ((i + r) * padded() + unit) * kGates + g * kLanes<float>,
                           tile[r][g]);
        });
  }

  void step(const Flow &flow, Rows &block, int64_t t, const float *sums) const {
    for (int64_t r = 0; r < block.rows; r++)
      if (flow.empties(block.first + r, t)) block.clear(r);
    block.step(
        recurrent_, rules_,
        [&](auto &tile, int64_t row, int64_t unit) {
          for (size_t r = 0; r < sizeof tile / sizeof tile[0]; r++)
            for (int g = 0; g < kGates; g++)
              tile[r][g] = load<float>(sums +
                                       ((row + static_cast<int64_t>(r)) * padded() + unit) * kGates +
                                       g * kLanes<float>);
        },
        [&](int64_t row) { return flow.holds(block.first + row, t); },
        [](int64_t, int64_t, const auto &, const auto &, const auto &) {});
    for (int64_t r = 0; r < block.rows; r++) {
      if (flow.holds(block.first + r, t)) continue;
      const float *h = block.h + block.at(r);
      float *x = flow.x + ((block.first + r) * flow.steps + t) * width_ + block.head * units_;
      const Moments m = moments(h, units_, head_eps_, true);
      const float *weight = &head_norm_[static_cast<size_t>(block.head * units_)];
      each_vector(h, units_, [&](VecF v, int64_t i, int count) {
        const VecF normed = (v - m.mean) * m.inverse * load_some<float>(weight + i, count);
        store_some<float>(x + i, load_some<float>(x + i, count) + normed, count);
      });
    }
  }

  int64_t width_, heads_, units_;
  GateRules<float> rules_;
  float head_eps_;
  std::vector<float> norm_weight_;
  Norm norm_;
  std::vector<float> head_norm_, bias_;
  ConvLayer conv_;
  Panels maps_, recurrent_;
  FeedForward feedforward_;
};

}  // namespace

std::unique_ptr<Block> make_slstm_block(const xlstmd_block &spec, int64_t width,
                                        Precision precision) {
  // Errors of a recurrence add up over the steps: bfloat16 is as short as its weights get.
  if (precision == Precision::float32)
    return std::make_unique<SLSTMBlock<GatePanels<float>>>(spec, width, precision);
  return std::make_unique<SLSTMBlock<HalfGatePanels>>(spec, width, precision);
}

}  // namespace xlstmd
