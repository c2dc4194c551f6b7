// Steps of a backbone between two maps.
#include "backbone.h"
#include "guard.h"

namespace xlstmd {
namespace {

const Matrix *map_of(const xlstmd_matrix *packed) { return packed ? &packed->matrix : nullptr; }

// One step of some rows that go together.
class Stepper {
 public:
  explicit Stepper(const xlstmd_stepper &spec)
      : spec_(spec), backbone_(*spec.backbone), into_(map_of(spec.into)), out_of_(map_of(spec.out_of)) {}

  int64_t work(int64_t rows) const {
    return backbone_.work(rows, 1) + (into_ ? into_->work(rows) : 0) +
           (out_of_ ? out_of_->work(rows) : 0);
  }

  void run(int64_t rows) const {
    const int64_t together = backbone_.rows_together(rows, 1);
    const auto room = backbone_.reserve(*spec_.pool, together, 1, scratch_bytes(together));
    for (int64_t first = 0; first < rows; first += together) {
      Flow flow{*spec_.pool, std::min(together, rows - first), 1, backbone_.width, room.stream,
                nullptr, nullptr, backbone_.state_size, spec_.arena, spec_.source + first,
                spec_.arena, spec_.target + first, room.scratch};
      enter(flow, first);
      backbone_.forward(flow, 1);
      leave(flow, first);
    }
  }

 private:
  size_t scratch_bytes(int64_t rows) const {
    const size_t before = into_ ? into_->prepared_bytes(rows) : 0;
    if (!out_of_) return before;
    return std::max(before, Pieces::bytes<float>(static_cast<size_t>(rows * backbone_.width)) +
                                out_of_->prepared_bytes(rows));
  }

  void enter(const Flow &flow, int64_t first) const {
    const int64_t width = backbone_.width;
    if (!into_) {
      std::copy_n(spec_.x + first * width, flow.rows * width, flow.x);
      return;
    }
    const int64_t inputs = into_->inputs();
    product(flow.pool, *into_, spec_.x + first * inputs, inputs, flow.rows, flow.scratch,
            Store{flow.x, width, spec_.into_bias});
  }

  void leave(const Flow &flow, int64_t first) const {
    const int64_t width = backbone_.width;
    if (!out_of_) return flow.normed(backbone_.norm, spec_.y + first * width);
    Pieces memory(flow.scratch);
    float *normed = memory.take<float>(static_cast<size_t>(flow.rows * width));
    flow.normed(backbone_.norm, normed);
    const int64_t outputs = out_of_->outputs();
    product(flow.pool, *out_of_, normed, width, flow.rows, memory.take<char>(0),
            Store{spec_.y + first * outputs, outputs, spec_.out_of_bias});
  }

  const xlstmd_stepper &spec_;
  const xlstmd_backbone &backbone_;
  const Matrix *into_, *out_of_;
};

}  // namespace
}  // namespace xlstmd

extern "C" int32_t xlstmd_stepper_run(const xlstmd_stepper *stepper, int64_t rows) {
  const int32_t status =
      xlstmd::check_slots(rows, stepper->slots, stepper->source, stepper->target);
  if (status != xlstmd::kDone) return status;
  return xlstmd::guarded([&] {
    const xlstmd::Stepper steps(*stepper);
    const auto lock = stepper->pool->enter(steps.work(rows));
    steps.run(rows);
  });
}
