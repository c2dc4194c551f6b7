// A backbone: blocks one after the other over states in slots, and a norm after the last.
#ifndef XLSTMD_BACKBONE_H
#define XLSTMD_BACKBONE_H

#include "block.h"

namespace xlstmd {

// Gives kBadSlots where a slot does not exist, or a row writes what another one reads or writes.
int32_t check_slots(int64_t rows, int64_t slots, const int64_t *source, const int64_t *target);

}  // namespace xlstmd

struct xlstmd_backbone {
  xlstmd_backbone(int64_t width, int64_t num_blocks, const xlstmd_block *specs, bool rms, float eps,
                  const float *norm_weight, xlstmd::Precision precision);

  void clear(float *slot) const {
    for (size_t i = 0; i < blocks.size(); i++) blocks[i]->clear(slot + offsets[i]);
  }

  // As `xlstmd_pool::enter` counts.
  int64_t work(int64_t rows, int64_t steps) const {
    return (rows * steps + 1) * static_cast<int64_t>(bytes / 4) + 4 * rows * steps * state_size;
  }
  // Rows that go through all blocks together.
  int64_t rows_together(int64_t rows, int64_t steps) const;

  // All memory of a call is there before the first number of a state is written: the residual
  // stream, what the caller keeps, and what the blocks and the caller, each in its turn, compute in.
  struct Room {
    float *stream;
    void *kept, *scratch;
  };
  Room reserve(xlstmd_pool &pool, int64_t rows, int64_t steps, size_t of_caller = 0,
               size_t kept = 0) const;

  // Moves the residual stream and the states through all blocks. The last `outputs` steps of each
  // row are kept.
  void forward(xlstmd::Flow &flow, int64_t outputs) const;

  int64_t width, state_size = 0;
  size_t bytes;
  std::vector<float> norm_weight;
  xlstmd::Norm norm;
  std::vector<std::unique_ptr<xlstmd::Block>> blocks;
  std::vector<int64_t> offsets;
};

#endif
