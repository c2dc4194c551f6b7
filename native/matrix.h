// Weights packed once for many products, in three precisions.
#ifndef XLSTMD_MATRIX_H
#define XLSTMD_MATRIX_H

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pool.h"
#include "tile.h"

namespace xlstmd {

enum class Precision : int32_t { float32 = 0, bfloat16 = 1, int8 = 2 };

// Memory for weights, on a cache line's boundary.
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(size_t bytes);
  ~Aligned();
  Aligned(Aligned &&other) noexcept;
  Aligned &operator=(Aligned &&other) noexcept;
  template <class T>
  T *as() const {
    return static_cast<T *>(memory_);
  }
  size_t size() const { return size_; }

 private:
  void *memory_ = nullptr;
  size_t size_ = 0;
};

// The result of one tile before it is written: rows of one panel.
struct Outputs {
  float *at;        // [rows][kPanel<float>]
  int64_t row;      // first row
  int rows;
  int64_t column;   // first column
  int columns;      // of these, at most kPanel<float>
};

// y = x W^T, W [outputs, inputs].
//
// Panels of 4 vectors of outputs lie one after the other, inside by depth: float32 singly, bfloat16
// in pairs, int8 in fours, as the dot products of the CPU take them. Where float16 holds all of them
// exactly, as weights that are stored so, float32 ones lie as `MixedColumns`: no product differs.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t outputs, int64_t inputs, const float *weights, Precision precision);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t panels() const { return (outputs_ + kPanel<float> - 1) / kPanel<float>; }
  Precision precision() const { return precision_; }
  size_t bytes() const { return packed_.size() + 8 * scales_.size(); }
  // What a product of so many rows takes, as `xlstmd_pool::enter` counts: weights are fetched once.
  int64_t work(int64_t rows) const { return static_cast<int64_t>(packed_.size()) / 4 * (rows + 1); }

  // Bytes that `prepare` needs for so many rows.
  size_t prepared_bytes(int64_t rows) const;
  // Brings rows of x into the form the product takes; float32 needs none.
  void prepare(const float *x, int64_t x_row, int64_t first, int64_t end, void *to) const;

  // One panel's outputs for rows `first` … `first + rows`, at most kTileRows of them.
  void tile(const void *prepared, int64_t x_row, int64_t first, int rows, int64_t panel,
            float *to) const;

 private:
  int64_t depth_groups() const;
  int64_t panel_words() const;  // of four bytes
  MixedColumns mixed_panel(int64_t panel) const;
  void put_mixed(int64_t output, int64_t input, float weight);
  void tile_of_bytes(const void *prepared, int64_t first, int rows, int64_t panel, float *to) const;

  int64_t outputs_ = 0, inputs_ = 0;
  Precision precision_ = Precision::float32;
  bool mixed_ = false;
  Aligned packed_;
  std::vector<float> scales_;  // int8: of each output
  std::vector<int32_t> sums_;  // int8: of each output's weights
};

// Runs y = x W^T over the pool; `finish(Outputs)` writes what comes out, tile by tile.
template <class Finish>
void product(xlstmd_pool &pool, const Matrix &w, const float *x, int64_t x_row, int64_t rows,
             void *prepare_in, const Finish &finish) {
  constexpr int64_t kRowBlock = 16 * kTileRows, kPrepareWork = 4;
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  const void *ready = x;
  if (w.precision() != Precision::float32) {
    ready = prepare_in;
    pool.run(blocks, rows * w.inputs() * kPrepareWork, [&](int64_t block, int) {
      w.prepare(x, x_row, block * kRowBlock, std::min(rows, (block + 1) * kRowBlock), prepare_in);
    });
  }
  // A task is a few panels for a block of rows: enough of them to share evenly, and large enough
  // that taking one costs nothing.
  const int64_t work = 2 * std::min(rows, kRowBlock) * w.inputs() * kPanel<float>;
  const int64_t per_task = std::max<int64_t>(1, 100000 / std::max<int64_t>(work, 1));
  const int64_t groups = (w.panels() + per_task - 1) / per_task;
  pool.run(groups * blocks, w.work(rows), [&](int64_t task, int) {
    alignas(64) float to[kTileRows * kPanel<float>];
    const int64_t block = task % blocks, group = task / blocks;
    const int64_t end = std::min(rows, (block + 1) * kRowBlock);
    const int64_t last = std::min(w.panels(), (group + 1) * per_task);
    for (int64_t panel = group * per_task; panel < last; panel++) {
      const int64_t column = panel * kPanel<float>;
      const int columns = static_cast<int>(std::min<int64_t>(kPanel<float>, w.outputs() - column));
      for (int64_t row = block * kRowBlock; row < end; row += kTileRows) {
        const int count = static_cast<int>(std::min<int64_t>(kTileRows, end - row));
        w.tile(ready, x_row, row, count, panel, to);
        finish(Outputs{to, row, count, column, columns});
      }
    }
  });
}

}  // namespace xlstmd

struct xlstmd_matrix {
  xlstmd::Matrix matrix;
};

#endif
