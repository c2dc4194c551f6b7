// What every block of a backbone is, and what one call of the backbone hands from block to block.
#ifndef XLSTMD_BLOCK_H
#define XLSTMD_BLOCK_H

#include <memory>

#include "matrix.h"
#include "norm.h"
#include "xlstmd_native.h"

namespace xlstmd {

// Rows on their way through the blocks. Token (row, t) is number row * steps + t.
struct Flow {
  xlstmd_pool &pool;
  int64_t rows, steps, width;
  float *x;  // [rows * steps][width], the residual stream
  const uint8_t *valid, *reset;  // [rows][steps] or null
  int64_t stride;                // of the slots' arenas, which may be one
  const float *from;
  const int64_t *source;  // [rows], slots
  float *to;
  const int64_t *target;
  void *scratch;                   // of `Block::scratch_bytes`

  int64_t tokens() const { return rows * steps; }
  bool holds(int64_t row, int64_t t) const { return valid && !valid[row * steps + t]; }
  bool empties(int64_t row, int64_t t) const { return reset && reset[row * steps + t]; }
  const float *before(int64_t row, int64_t offset) const {
    return from + source[row] * stride + offset;
  }
  float *after(int64_t row, int64_t offset) const { return to + target[row] * stride + offset; }

  // Shares tokens among the threads, a few at a time; `work` is that of one, as the pool counts.
  template <class F>
  void each_token(int64_t work, const F &f) const {
    constexpr int64_t kTogether = 8;
    const int64_t parts = (tokens() + kTogether - 1) / kTogether;
    pool.run(parts, tokens() * work, [&](int64_t part, int) {
      const int64_t end = std::min(tokens(), (part + 1) * kTogether);
      for (int64_t token = part * kTogether; token < end; token++) f(token);
    });
  }

  void normed(const Norm &norm, float *y) const {
    each_token(16 * width, [&](int64_t token) { norm.row(x + token * width, width, y + token * width); });
  }
};

class Block {
 public:
  virtual ~Block() = default;
  virtual int64_t state_size() const = 0;
  // State before the first step.
  virtual void clear(float *state) const = 0;
  // For so many rows of so many steps: shared by all threads, and of each.
  virtual size_t scratch_bytes(int64_t rows, int64_t steps) const = 0;
  virtual size_t thread_bytes(int64_t rows, int64_t steps, int threads) const = 0;
  // Moves x through the layer with memory, and the rows' states `offset` numbers into their slots.
  virtual void mix(const Flow &flow, int64_t offset) const = 0;
  // Moves x through what looks at each token by itself.
  virtual void finish(const Flow &flow) const = 0;
  virtual size_t bytes() const = 0;
};

// y = x W^T as most products of a block end.
struct Store {
  float *to;
  int64_t pitch;
  const float *bias;  // or null
  void operator()(const Outputs &out) const {
    for (int r = 0; r < out.rows; r++) {
      const float *from = out.at + r * kPanel<float>;
      float *row = to + (out.row + r) * pitch + out.column;
      each_vector(from, out.columns, [&](VecF v, int64_t i, int count) {
        if (bias) v += load_some<float>(bias + out.column + i, count);
        store_some<float>(row + i, v, count);
      });
    }
  }
};

struct Add {
  float *to;
  int64_t pitch;
  void operator()(const Outputs &out) const {
    for (int r = 0; r < out.rows; r++) {
      const float *from = out.at + r * kPanel<float>;
      float *row = to + (out.row + r) * pitch + out.column;
      each_vector(from, out.columns, [&](VecF v, int64_t i, int count) {
        store_some<float>(row + i, load_some<float>(row + i, count) + v, count);
      });
    }
  }
};

// A copy of weights that a block keeps as they are.
inline std::vector<float> kept(const float *from, int64_t count) {
  return from ? std::vector<float>(from, from + count) : std::vector<float>();
}

std::unique_ptr<Block> make_slstm_block(const xlstmd_block &spec, int64_t width, Precision precision);
std::unique_ptr<Block> make_mlstm_block(const xlstmd_block &spec, int64_t width, Precision precision);
std::unique_ptr<Block> make_preup_block(const xlstmd_block &spec, int64_t width, Precision precision);

}  // namespace xlstmd
#endif
