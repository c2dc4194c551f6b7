// mLSTM over a sequence as an operation of its own: forward, and the exact backward.
#include "mlstm.h"

#include "guard.h"
#include "mlstm_backward.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

using Problem = xlstmd_mlstm_problem;

template <class T>
MLSTMRules<T> rules(const Problem &p) {
  return {static_cast<T>(p.eps), static_cast<T>(p.stabilizer_start), static_cast<T>(p.cap)};
}

// Arrays [rows, heads, steps, numbers], of one row's head.
template <class T>
Steps<T> steps_of(const Problem &p, T *at, int64_t head, int64_t numbers) {
  return {at + head * p.steps * numbers, numbers};
}

template <class T>
MLSTMInputs<T> inputs_of(const Problem &p, const T *const *at, int64_t head) {
  const int64_t first = head / p.heads * p.steps;
  return {p.steps,
          steps_of(p, at[0], head, p.qk_width),
          steps_of(p, at[1], head, p.qk_width),
          steps_of(p, at[2], head, p.value_width),
          steps_of(p, at[3], head, 1),
          steps_of(p, at[4], head, 1),
          p.reset ? p.reset + first : nullptr,
          p.valid ? p.valid + first : nullptr};
}

// Of a null, a null.
template <class T>
MLSTMMemory<T> memory_of(const Problem &p, T *const *at, int64_t head) {
  const auto part = [&](int index, int64_t size) {
    return at[index] ? at[index] + head * size : nullptr;
  };
  return {part(0, p.qk_width * p.value_width), part(1, p.qk_width), part(2, 1)};
}

template <class T>
int64_t saved_of_head(const Problem &p) {
  return MLSTMHead<T>::saved_count(p.steps) *
         MLSTMHead<T>::saved_size(p.qk_width, p.value_width);
}

// As the pool counts: a step reads and writes the whole memory, a chunk computes as much a step.
int64_t work(const Problem &p) { return 4 * p.rows * p.heads * p.steps * p.qk_width * p.value_width; }

// One step: gates of a row's heads side by side, then head by head.
template <class T>
void one_step(xlstmd_pool &pool, const Problem &p, const T *const *x, const T *const *start, T *out,
              T *const *end) {
  const int64_t K = p.qk_width, V = p.value_width, heads = p.rows * p.heads;
  const auto count = static_cast<size_t>(heads);
  Pieces memory(pool.shared(3 * Pieces::bytes<T>(count)));
  const StepGates<T> gates{memory.take<T>(count), memory.take<T>(count), memory.take<T>(count)};
  const MLSTMStep<T> step{{K, V}, rules<T>(p), gates};
  const auto held = [&](int64_t row) { return p.valid && !p.valid[row]; };
  const auto empty = [&](int64_t row) { return p.reset && p.reset[row]; };
  for (int64_t row = 0; row < p.rows; row++) {
    const int64_t at = row * p.heads;
    if (held(row)) continue;
    gates.from(at).fill(p.heads, x[3] + at, x[4] + at, empty(row) ? nullptr : start[2] + at,
                        end[2] + at, rules<T>(p));
  }
  pool.run(heads, work(p), [&](int64_t head, int) {
    const int64_t row = head / p.heads;
    step.run(head, x[0] + head * K, x[1] + head * K, x[2] + head * V, memory_of(p, start, head),
             memory_of(p, end, head), out + head * V, empty(row), held(row));
  });
}

template <class T>
int32_t forward(xlstmd_pool *pool, const Problem &p, const T *const *inputs, const T *const *start,
                T *out, T *const *end, T *saved) {
  return guarded([&] {
    const auto lock = pool->enter(work(p));
    if (p.steps == 1) return one_step(*pool, p, inputs, start, out, end);
    const MLSTMHead<T> head(p.qk_width, p.value_width, rules<T>(p));
    const size_t bytes = head.bytes(p.qk_width, p.value_width);
    pool->reserve(bytes);
    pool->run(p.rows * p.heads, [&](int64_t index, int thread) {
      head.run(pool->scratch(thread, bytes), inputs_of(p, inputs, index),
               memory_of(p, start, index), memory_of(p, end, index),
               steps_of(p, out, index, p.value_width),
               saved ? saved + index * saved_of_head<T>(p) : nullptr);
    });
  });
}

template <class T>
int32_t backward(xlstmd_pool *pool, const Problem &p, const T *const *inputs,
                 const T *const *start, const T *out, const T *saved, const T *d_out,
                 const T *const *d_end, T *const *d_inputs, T *const *d_start) {
  return guarded([&] {
    const auto lock = pool->enter();
    using Head = MLSTMHeadBackward<T>;
    const size_t bytes = Head::bytes(p.qk_width, p.value_width, p.steps);
    pool->reserve(bytes);
    pool->run(p.rows * p.heads, [&](int64_t index, int thread) {
      const MLSTMSlopes<T> slopes{steps_of(p, d_inputs[0], index, p.qk_width),
                                  steps_of(p, d_inputs[1], index, p.qk_width),
                                  steps_of(p, d_inputs[2], index, p.value_width),
                                  steps_of(p, d_inputs[3], index, 1),
                                  steps_of(p, d_inputs[4], index, 1)};
      Head(p.qk_width, p.value_width, rules<T>(p))
          .run(pool->scratch(thread, bytes), inputs_of(p, inputs, index),
               memory_of(p, start, index), steps_of(p, out, index, p.value_width),
               saved + index * saved_of_head<T>(p), steps_of(p, d_out, index, p.value_width),
               memory_of(p, d_end, index), slopes, memory_of(p, d_start, index));
    });
  });
}

}  // namespace
}  // namespace xlstmd

#define XLSTMD_MLSTM(suffix, T)                                                                   \
  extern "C" int64_t xlstmd_mlstm_saved_##suffix(const xlstmd_mlstm_problem *p) {                \
    return p->rows * p->heads * xlstmd::saved_of_head<T>(*p);                                     \
  }                                                                                               \
  extern "C" int32_t xlstmd_mlstm_forward_##suffix(                                               \
      xlstmd_pool *pool, const xlstmd_mlstm_problem *p, const T *const *inputs,                   \
      const T *const *start, T *out, T *const *end, T *saved) {                                   \
    return xlstmd::forward<T>(pool, *p, inputs, start, out, end, saved);                          \
  }                                                                                               \
  extern "C" int32_t xlstmd_mlstm_backward_##suffix(                                              \
      xlstmd_pool *pool, const xlstmd_mlstm_problem *p, const T *const *inputs,                   \
      const T *const *start, const T *out, const T *saved, const T *d_out,                        \
      const T *const *d_end, T *const *d_inputs, T *const *d_start) {                             \
    return xlstmd::backward<T>(pool, *p, inputs, start, out, saved, d_out, d_end, d_inputs,       \
                               d_start);                                                          \
  }
XLSTMD_MLSTM(f32, float)
XLSTMD_MLSTM(f64, double)

extern "C" int32_t xlstmd_mlstm_stepper_run(const xlstmd_mlstm_stepper *stepper, const float *q,
                                            const float *k, const float *v, const float *i,
                                            const float *f) {
  const float *const inputs[] = {q, k, v, i, f};
  float *const memory[] = {stepper->C, stepper->n, stepper->m};
  return xlstmd::forward<float>(stepper->pool, *stepper->problem, inputs, memory, stepper->out,
                                memory, nullptr);
}
