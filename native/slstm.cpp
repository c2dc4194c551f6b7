// sLSTM over a sequence as an operation of its own: forward, and the exact backward.
#include "slstm.h"

#include <cmath>

#include "gemm.h"
#include "guard.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// What the forward pass leaves for the backward one, per head, step, row and padded unit: the
// pre-activations of the four gates, and h, c, n, m as they were before the step.
constexpr int kSaved = 8;

template <class T>
struct Sequence {
  const xlstmd_slstm_problem &p;
  int64_t padded;

  explicit Sequence(const xlstmd_slstm_problem &problem)
      : p(problem), padded((problem.units + kLanes<T> - 1) / kLanes<T> * kLanes<T>) {}

  GateRules<T> rules() const { return {p.exp_forget != 0, static_cast<T>(p.cap)}; }
  bool holds(int64_t row, int64_t t) const { return p.valid && !p.valid[row * p.steps + t]; }
  bool empties(int64_t row, int64_t t) const { return p.reset && p.reset[row * p.steps + t]; }

  // [B, T, G, H, D], [B, T, H, D] and [B, H, D]
  int64_t gate_at(int64_t row, int64_t t, int64_t gate, int64_t head) const {
    return (((row * p.steps + t) * kGates + gate) * p.heads + head) * p.units;
  }
  int64_t output_at(int64_t row, int64_t t, int64_t head) const {
    return ((row * p.steps + t) * p.heads + head) * p.units;
  }
  int64_t state_at(int64_t row, int64_t head) const { return (row * p.heads + head) * p.units; }

  int64_t saved_at(int64_t head, int64_t t, int64_t row, int part) const {
    return (((head * p.steps + t) * p.rows + row) * kSaved + part) * padded;
  }
  int64_t slopes() const { return kGates * padded; }  // numbers of a row's slopes

  int64_t blocks(int64_t block) const { return (p.rows + block - 1) / block; }

  template <class Task>
  void each_block(xlstmd_pool &pool, int64_t block, const Task &task) const {
    const int64_t count = blocks(block);
    pool.run(p.heads * count, [&](int64_t index, int thread) {
      const int64_t first = index % count * block;
      task(index / count, first, std::min(block, p.rows - first), thread);
    });
  }
};

template <class T>
struct Memory {
  T *h, *c, *n, *m;
};

template <class T>
void forward(xlstmd_pool &pool, const Sequence<T> &q, const T *preacts, const T *recurrent,
             Memory<const T> start, T *out, Memory<T> end, T *saved) {
  const auto &p = q.p;
  using Rows = SLSTMRows<T, GatePanels<T>>;
  const GatePanels<T> panels(
      p.units, p.units,
      static_cast<T *>(pool.shared(GatePanels<T>::bytes(p.heads, p.units, p.units))));
  pool.run(p.heads, [&](int64_t head, int) {
    panels.fill(head, [&](int64_t h, int64_t k, int64_t g) {
      return recurrent + ((h * p.units + k) * kGates + g) * p.units;
    });
  });
  const int64_t most = rows_per_task(p.rows, p.heads, pool.threads());
  pool.reserve(Rows::bytes(most, p.units));
  q.each_block(pool, most, [&](int64_t head, int64_t first, int64_t rows, int thread) {
    Pieces memory(pool.scratch(thread, Rows::bytes(rows, p.units)));
    Rows block(memory, head, first, rows, p.units);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = q.state_at(first + r, head);
      block.set(r, start.h + at, start.c + at, start.n + at, start.m + at);
    }
    for (int64_t t = 0; t < p.steps; t++) {
      for (int64_t r = 0; r < rows; r++)
        if (q.empties(first + r, t)) block.clear(r);
      block.step(
          panels, q.rules(),
          [&](auto &sums, int64_t row, int64_t unit) {
            for (size_t r = 0; r < sizeof sums / sizeof sums[0]; r++)
              for (int g = 0; g < kGates; g++)
                sums[r][g] = load_some<T>(
                    preacts + q.gate_at(first + row + static_cast<int64_t>(r), t, g, head) + unit,
                    block.lanes(unit));
          },
          [&](int64_t row) { return q.holds(first + row, t); },
          [&](int64_t row, int64_t unit, const Vec<T>(&gates)[kGates], const Cell<T> &before,
              const Cell<T> &after) {
            const Vec<T> y = q.holds(first + row, t) ? Vec<T>{} : after.h;
            store_some<T>(out + q.output_at(first + row, t, head) + unit, y, block.lanes(unit));
            if (saved == nullptr) return;
            T *to = saved + q.saved_at(head, t, first + row, 0) + unit;
            for (int g = 0; g < kGates; g++) store<T>(to + g * q.padded, gates[g]);
            const Vec<T> parts[] = {before.h, before.c, before.n, before.m};
            for (int i = 0; i < 4; i++) store<T>(to + (kGates + i) * q.padded, parts[i]);
          });
    }
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = q.state_at(first + r, head);
      block.get(r, end.h + at, end.c + at, end.n + at, end.m + at);
    }
  });
}

// Gradients that travel from step to step, of one unit block.
template <class T>
struct Slopes {
  Vec<T> h, c, n, m;
};

// Takes one step back; gives the gates' gradients. The stabilizer's gradient is exact; a tie of its
// maximum is shared.
template <class T>
inline void back_step(const GateRules<T> &rules, const T *saved, int64_t padded, Slopes<T> &d,
                      Vec<T> (&gates)[kGates]) {
  Vec<T> part[kSaved];
  for (int i = 0; i < kSaved; i++) part[i] = load<T>(saved + i * padded);
  const Vec<T> c0 = part[5], n0 = part[6], m0 = part[7], one = splat<T>(1), zero = Vec<T>{};
  const Vec<T> log_i = capped<T>(part[0], rules.cap), f = capped<T>(part[1], rules.cap);
  const Vec<T> carried = (rules.exp_forget ? f : vlogsigmoid(f)) + m0, ahead = carried - log_i;
  const Vec<T> other = vexp(-absolute(ahead));
  const Vec<T> keep = pick(ahead < 0, other, one), take = pick(ahead < 0, one, other);
  const Vec<T> from_carried = pick(ahead > 0, one, pick(ahead == 0, splat<T>(T(0.5)), zero));
  const Vec<T> z = vtanh(part[2]), o = vsigmoid(part[3]);
  const Vec<T> n_all = keep * n0 + take, n = pick(n_all == 0, one, n_all);
  const Vec<T> ratio = (keep * c0 + take * z) / n;
  Vec<T> to_i = one, to_f = one;
  if (rules.cap > 0) {
    const Vec<T> bent_i = log_i / rules.cap, bent_f = f / rules.cap;
    to_i = one - bent_i * bent_i;
    to_f = one - bent_f * bent_f;
  }
  if (!rules.exp_forget) to_f = to_f * vsigmoid(-f);
  const Vec<T> through = d.h * (o / n);
  d.c = d.c + through;
  d.n = d.n - through * ratio;
  const Vec<T> kept = (d.c * c0 + d.n * n0) * keep, taken = (d.c * z + d.n) * take;
  const Vec<T> m_all = d.m - kept - taken;
  d.m = kept + from_carried * m_all;
  gates[0] = (taken + (one - from_carried) * m_all) * to_i;
  gates[1] = d.m * to_f;
  gates[2] = d.c * take * (one - z * z);
  gates[3] = d.h * ratio * o * (one - o);
  d.c = d.c * keep;
  d.n = d.n * keep;
}

// R of one head with inputs and gates exchanged: [gates * padded][padded].
template <class T>
void transpose(const Sequence<T> &q, const T *recurrent, int64_t head, T *to) {
  const int64_t units = q.p.units;
  std::fill_n(to, kGates * q.padded * q.padded, T(0));
  for (int64_t k = 0; k < units; k++)
    for (int g = 0; g < kGates; g++)
      for (int64_t u = 0; u < units; u++)
        to[(g * q.padded + u) * q.padded + k] =
            recurrent[((head * units + k) * kGates + g) * units + u];
}

// Rows that share a task: their part of the recurrent weights' gradient is summed by itself, so that
// it does not depend on the number of threads.
constexpr int64_t kBackRows = 32;

template <class T>
struct Backward {
  xlstmd_pool &pool;
  Sequence<T> q;
  const T *recurrent, *saved, *d_out;
  Memory<const T> d_end;
  T *d_preacts, *d_recurrent;
  Memory<T> d_start;
  T *transposed;  // [heads][gates * padded][padded]
  T *parts;       // [heads][blocks][padded][gates * padded], of the recurrent weights' gradient

  // What travels from step to step of a block's rows, and what a step makes.
  struct Travelers {
    T *state[4];  // gradients of h, c, n, m, [rows][padded]
    T *from_gates;
    T *slopes;  // of the gates' pre-activations, [rows][gates * padded]

    Travelers(Pieces memory, int64_t rows, int64_t padded) {
      for (T *&each : state) each = memory.take<T>(rows * padded);
      from_gates = memory.take<T>(rows * padded);
      slopes = memory.take<T>(rows * kGates * padded);
    }
    static size_t bytes(int64_t rows, int64_t padded) {
      return 5 * Pieces::bytes<T>(rows * padded) + Pieces::bytes<T>(rows * kGates * padded);
    }
  };

  T *part(int64_t head, int64_t first) const {
    return parts + (head * q.blocks(kBackRows) + first / kBackRows) * q.padded * q.slopes();
  }

  void block(int64_t head, int64_t first, int64_t rows, int thread) const {
    const auto &p = q.p;
    const Travelers d(Pieces(pool.scratch(thread, Travelers::bytes(rows, q.padded))), rows,
                      q.padded);
    const T *ends[] = {d_end.h, d_end.c, d_end.n, d_end.m};
    T *starts[] = {d_start.h, d_start.c, d_start.n, d_start.m};
    for (int i = 0; i < 4; i++) {
      std::fill_n(d.state[i], rows * q.padded, T(0));
      for (int64_t r = 0; r < rows; r++)
        std::copy_n(ends[i] + q.state_at(first + r, head), p.units, d.state[i] + r * q.padded);
    }
    if (p.steps == 0) std::fill_n(part(head, first), q.padded * q.slopes(), T(0));
    for (int64_t t = p.steps - 1; t >= 0; t--) step(head, first, rows, t, d);
    for (int64_t r = 0; r < rows; r++)
      for (int i = 0; i < 4; i++)
        std::copy_n(d.state[i] + r * q.padded, p.units, starts[i] + q.state_at(first + r, head));
  }

  void step(int64_t head, int64_t first, int64_t rows, int64_t t, const Travelers &d) const {
    for (int64_t r = 0; r < rows; r++) unit_slopes(head, first + r, t, r, d);
    gemm<T>(rows, q.padded, q.slopes(), {d.slopes, q.slopes(), 1},
            transposed + head * q.slopes() * q.padded, q.padded, d.from_gates, q.padded, false);
    // d R += h before the step times the gates' gradients, while these lie in the cache.
    gemm<T>(q.padded, q.slopes(), rows,
            {saved + q.saved_at(head, t, first, kGates), 1, kSaved * q.padded}, d.slopes,
            q.slopes(), part(head, first), q.slopes(), t < q.p.steps - 1);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t row = r * q.padded;
      // A padded step hands the hidden state's gradient on.
      if (!q.holds(first + r, t)) std::copy_n(d.from_gates + row, q.padded, d.state[0] + row);
      if (q.empties(first + r, t))
        for (T *each : d.state) std::fill_n(each + row, q.padded, T(0));
    }
  }

  void unit_slopes(int64_t head, int64_t row, int64_t t, int64_t r, const Travelers &travelers) const {
    const auto &p = q.p;
    T *to = travelers.slopes + r * q.slopes();
    const bool holds = q.holds(row, t);
    for (int64_t u = 0; u < p.units; u += kLanes<T>) {
      const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, p.units - u));
      Vec<T> gates[kGates] = {};
      if (!holds) {
        const int64_t at = r * q.padded + u;
        T *const(&state)[4] = travelers.state;
        Slopes<T> d{load<T>(state[0] + at), load<T>(state[1] + at), load<T>(state[2] + at),
                    load<T>(state[3] + at)};
        d.h += load_some<T>(d_out + q.output_at(row, t, head) + u, lanes);
        back_step<T>(q.rules(), saved + q.saved_at(head, t, row, 0) + u, q.padded, d, gates);
        store<T>(state[1] + at, d.c);
        store<T>(state[2] + at, d.n);
        store<T>(state[3] + at, d.m);
      }
      for (int g = 0; g < kGates; g++) {
        // Lanes beyond the last unit carry no weight, and must carry no number.
        store<T>(to + g * q.padded + u, Vec<T>{});
        store_some<T>(to + g * q.padded + u, gates[g], lanes);
        store_some<T>(d_preacts + q.gate_at(row, t, g, head) + u, gates[g], lanes);
      }
    }
  }

  // d R of one head: the blocks' parts, in their order.
  void sum_parts(int64_t head) const {
    const auto &p = q.p;
    for (int64_t k = 0; k < p.units; k++)
      for (int g = 0; g < kGates; g++) {
        T *to = d_recurrent + ((head * p.units + k) * kGates + g) * p.units;
        std::fill_n(to, p.units, T(0));
        for (int64_t first = 0; first < p.rows; first += kBackRows) {
          const T *from = part(head, first) + k * q.slopes() + g * q.padded;
          for (int64_t u = 0; u < p.units; u++) to[u] += from[u];
        }
      }
  }

  void run() const {
    const auto &p = q.p;
    pool.run(p.heads, [&](int64_t head, int) {
      transpose(q, recurrent, head, transposed + head * q.slopes() * q.padded);
    });
    pool.reserve(Travelers::bytes(std::min(kBackRows, p.rows), q.padded));
    q.each_block(pool, kBackRows, [&](int64_t head, int64_t first, int64_t rows, int thread) {
      block(head, first, rows, thread);
    });
    pool.run(p.heads, [&](int64_t head, int) { sum_parts(head); });
  }
};

template <class T>
int32_t run_forward(xlstmd_pool *pool, const xlstmd_slstm_problem *problem, const T *preacts,
                    const T *recurrent, const T *const *start, T *out, T *const *end, T *saved) {
  return guarded([&] {
    const auto lock = pool->enter();
    forward<T>(*pool, Sequence<T>(*problem), preacts, recurrent,
               {start[0], start[1], start[2], start[3]}, out, {end[0], end[1], end[2], end[3]},
               saved);
  });
}

template <class T>
int32_t run_backward(xlstmd_pool *pool, const xlstmd_slstm_problem *problem, const T *recurrent,
                     const T *saved, const T *d_out, const T *const *d_end, T *d_preacts,
                     T *d_recurrent, T *const *d_start) {
  return guarded([&] {
    const auto lock = pool->enter();
    const Sequence<T> q(*problem);
    const auto &p = *problem;
    const size_t turned = static_cast<size_t>(p.heads * q.slopes() * q.padded);
    const size_t parts = turned * static_cast<size_t>(q.blocks(kBackRows));
    Pieces memory(pool->shared(Pieces::bytes<T>(turned) + Pieces::bytes<T>(parts)));
    T *turned_at = memory.take<T>(turned);
    T *parts_at = memory.take<T>(parts);
    Backward<T>{*pool,
                q,
                recurrent,
                saved,
                d_out,
                {d_end[0], d_end[1], d_end[2], d_end[3]},
                d_preacts,
                d_recurrent,
                {d_start[0], d_start[1], d_start[2], d_start[3]},
                turned_at,
                parts_at}
        .run();
  });
}

template <class T>
int64_t saved_size(const xlstmd_slstm_problem &p) {
  return p.heads * p.steps * p.rows * kSaved * Sequence<T>(p).padded;
}

}  // namespace
}  // namespace xlstmd

#define XLSTMD_SLSTM(suffix, T)                                                                   \
  extern "C" int64_t xlstmd_slstm_saved_##suffix(const xlstmd_slstm_problem *p) {                \
    return xlstmd::saved_size<T>(*p);                                                             \
  }                                                                                               \
  extern "C" int32_t xlstmd_slstm_forward_##suffix(                                               \
      xlstmd_pool *pool, const xlstmd_slstm_problem *p, const T *preacts, const T *recurrent,     \
      const T *const *start, T *out, T *const *end, T *saved) {                                   \
    return xlstmd::run_forward<T>(pool, p, preacts, recurrent, start, out, end, saved);           \
  }                                                                                               \
  extern "C" int32_t xlstmd_slstm_backward_##suffix(                                              \
      xlstmd_pool *pool, const xlstmd_slstm_problem *p, const T *recurrent, const T *saved,       \
      const T *d_out, const T *const *d_end, T *d_preacts, T *d_recurrent, T *const *d_start) {   \
    return xlstmd::run_backward<T>(pool, p, recurrent, saved, d_out, d_end, d_preacts,            \
                                   d_recurrent, d_start);                                         \
  }
XLSTMD_SLSTM(f32, float)
XLSTMD_SLSTM(f64, double)
