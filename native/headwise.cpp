// Linear maps with diagonal blocks, several side by side: forward, and their gradients.
#include "gemm.h"
#include "guard.h"
#include "pool.h"
#include "transpose.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

constexpr int64_t kRows = 16 * kTileRows;

template <class T>
struct Headwise {
  const xlstmd_headwise_problem &p;

  int64_t width_in() const { return p.groups * p.inputs; }
  int64_t width_out() const { return p.groups * p.outputs; }
  int64_t pitch() const { return p.parts * width_out(); }
  int64_t block() const { return p.inputs * p.outputs; }

  template <class F>
  void each_rows(xlstmd_pool &pool, const F &f) const {
    const int64_t blocks = (p.rows + kRows - 1) / kRows;
    pool.run(blocks, [&](int64_t task, int) {
      f(task * kRows, std::min(kRows, p.rows - task * kRows));
    });
  }

  // y [rows, parts, groups, outputs]
  void forward(xlstmd_pool &pool, const T *const *x, const T *const *weight, const T *bias,
               T *y) const {
    each_rows(pool, [&](int64_t first, int64_t rows) {
      if (bias)
        for (int64_t r = first; r < first + rows; r++) std::copy_n(bias, pitch(), y + r * pitch());
      for (int64_t part = 0; part < p.parts; part++)
        for (int64_t group = 0; group < p.groups; group++) {
          const T *from = x[part] + first * width_in() + group * p.inputs;
          T *to = y + first * pitch() + part * width_out() + group * p.outputs;
          gemm<T>(rows, p.outputs, p.inputs, {from, width_in(), 1}, weight[part] + group * block(),
                  p.outputs, to, pitch(), bias != nullptr);
        }
    });
  }

  void backward(xlstmd_pool &pool, const T *const *x, const T *const *weight, const T *dy,
                T *const *dx, T *const *d_weight, T *d_bias) const {
    inputs_back(pool, weight, dy, dx);
    weights_back(pool, x, dy, d_weight);
    if (d_bias) bias_back(pool, dy, d_bias);
  }

  // Parts with the same address of dx share their input: its gradients add up in their order.
  void inputs_back(xlstmd_pool &pool, const T *const *weight, const T *dy, T *const *dx) const {
    auto *turned = static_cast<T *>(pool.shared(sizeof(T) * p.parts * p.groups * block()));
    pool.run(p.parts * p.groups, [&](int64_t task, int) {
      transpose<T>(p.inputs, p.outputs, weight[task / p.groups] + task % p.groups * block(),
                   p.outputs, turned + task * block(), p.inputs);
    });
    each_rows(pool, [&](int64_t first, int64_t rows) {
      for (int64_t part = 0; part < p.parts; part++)
        for (int64_t group = 0; group < p.groups; group++) {
          const T *from = dy + first * pitch() + part * width_out() + group * p.outputs;
          T *to = dx[part] + first * width_in() + group * p.inputs;
          gemm<T>(rows, p.inputs, p.outputs, {from, pitch(), 1},
                  turned + (part * p.groups + group) * block(), p.inputs, to, width_in(),
                  std::find(dx, dx + part, dx[part]) != dx + part);
        }
    });
  }

  void weights_back(xlstmd_pool &pool, const T *const *x, const T *dy, T *const *d_weight) const {
    pool.run(p.parts * p.groups, [&](int64_t task, int) {
      const int64_t part = task / p.groups, group = task % p.groups;
      gemm<T>(p.inputs, p.outputs, p.rows, {x[part] + group * p.inputs, 1, width_in()},
              dy + part * width_out() + group * p.outputs, pitch(),
              d_weight[part] + group * block(), p.outputs, false);
    });
  }

  void bias_back(xlstmd_pool &pool, const T *dy, T *d_bias) const {
    constexpr int64_t kColumns = 4 * kPanel<T>;
    pool.run((pitch() + kColumns - 1) / kColumns, [&](int64_t task, int) {
      const int64_t first = task * kColumns, columns = std::min(kColumns, pitch() - first);
      std::fill_n(d_bias + first, columns, T(0));
      for (int64_t r = 0; r < p.rows; r++)
        for (int64_t i = first; i < first + columns; i++) d_bias[i] += dy[r * pitch() + i];
    });
  }
};

}  // namespace
}  // namespace xlstmd

#define XLSTMD_HEADWISE(suffix, T)                                                             \
  extern "C" int32_t xlstmd_headwise_forward_##suffix(                                         \
      xlstmd_pool *pool, const xlstmd_headwise_problem *p, const T *const *x,                  \
      const T *const *weight, const T *bias, T *y) {                                           \
    return xlstmd::guarded([&] {                                                               \
      const auto lock = pool->enter();                                                         \
      xlstmd::Headwise<T>{*p}.forward(*pool, x, weight, bias, y);                              \
    });                                                                                        \
  }                                                                                            \
  extern "C" int32_t xlstmd_headwise_backward_##suffix(                                        \
      xlstmd_pool *pool, const xlstmd_headwise_problem *p, const T *const *x,                  \
      const T *const *weight, const T *dy, T *const *dx, T *const *d_weight, T *d_bias) {      \
    return xlstmd::guarded([&] {                                                               \
      const auto lock = pool->enter();                                                         \
      xlstmd::Headwise<T>{*p}.backward(*pool, x, weight, dy, dx, d_weight, d_bias);            \
    });                                                                                        \
  }
XLSTMD_HEADWISE(f32, float)
XLSTMD_HEADWISE(f64, double)
