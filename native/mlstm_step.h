// One step of the matrix memory: gates of many heads side by side, then one pass over each memory.
#ifndef XLSTMD_MLSTM_STEP_H
#define XLSTMD_MLSTM_STEP_H

namespace xlstmd {

template <class T>
struct HeadSize {
  int64_t K, V;

  // Both widths in whole vectors.
  int64_t deep() const { return whole_vectors<T>(K); }
  int64_t padded() const { return whole_vectors<T>(V); }
  // Of C with rows of whole vectors; with n and m, on a cache line's boundary.
  int64_t memory() const { return K * padded(); }
  int64_t slot() const { return (memory() + K + 1 + 15) / 16 * 16; }
  T query_scale() const { return 1 / std::sqrt(static_cast<T>(K)); }

  void copy(const T *from, int64_t from_row, T *to, int64_t to_row) const {
    for (int64_t k = 0; k < K; k++) {
      std::copy_n(from + k * from_row, V, to + k * to_row);
      std::fill_n(to + k * to_row + V, std::max<int64_t>(to_row - V, 0), T(0));
    }
  }
};

// The memory as a chunk or a step finds it; C and n null where it is empty.
template <class T>
struct ChunkMemory {
  const T *C;
  int64_t pitch;
  const T *n;
  T m;
};

// exp(-m), the exponent bounded so that it neither vanishes nor overflows: the least denominator.
template <class T>
inline constexpr T kFloorLimit = sizeof(T) == 4 ? 80 : 600;
template <class T>
inline Vec<T> floor_of(Vec<T> m) {
  return vexp(-min(max(m, splat<T>(-kFloorLimit<T>)), splat<T>(kFloorLimit<T>)));
}

// What the gates of one step make of the memories of some heads: the parts of the memory that is
// kept and of the key that is taken, and the least denominator. Arrays, a number for each head.
template <class T>
struct StepGates {
  T *keep, *take, *least;

  StepGates from(int64_t head) const { return {keep + head, take + head, least + head}; }

  // Of the gates' pre-activations and the stabilizers before (null: of empty memories); `after` takes
  // the new stabilizers. keep and take may be i and f.
  void fill(int64_t count, const T *i, const T *f, const T *before, T *after,
            const MLSTMRules<T> &rules) const {
    for (int64_t at = 0; at < count; at += kLanes<T>) {
      const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, count - at));
      const Vec<T> log_i = capped<T>(load_some<T>(i + at, lanes), rules.cap);
      const Vec<T> log_f = vlogsigmoid(capped<T>(load_some<T>(f + at, lanes), rules.cap));
      const Vec<T> held =
          log_f + (before ? load_some<T>(before + at, lanes) : splat<T>(rules.start));
      const Vec<T> m = pick(held >= log_i, held, log_i);
      store_some<T>(keep + at, vexp(held - m), lanes);
      store_some<T>(take + at, vexp(log_i - m), lanes);
      store_some<T>(least + at, floor_of<T>(m), lanes);
      store_some<T>(after + at, m, lanes);
    }
  }
};

// One step of one head: C = keep * C + take * k v^T, n = keep * n + take * k, and the read
// out = q C / (sqrt(K) * (max(|n . q| / sqrt(K), least) + eps)).
template <class T>
struct HeadStep {
  HeadSize<T> size;
  T eps;
  const T *q, *k, *v;
  ChunkMemory<T> before;
  T keep, take, least;
  T *C, *n, *out;  // C and n may be those before

  // Vectors of a row that are summed side by side: the fewer instructions there are to a cache line,
  // the more lines are under way.
  static constexpr int kWidest = 16;

  void run() const {
    const T scale = size.query_scale(), seen = std::fabs(scale * normalizer());
    const T factor = scale / ((seen > least ? seen : least) + eps);
    const int64_t whole = size.V / kLanes<T> * kLanes<T>;
    for (int64_t c = 0; c < whole; c += kWidest * kLanes<T>)
      with_rows<kWidest>(std::min<int64_t>(kWidest, (whole - c) / kLanes<T>), [&](auto vectors) {
        before.C ? columns<decltype(vectors)::value, false>(c, factor)
                 : columns<decltype(vectors)::value, true>(c, factor);
      });
    for (int64_t c = whole; c < size.V; c++) column(c, factor);
  }

 private:
  // Moves n; gives n . q.
  T normalizer() const {
    Vec<T> total{};
    for (int64_t at = 0; at < size.K; at += kLanes<T>) {
      const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, size.K - at));
      Vec<T> now = take * load_some<T>(k + at, lanes);
      if (before.n) now += keep * load_some<T>(before.n + at, lanes);
      store_some<T>(n + at, now, lanes);
      total += now * load_some<T>(q + at, lanes);
    }
    return sum_lanes<T>(total);
  }

  template <int VECTORS, bool EMPTY>
  void columns(int64_t c, T factor) const {
    const HeadStep step = *this;
    Vec<T> sums[VECTORS] = {}, values[VECTORS];
    for (int i = 0; i < VECTORS; i++) values[i] = step.take * load<T>(step.v + c + i * kLanes<T>);
    const T *from = step.before.C + c;
    T *to = step.C + c;
    for (int64_t row = 0; row < step.size.K; row++) {
      for (int i = 0; i < VECTORS; i++) {
        Vec<T> now = step.k[row] * values[i];
        if constexpr (!EMPTY) now += step.keep * load<T>(from + i * kLanes<T>);
        store<T>(to + i * kLanes<T>, now);
        sums[i] += step.q[row] * now;
      }
      from += step.before.pitch;
      to += step.before.pitch;
    }
    for (int i = 0; i < VECTORS; i++) store<T>(step.out + c + i * kLanes<T>, factor * sums[i]);
  }

  void column(int64_t c, T factor) const {
    T sum = 0;
    for (int64_t row = 0; row < size.K; row++) {
      const int64_t at = row * before.pitch + c;
      C[at] = k[row] * (take * v[c]) + (before.C ? keep * before.C[at] : T(0));
      sum += q[row] * C[at];
    }
    out[c] = factor * sum;
  }
};

// One step of many heads, whose gates were filled before.
template <class T>
struct MLSTMStep {
  HeadSize<T> size;
  MLSTMRules<T> rules;
  StepGates<T> gates;

  // `emptied`: the memory is empty before; `padding`: the step does not count.
  void run(int64_t head, const T *q, const T *k, const T *v, const MLSTMMemory<const T> &from,
           const MLSTMMemory<T> &to, T *out, bool emptied, bool padding) const {
    if (padding) {
      std::fill_n(out, size.V, T(0));
      return emptied ? empty(to) : keep(from, to);
    }
    const ChunkMemory<T> before{emptied ? nullptr : from.C, size.V, emptied ? nullptr : from.n, 0};
    HeadStep<T>{size, rules.eps, q, k, v, before, gates.keep[head], gates.take[head],
                gates.least[head], to.C, to.n, out}
        .run();
  }

 private:
  void empty(const MLSTMMemory<T> &to) const {
    std::fill_n(to.C, size.K * size.V, T(0));
    std::fill_n(to.n, size.K, T(0));
    *to.m = rules.start;
  }

  void keep(const MLSTMMemory<const T> &from, const MLSTMMemory<T> &to) const {
    if (from.C != to.C) std::copy_n(from.C, size.K * size.V, to.C);
    if (from.n != to.n) std::copy_n(from.n, size.K, to.n);
    if (from.m != to.m) *to.m = *from.m;
  }
};

}  // namespace xlstmd
#endif
