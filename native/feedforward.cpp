// The gated feed-forward layer as an operation of its own: down(activation(gate x) * up x), forward
// and the exact backward. Blocks of rows go through all of it while they lie in the cache.
#include "guard.h"
#include "operand.h"
#include "vecmath.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// Even: pairs of rows stay together.
constexpr int64_t kRows = 8 * kTileRows;

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

// E says how numbers enter the products.
template <class E, template <class> class Activation>
struct FeedForward {
  using T = SumOf<E>;
  static constexpr bool kRounds = !std::is_same_v<E, T>;

  const xlstmd_feedforward_problem &p;

  int64_t blocks() const { return (p.rows + kRows - 1) / kRows; }
  int64_t wide() const { return terms<E>(p.width); }
  int64_t deep() const { return terms<E>(p.hidden); }

  template <class F>
  void each_rows(xlstmd_pool &pool, const F &f) const {
    pool.run(blocks(), [&](int64_t task, int thread) {
      f(task * kRows, std::min(kRows, p.rows - task * kRows), thread);
    });
  }

  // to = a b, of some rows.
  static void product(int64_t rows, int64_t columns, int64_t depth, Operand<E> a, Operand<E> b, T *to,
                      bool add = false) {
    gemm<E>(rows, columns, depth, {a.at, a.row, 1}, b.at, b.row, to, columns, add);
  }

  // saved: gate x, then up x, each [rows, hidden].
  void forward(xlstmd_pool &pool, const T *x, const T *const *weights, T *y, T *saved) const {
    const int64_t up_size = turned_size<E>(p.hidden, p.width);
    const int64_t down_size = turned_size<E>(p.width, p.hidden);
    Pieces shared(pool.shared(2 * Pieces::bytes<E>(up_size) + Pieces::bytes<E>(down_size)));
    const auto gate = turned<E>(pool, p.hidden, p.width, weights[0], shared.take<E>(up_size));
    const auto up = turned<E>(pool, p.hidden, p.width, weights[1], shared.take<E>(up_size));
    const auto down = turned<E>(pool, p.width, p.hidden, weights[2], shared.take<E>(down_size));
    const size_t bytes = 2 * Pieces::bytes<T>(kRows * p.hidden) +
                         Pieces::bytes<E>(kRows * wide()) + Pieces::bytes<E>(kRows * deep());
    pool.reserve(bytes);
    each_rows(pool, [&](int64_t first, int64_t rows, int thread) {
      Pieces memory(pool.scratch(thread, bytes));
      T *own_gate = memory.take<T>(kRows * p.hidden), *own_up = memory.take<T>(kRows * p.hidden);
      E *from = memory.take<E>(kRows * wide()), *bent = memory.take<E>(kRows * deep());
      T *gates = saved ? saved + first * p.hidden : own_gate;
      T *ups = saved ? saved + (p.rows + first) * p.hidden : own_up;
      const auto inputs = along_rows<E>(rows, p.width, x + first * p.width, from);
      product(rows, p.hidden, wide(), inputs, gate, gates);
      product(rows, p.hidden, wide(), inputs, up, ups);
      each_vector(rows * p.hidden, [&](int64_t i, int lanes) {
        const Vec<T> open = Activation<T>::value(load_some<T>(gates + i, lanes));
        store_some<T>(own_gate + i, open * load_some<T>(ups + i, lanes), lanes);
      });
      product(rows, p.width, deep(), along_rows<E>(rows, p.hidden, own_gate, bent), down,
              y + first * p.width);
    });
  }

  template <class F>
  static void each_vector(int64_t count, const F &f) {
    for (int64_t i = 0; i < count; i += kLanes<T>)
      f(i, static_cast<int>(std::min<int64_t>(kLanes<T>, count - i)));
  }

  // What the gradients of the weights are summed from, all rows, for sums down the columns.
  struct Rows {
    Operand<E> x, dy, d_gate, d_up, hidden;
  };

  void backward(xlstmd_pool &pool, const T *x, const T *const *weights, const T *saved, const T *dy,
                T *dx, T *const *d_weights) const {
    const int64_t matrix = terms<E>(p.hidden) * p.width, other = terms<E>(p.width) * p.hidden;
    const int64_t thin = kRounds ? terms<E>(p.rows) * p.width : 0;
    const int64_t thick = terms<E>(p.rows) * p.hidden;
    Pieces shared(pool.shared(2 * Pieces::bytes<E>(matrix) + Pieces::bytes<E>(other) +
                              2 * Pieces::bytes<E>(thin) + 3 * Pieces::bytes<E>(thick)));
    const auto gate = upright<E>(pool, p.hidden, p.width, weights[0], shared.take<E>(matrix));
    const auto up = upright<E>(pool, p.hidden, p.width, weights[1], shared.take<E>(matrix));
    const auto down = upright<E>(pool, p.width, p.hidden, weights[2], shared.take<E>(other));
    E *thins[] = {shared.take<E>(thin), shared.take<E>(thin)};
    E *thicks[] = {shared.take<E>(thick), shared.take<E>(thick), shared.take<E>(thick)};
    const size_t bytes = (kRounds ? 3 : 0) * Pieces::bytes<T>(kRows * p.hidden) +
                         Pieces::bytes<E>(kRows * wide()) + Pieces::bytes<E>(kRows * deep());
    pool.reserve(bytes);
    each_rows(pool, [&](int64_t first, int64_t rows, int thread) {
      Pieces memory(pool.scratch(thread, bytes));
      E *slopes_in = memory.take<E>(kRows * wide()), *between = memory.take<E>(kRows * deep());
      T *part[3];
      for (int i = 0; i < 3; i++) {
        if constexpr (kRounds) {
          part[i] = memory.take<T>(kRows * p.hidden);
        } else {
          part[i] = thicks[i] + first * p.hidden;
        }
      }
      const int64_t at = first * p.hidden, thin_at = first * p.width;
      product(rows, p.hidden, wide(), along_rows<E>(rows, p.width, dy + thin_at, slopes_in), down,
              part[2]);
      unbend(rows * p.hidden, saved + at, saved + p.rows * p.hidden + at, part);
      product(rows, p.width, deep(), along_rows<E>(rows, p.hidden, part[0], between), gate,
              dx + thin_at);
      product(rows, p.width, deep(), along_rows<E>(rows, p.hidden, part[1], between), up,
              dx + thin_at, true);
      if constexpr (kRounds) {
        down_columns<E>(rows, p.width, x + thin_at, thins[0] + thin_at / 2);
        down_columns<E>(rows, p.width, dy + thin_at, thins[1] + thin_at / 2);
        for (int i = 0; i < 3; i++)
          down_columns<E>(rows, p.hidden, part[i], thicks[i] + at / 2);
      }
    });
    const auto thin_rows = [&](const T *lies, E *rounded) -> Operand<E> {
      if constexpr (kRounds) return {rounded, p.width};
      else return {lies, p.width};
    };
    weights_back(pool, {thin_rows(x, thins[0]), thin_rows(dy, thins[1]), {thicks[0], p.hidden},
                        {thicks[1], p.hidden}, {thicks[2], p.hidden}}, d_weights);
  }

  // part: in, nothing, nothing and the gradient of what goes down; out, the gradients of gate x and
  // up x, and what went down.
  static void unbend(int64_t count, const T *gate, const T *up, T *const (&part)[3]) {
    each_vector(count, [&](int64_t i, int lanes) {
      const Vec<T> slope = load_some<T>(part[2] + i, lanes), factor = load_some<T>(up + i, lanes);
      const Bent<T> bent = Activation<T>::bent(load_some<T>(gate + i, lanes));
      store_some<T>(part[0] + i, slope * factor * bent.slope, lanes);
      store_some<T>(part[1] + i, slope * bent.value, lanes);
      store_some<T>(part[2] + i, bent.value * factor, lanes);
    });
  }

  // Tasks of the three gradients side by side, each some rows of one of them.
  void weights_back(xlstmd_pool &pool, const Rows &from, T *const *d_weights) const {
    const int64_t tall = (p.hidden + kRows - 1) / kRows, flat = (p.width + kRows - 1) / kRows;
    const auto rows_of = [&](int64_t row, int64_t most, const Operand<E> &a, const Operand<E> &b,
                             T *to) {
      gemm<E>(std::min(kRows, most - row), b.row, terms<E>(p.rows), {a.at + row, 1, a.row}, b.at,
              b.row, to + row * b.row, b.row, false);
    };
    pool.run(2 * tall + flat, [&](int64_t task, int) {
      if (task < tall) return rows_of(task * kRows, p.hidden, from.d_gate, from.x, d_weights[0]);
      if (task < 2 * tall)
        return rows_of((task - tall) * kRows, p.hidden, from.d_up, from.x, d_weights[1]);
      rows_of((task - 2 * tall) * kRows, p.width, from.dy, from.hidden, d_weights[2]);
    });
  }
};

template <class E, class F>
void with_activation(const xlstmd_feedforward_problem &p, const F &f) {
  if (p.gelu) {
    f(FeedForward<E, GELU>{p});
  } else {
    f(FeedForward<E, SiLU>{p});
  }
}

template <class T, class F>
int32_t entered(xlstmd_pool *pool, const xlstmd_feedforward_problem &p, const F &f) {
  return guarded([&] {
    const auto lock = pool->enter();
    if constexpr (std::is_same_v<T, float>) {
      if (p.products == XLSTMD_BFLOAT16) return with_activation<Pair>(p, f);
    }
    with_activation<T>(p, f);
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
