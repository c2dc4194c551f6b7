// The gated feed-forward layer as an operation of its own: down(activation(gate x) * up x), forward
// and the exact backward. Blocks of rows go through all of it while they lie in the cache.
#include "gemm.h"
#include "guard.h"
#include "pool.h"
#include "sum_products.h"
#include "transpose.h"
#include "vecmath.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

constexpr int64_t kRows = 8 * kTileRows;

template <class T>
int64_t panels(int64_t columns) {
  return (columns + kPanel<T> - 1) / kPanel<T>;
}

// The weights [outputs, inputs] of a map y = x W^T, turned for products with many rows:
// [panels][inputs][columns of a panel].
template <class T>
struct Turned {
  int64_t outputs, inputs;
  T *at;

  static size_t bytes(int64_t outputs, int64_t inputs) {
    return Pieces::bytes<T>(panels<T>(outputs) * inputs * kPanel<T>);
  }
  Turned(Pieces &memory, int64_t outputs, int64_t inputs)
      : outputs(outputs), inputs(inputs),
        at(memory.take<T>(panels<T>(outputs) * inputs * kPanel<T>)) {}

  const T *panel(int64_t index) const { return at + index * inputs * kPanel<T>; }
  int64_t columns(int64_t index) const {
    return std::min<int64_t>(kPanel<T>, outputs - index * kPanel<T>);
  }
  void fill(int64_t index, const T *weight) const {
    T *to = at + index * inputs * kPanel<T>;
    if (columns(index) < kPanel<T>) std::fill_n(to, inputs * kPanel<T>, T(0));
    transpose<T>(columns(index), inputs, weight + index * kPanel<T> * inputs, inputs, to,
                 kPanel<T>);
  }

  // The products of one panel's columns: tile [rows][columns of a panel].
  void product(int64_t index, int64_t rows, const T *x, int64_t x_row, T *tile) const {
    Sum<T> sum;
    sum.first = {{x, x_row, 1}, panel(index), kPanel<T>, inputs};
    sum_products<T>(rows, kPanel<T>, sum, tile, kPanel<T>);
  }
};

// An activation's value and derivative.
template <class T>
struct Bent {
  Vec<T> value, slope;
};

template <class T>
struct SiLU {
  static Vec<T> value(Vec<T> x) { return vsilu(x); }
  static Bent<T> bent(Vec<T> x) {
    const Vec<T> open = vsigmoid(x), silu = vsilu(x);
    return {silu, open + silu * (T(1) - open)};
  }
};

template <class T>
struct GELU {
  static Vec<T> value(Vec<T> x) { return vgelu(x); }
  static Bent<T> bent(Vec<T> x) {
    const Vec<T> below = vnormal(x), density = vexp(T(-0.5) * x * x) * T(0.3989422804014327);
    return {vgelu(x), below + x * density};
  }
};

template <class T, class Activation>
struct FeedForward {
  const xlstmd_feedforward_problem &p;

  int64_t blocks() const { return (p.rows + kRows - 1) / kRows; }

  template <class F>
  void each_rows(xlstmd_pool &pool, const F &f) const {
    pool.run(blocks(), [&](int64_t task, int thread) {
      f(task * kRows, std::min(kRows, p.rows - task * kRows), thread);
    });
  }

  // saved: gate x, then up x, each [rows, hidden].
  void forward(xlstmd_pool &pool, const T *x, const T *const *weights, T *y, T *saved) const {
    Pieces shared(pool.shared(2 * Turned<T>::bytes(p.hidden, p.width) +
                              Turned<T>::bytes(p.width, p.hidden)));
    const Turned<T> gate(shared, p.hidden, p.width), up(shared, p.hidden, p.width),
        down(shared, p.width, p.hidden);
    const int64_t wide = panels<T>(p.hidden);
    pool.run(2 * wide + panels<T>(p.width), [&](int64_t task, int) {
      if (task < wide) return gate.fill(task, weights[0]);
      if (task < 2 * wide) return up.fill(task - wide, weights[1]);
      down.fill(task - 2 * wide, weights[2]);
    });
    const size_t bytes =
        2 * Pieces::bytes<T>(kRows * kPanel<T>) + Pieces::bytes<T>(kRows * p.hidden);
    pool.reserve(bytes);
    each_rows(pool, [&](int64_t first, int64_t rows, int thread) {
      Pieces memory(pool.scratch(thread, bytes));
      T *tile = memory.take<T>(kRows * kPanel<T>), *other = memory.take<T>(kRows * kPanel<T>);
      T *hidden = memory.take<T>(kRows * p.hidden);
      for (int64_t panel = 0; panel < wide; panel++) {
        gate.product(panel, rows, x + first * p.width, p.width, tile);
        up.product(panel, rows, x + first * p.width, p.width, other);
        const int64_t column = panel * kPanel<T>, columns = gate.columns(panel);
        for (int64_t r = 0; r < rows; r++)
          bend(tile + r * kPanel<T>, other + r * kPanel<T>, columns,
               hidden + r * p.hidden + column, saved,
               (first + r) * p.hidden + column);
      }
      for (int64_t panel = 0; panel < panels<T>(p.width); panel++) {
        down.product(panel, rows, hidden, p.hidden, tile);
        for (int64_t r = 0; r < rows; r++)
          std::copy_n(tile + r * kPanel<T>, down.columns(panel),
                      y + (first + r) * p.width + panel * kPanel<T>);
      }
    });
  }

  void bend(const T *gate, const T *up, int64_t columns, T *hidden, T *saved, int64_t at) const {
    if (saved) {
      std::copy_n(gate, columns, saved + at);
      std::copy_n(up, columns, saved + p.rows * p.hidden + at);
    }
    for (int64_t i = 0; i < columns; i += kLanes<T>)
      store_some<T>(hidden + i, Activation::value(load<T>(gate + i)) * load<T>(up + i),
                    static_cast<int>(std::min<int64_t>(kLanes<T>, columns - i)));
  }

  void backward(xlstmd_pool &pool, const T *x, const T *const *weights, const T *saved, const T *dy,
                T *dx, T *const *d_weights) const {
    const int64_t size = p.rows * p.hidden;
    Pieces shared(pool.shared(3 * Pieces::bytes<T>(size)));
    T *d_gate = shared.take<T>(size), *d_up = shared.take<T>(size);
    T *hidden = shared.take<T>(size);
    each_rows(pool, [&](int64_t first, int64_t rows, int) {
      const int64_t at = first * p.hidden;
      // hidden holds its own gradient first.
      gemm<T>(rows, p.hidden, p.width, {dy + first * p.width, p.width, 1}, weights[2], p.hidden,
              hidden + at, p.hidden, false);
      unbend(rows * p.hidden, saved + at, saved + size + at, hidden + at, d_gate + at, d_up + at);
      T *to = dx + first * p.width;
      gemm<T>(rows, p.width, p.hidden, {d_gate + at, p.hidden, 1}, weights[0], p.width, to, p.width,
              false);
      gemm<T>(rows, p.width, p.hidden, {d_up + at, p.hidden, 1}, weights[1], p.width, to, p.width,
              true);
    });
    weights_back(pool, x, dy, d_gate, d_up, hidden, d_weights);
  }

  static void unbend(int64_t count, const T *gate, const T *up, T *hidden, T *d_gate, T *d_up) {
    for (int64_t i = 0; i < count; i += kLanes<T>) {
      const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, count - i));
      const Vec<T> slope = load_some<T>(hidden + i, lanes), factor = load_some<T>(up + i, lanes);
      const Bent<T> bent = Activation::bent(load_some<T>(gate + i, lanes));
      store_some<T>(d_gate + i, slope * factor * bent.slope, lanes);
      store_some<T>(d_up + i, slope * bent.value, lanes);
      store_some<T>(hidden + i, bent.value * factor, lanes);
    }
  }

  // Tasks of the three gradients side by side, each some rows of one of them.
  void weights_back(xlstmd_pool &pool, const T *x, const T *dy, const T *d_gate, const T *d_up,
                    const T *hidden, T *const *d_weights) const {
    const int64_t tall = (p.hidden + kRows - 1) / kRows, flat = (p.width + kRows - 1) / kRows;
    pool.run(2 * tall + flat, [&](int64_t task, int) {
      if (task < 2 * tall) {
        const int64_t row = task % tall * kRows;
        const T *slopes = task < tall ? d_gate : d_up;
        gemm<T>(std::min(kRows, p.hidden - row), p.width, p.rows, {slopes + row, 1, p.hidden}, x,
                p.width, d_weights[task / tall] + row * p.width, p.width, false);
        return;
      }
      const int64_t row = (task - 2 * tall) * kRows;
      gemm<T>(std::min(kRows, p.width - row), p.hidden, p.rows, {dy + row, 1, p.width}, hidden,
              p.hidden, d_weights[2] + row * p.hidden, p.hidden, false);
    });
  }
};

template <class T, class F>
int32_t entered(xlstmd_pool *pool, const xlstmd_feedforward_problem &p, const F &f) {
  return guarded([&] {
    const auto lock = pool->enter();
    if (p.gelu) {
      f(FeedForward<T, GELU<T>>{p});
    } else {
      f(FeedForward<T, SiLU<T>>{p});
    }
  });
}

}  // namespace
}  // namespace xlstmd

#define XLSTMD_FEEDFORWARD(suffix, T)                                                          \
  extern "C" int32_t xlstmd_feedforward_forward_##suffix(                                      \
      xlstmd_pool *pool, const xlstmd_feedforward_problem *p, const T *x,                      \
      const T *const *weights, T *y, T *saved) {                                               \
    return xlstmd::entered<T>(pool, *p, [&](const auto &layer) {                               \
      layer.forward(*pool, x, weights, y, saved);                                              \
    });                                                                                        \
  }                                                                                            \
  extern "C" int32_t xlstmd_feedforward_backward_##suffix(                                     \
      xlstmd_pool *pool, const xlstmd_feedforward_problem *p, const T *x,                      \
      const T *const *weights, const T *saved, const T *dy, T *dx, T *const *d_weights) {      \
    return xlstmd::entered<T>(pool, *p, [&](const auto &layer) {                               \
      layer.backward(*pool, x, weights, saved, dy, dx, d_weights);                             \
    });                                                                                        \
  }
XLSTMD_FEEDFORWARD(f32, float)
XLSTMD_FEEDFORWARD(f64, double)
