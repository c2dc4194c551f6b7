#include "backbone.h"

#include <cstring>

#include "guard.h"

namespace xlstmd {
namespace {

// Tokens that go through all blocks together: their activations stay in the nearer caches, and
// there are enough of them to make use of every weight that is fetched.
constexpr int64_t kTokens = 1024;

std::unique_ptr<Block> make_block(const xlstmd_block &spec, int64_t width, Precision precision) {
  if (spec.kind == XLSTMD_BLOCK_SLSTM) return make_slstm_block(spec, width, precision);
  if (spec.kind == XLSTMD_BLOCK_MLSTM) return make_mlstm_block(spec, width, precision);
  return make_preup_block(spec, width, precision);
}

// Moves the last tokens of each row together.
void keep_last(Flow &flow, int64_t outputs) {
  if (outputs == flow.steps) return;
  for (int64_t r = 0; r < flow.rows; r++)
    std::memmove(flow.x + r * outputs * flow.width,
                 flow.x + ((r + 1) * flow.steps - outputs) * flow.width,
                 static_cast<size_t>(outputs * flow.width) * sizeof(float));
  flow.steps = outputs;
  flow.valid = flow.reset = nullptr;
}

// Says whether all slots exist and no row writes what another one reads or writes.
bool apart(int64_t rows, int64_t slots, const int64_t *source, const int64_t *target) {
  for (int64_t r = 0; r < rows; r++)
    if (source[r] < 0 || source[r] >= slots || target[r] < 0 || target[r] >= slots) return false;
  constexpr int64_t kFew = 32;
  if (rows <= kFew) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t other = 0; other < rows; other++)
        if (other != r && (target[r] == target[other] || target[r] == source[other])) return false;
    return true;
  }
  std::vector<uint8_t> starts(static_cast<size_t>(slots)), ends(static_cast<size_t>(slots));
  for (int64_t r = 0; r < rows; r++) {
    uint8_t &count = starts[static_cast<size_t>(source[r])];
    if (count < 2) count++;
  }
  for (int64_t r = 0; r < rows; r++) {
    const auto end = static_cast<size_t>(target[r]);
    if (ends[end]++ || starts[end] > (source[r] == target[r] ? 1 : 0)) return false;
  }
  return true;
}

}  // namespace

int32_t check_slots(int64_t rows, int64_t slots, const int64_t *source, const int64_t *target) {
  bool possible = false;
  const int32_t status = guarded([&] { possible = apart(rows, slots, source, target); });
  return status == kDone && !possible ? kBadSlots : status;
}

}  // namespace xlstmd

xlstmd_backbone::xlstmd_backbone(int64_t width, int64_t num_blocks, const xlstmd_block *specs,
                                 bool rms, float eps, const float *norm_weight,
                                 xlstmd::Precision precision)
    : width(width),
      bytes(static_cast<size_t>(4 * width)),
      norm_weight(norm_weight, norm_weight + width),
      norm{this->norm_weight.data(), eps, rms} {
  for (int64_t i = 0; i < num_blocks; i++) {
    offsets.push_back(state_size);
    blocks.push_back(xlstmd::make_block(specs[i], width, precision));
    state_size += blocks.back()->state_size();
    bytes += blocks.back()->bytes();
  }
}

int64_t xlstmd_backbone::rows_together(int64_t rows, int64_t steps) const {
  return std::min(rows, std::max<int64_t>(1, xlstmd::kTokens / steps));
}

xlstmd_backbone::Room xlstmd_backbone::reserve(xlstmd_pool &pool, int64_t rows, int64_t steps,
                                               size_t of_caller, size_t kept) const {
  size_t shared = of_caller, each = 0;
  for (const auto &block : blocks) {
    shared = std::max(shared, block->scratch_bytes(rows, steps));
    each = std::max(each, block->thread_bytes(rows, steps, pool.threads()));
  }
  pool.reserve(each);
  const auto stream = static_cast<size_t>(rows * steps * width);
  using xlstmd::Pieces;
  Pieces memory(pool.shared(Pieces::bytes<float>(stream) + Pieces::bytes<char>(kept) + shared));
  return {memory.take<float>(stream), memory.take<char>(kept), memory.take<char>(shared)};
}

void xlstmd_backbone::forward(xlstmd::Flow &flow, int64_t outputs) const {
  for (size_t i = 0; i < blocks.size(); i++) {
    blocks[i]->mix(flow, offsets[i]);
    // After the last memory nobody looks at tokens whose outputs are not wanted.
    if (i + 1 == blocks.size()) xlstmd::keep_last(flow, outputs);
    blocks[i]->finish(flow);
  }
}

extern "C" xlstmd_backbone *xlstmd_backbone_create(int64_t width, int64_t num_blocks,
                                                   const xlstmd_block *blocks, int32_t rms_norm,
                                                   double norm_eps, const float *norm_weight,
                                                   int32_t precision) {
  return xlstmd::made([&] {
    return new xlstmd_backbone(width, num_blocks, blocks, rms_norm != 0,
                               static_cast<float>(norm_eps), norm_weight,
                               static_cast<xlstmd::Precision>(precision));
  });
}

extern "C" void xlstmd_backbone_destroy(xlstmd_backbone *backbone) { delete backbone; }

extern "C" int64_t xlstmd_backbone_state_size(const xlstmd_backbone *backbone) {
  return backbone->state_size;
}

extern "C" int64_t xlstmd_backbone_bytes(const xlstmd_backbone *backbone) {
  return static_cast<int64_t>(backbone->bytes);
}

extern "C" void xlstmd_backbone_clear(const xlstmd_backbone *backbone, float *slot) {
  backbone->clear(slot);
}

extern "C" int32_t xlstmd_backbone_forward(xlstmd_pool *pool, const xlstmd_backbone *backbone,
                                           int64_t rows, int64_t steps, int64_t outputs,
                                           const float *x, const uint8_t *reset, const uint8_t *valid,
                                           int64_t slots, float *arena, const int64_t *source,
                                           const int64_t *target, float *y) {
  const int32_t status = xlstmd::check_slots(rows, slots, source, target);
  if (status != xlstmd::kDone) return status;
  return xlstmd::guarded([&] {
    const auto lock = pool->enter(backbone->work(rows, steps));
    const int64_t width = backbone->width, stride = backbone->state_size;
    if (steps == 0) {
      for (int64_t r = 0; r < rows; r++)
        if (source[r] != target[r])
          std::copy_n(arena + source[r] * stride, stride, arena + target[r] * stride);
      return;
    }
    const int64_t together = backbone->rows_together(rows, steps);
    const auto room = backbone->reserve(*pool, together, steps);
    for (int64_t first = 0; first < rows; first += together) {
      const int64_t token = first * steps;
      xlstmd::Flow flow{*pool, std::min(together, rows - first), steps, width, room.stream,
                        valid ? valid + token : nullptr, reset ? reset + token : nullptr, stride,
                        arena, source + first, arena, target + first, room.scratch};
      std::copy_n(x + token * width, flow.tokens() * width, flow.x);
      backbone->forward(flow, outputs);
      flow.normed(backbone->norm, y + first * outputs * width);
    }
  });
}
