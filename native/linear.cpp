// A linear map whose weights change with every use: forward, and its gradients.
#include "guard.h"
#include "operand.h"
#include "products.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// Even: pairs of rows stay together.
constexpr int64_t kRows = 16 * kTileRows;

template <class E>
struct Linear {
  using T = SumOf<E>;
  static constexpr bool kRounds = !std::is_same_v<E, T>;

  const xlstmd_linear_problem &p;

  static size_t bytes(int64_t count) { return Pieces::bytes<E>(count); }

  template <class F>
  void each_rows(xlstmd_pool &pool, const F &f) const {
    pool.run((p.rows + kRows - 1) / kRows, [&](int64_t task, int) {
      f(task * kRows, std::min(kRows, p.rows - task * kRows));
    });
  }

  // All rows of x [rows, width], for sums along them.
  Operand<E> along(xlstmd_pool &pool, int64_t width, const T *x, E *memory) const {
    if constexpr (!kRounds) return {x, width};
    each_rows(pool, [&](int64_t first, int64_t rows) {
      along_rows<E>(rows, width, x + first * width, memory + first * terms<E>(width));
    });
    return {memory, terms<E>(width)};
  }

  // The same, for sums over the rows.
  Operand<E> down(xlstmd_pool &pool, int64_t width, const T *x, E *memory) const {
    if constexpr (!kRounds) return {x, width};
    each_rows(pool, [&](int64_t first, int64_t rows) {
      down_columns<E>(rows, width, x + first * width, memory + first / 2 * width);
    });
    return {memory, width};
  }

  int64_t along_size(int64_t width) const { return kRounds ? p.rows * terms<E>(width) : 0; }
  int64_t down_size(int64_t width) const { return kRounds ? terms<E>(p.rows) * width : 0; }

  void forward(xlstmd_pool &pool, const T *x, const T *weight, const T *bias, T *y) const {
    const int64_t size = turned_size<E>(p.outputs, p.inputs), rounded = along_size(p.inputs);
    Pieces shared(pool.shared(bytes(size) + bytes(rounded)));
    const auto w = turned<E>(pool, p.outputs, p.inputs, weight, shared.take<E>(size));
    const auto from = along(pool, p.inputs, x, shared.take<E>(rounded));
    if (bias)
      each_rows(pool, [&](int64_t first, int64_t rows) {
        for (int64_t r = first; r < first + rows; r++)
          std::copy_n(bias, p.outputs, y + r * p.outputs);
      });
    product<E>(pool, p.rows, p.outputs, terms<E>(p.inputs), {from.at, from.row, 1}, w.at, y,
               bias != nullptr);
  }

  // Gradients that nobody wants are null.
  void backward(xlstmd_pool &pool, const T *x, const T *weight, const T *dy, T *dx, T *d_weight,
                T *d_bias) const {
    if (dx) {
      const int64_t size = kRounds ? terms<E>(p.outputs) * p.inputs : 0;
      Pieces shared(pool.shared(bytes(size) + bytes(along_size(p.outputs))));
      const auto w = upright<E>(pool, p.outputs, p.inputs, weight, shared.take<E>(size));
      const auto from = along(pool, p.outputs, dy, shared.take<E>(along_size(p.outputs)));
      product<E>(pool, p.rows, p.inputs, terms<E>(p.outputs), {from.at, from.row, 1}, w.at, dx);
    }
    if (d_weight) {
      Pieces shared(pool.shared(bytes(down_size(p.inputs)) + bytes(down_size(p.outputs))));
      const auto from = down(pool, p.inputs, x, shared.take<E>(down_size(p.inputs)));
      const auto slopes = down(pool, p.outputs, dy, shared.take<E>(down_size(p.outputs)));
      product<E>(pool, p.outputs, p.inputs, terms<E>(p.rows), {slopes.at, 1, slopes.row}, from.at,
                 d_weight);
    }
    if (d_bias) bias_back(pool, dy, d_bias);
  }

  void bias_back(xlstmd_pool &pool, const T *dy, T *d_bias) const {
    constexpr int64_t kColumns = kPanel<T>;
    pool.run((p.outputs + kColumns - 1) / kColumns, [&](int64_t task, int) {
      const int64_t first = task * kColumns, columns = std::min(kColumns, p.outputs - first);
      T sums[kColumns] = {};
      for (int64_t r = 0; r < p.rows; r++)
        for (int64_t i = 0; i < columns; i++) sums[i] += dy[r * p.outputs + first + i];
      std::copy_n(sums, columns, d_bias + first);
    });
  }
};

template <class T, class F>
int32_t entered(xlstmd_pool *pool, const xlstmd_linear_problem &p, const F &f) {
  return guarded([&] {
    const auto lock = pool->enter();
    if constexpr (std::is_same_v<T, float>) {
      if (p.products == XLSTMD_BFLOAT16) return f(Linear<Pair>{p});
    }
    f(Linear<T>{p});
  });
}

}  // namespace
}  // namespace xlstmd

#define XLSTMD_LINEAR(suffix, T)                                                                  \
  extern "C" int32_t xlstmd_linear_forward_##suffix(                                              \
      xlstmd_pool *pool, const xlstmd_linear_problem *p, const T *x, const T *weight,             \
      const T *bias, T *y) {                                                                      \
    return xlstmd::entered<T>(pool, *p, [&](const auto &map) {                                    \
      map.forward(*pool, x, weight, bias, y);                                                     \
    });                                                                                           \
  }                                                                                               \
  extern "C" int32_t xlstmd_linear_backward_##suffix(                                             \
      xlstmd_pool *pool, const xlstmd_linear_problem *p, const T *x, const T *weight,             \
      const T *dy, T *dx, T *d_weight, T *d_bias) {                                               \
    return xlstmd::entered<T>(pool, *p, [&](const auto &map) {                                    \
      map.backward(*pool, x, weight, dy, dx, d_weight, d_bias);                                   \
    });                                                                                           \
  }
XLSTMD_LINEAR(f32, float)
XLSTMD_LINEAR(f64, double)
