// down(activation(up(x))) + skip(x): the maps into and out of a backbone.
#ifndef XLSTMD_TWO_LAYER_MAP_H
#define XLSTMD_TWO_LAYER_MAP_H

#include <algorithm>
#include <vector>

#include "matrix.h"

struct xlstmd_two_layer_map {
  int64_t inputs, hidden, outputs;
  bool relu;
  xlstmd::Matrix up, down, skip;
  std::vector<float> up_bias, bias;

  int64_t work(int64_t rows) const { return up.work(rows) + down.work(rows) + skip.work(rows); }

  size_t scratch_bytes(int64_t rows) const {
    return xlstmd::Pieces::bytes<float>(static_cast<size_t>(rows * hidden)) + prepared(rows);
  }

  // x [rows, inputs], y [rows, outputs].
  void run(xlstmd_pool &pool, int64_t rows, const float *x, float *y, void *scratch) const;

 private:
  size_t prepared(int64_t rows) const {
    return std::max({up.prepared_bytes(rows), down.prepared_bytes(rows), skip.prepared_bytes(rows)});
  }
};

#endif
