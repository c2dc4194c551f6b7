// One chunk of one head of the matrix memory: what forward and backward share, and forward.
#ifndef XLSTMD_MLSTM_CHUNK_H
#define XLSTMD_MLSTM_CHUNK_H

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

// The memory as a chunk finds it; C null where it is empty.
template <class T>
struct ChunkMemory {
  const T *C;
  int64_t pitch;
  const T *n;
  T m;
};

// C = keep * C + put v^T and out = factor * q C, in one pass over the memory.
template <class T>
struct StepPass {
  HeadSize<T> size;
  ChunkMemory<T> before;
  T keep;
  const T *put, *q, *v;  // put: the key times what the input gate takes
  T factor;
  T *C, *out;

  // Vectors of a row that are summed side by side: the fewer instructions there are to a cache line,
  // the more lines are under way.
  static constexpr int kWidest = 16;

  void run() const {
    const int64_t whole = size.V / kLanes<T> * kLanes<T>;
    for (int64_t c = 0; c < whole; c += kWidest * kLanes<T>)
      with_rows<kWidest>(std::min<int64_t>(kWidest, (whole - c) / kLanes<T>), [&](auto vectors) {
        before.C ? columns<decltype(vectors)::value, false>(c)
                 : columns<decltype(vectors)::value, true>(c);
      });
    for (int64_t c = whole; c < size.V; c++) column(c);
  }

  template <int VECTORS, bool EMPTY>
  void columns(int64_t c) const {
    const StepPass pass = *this;
    Vec<T> sums[VECTORS] = {}, values[VECTORS];
    for (int i = 0; i < VECTORS; i++) values[i] = load<T>(pass.v + c + i * kLanes<T>);
    const T *from = pass.before.C + c;
    T *to = pass.C + c;
    for (int64_t k = 0; k < pass.size.K; k++) {
      for (int i = 0; i < VECTORS; i++) {
        Vec<T> now = pass.put[k] * values[i];
        if constexpr (!EMPTY) now += pass.keep * load<T>(from + i * kLanes<T>);
        store<T>(to + i * kLanes<T>, now);
        sums[i] += pass.q[k] * now;
      }
      from += pass.before.pitch;
      to += pass.before.pitch;
    }
    for (int i = 0; i < VECTORS; i++) store<T>(pass.out + c + i * kLanes<T>, pass.factor * sums[i]);
  }

  void column(int64_t c) const {
    T sum = 0;
    for (int64_t k = 0; k < size.K; k++) {
      const int64_t at = k * before.pitch + c;
      C[at] = put[k] * v[c] + (before.C ? keep * before.C[at] : T(0));
      sum += q[k] * C[at];
    }
    out[c] = factor * sum;
  }
};

// What a step's stabilizer came from: the memory before the chunk, or else a step.
inline constexpr int kFromMemory = -1;

template <class T>
class MLSTMChunk {
 public:
  static size_t bytes(const HeadSize<T> &size) {
    return 7 * Pieces::bytes<T>(kChunk) + 2 * Pieces::bytes<T>(kChunk * kChunk) +
           2 * Pieces::bytes<T>(kChunk * size.deep()) + 2 * Pieces::bytes<T>(kChunk * size.padded()) +
           Pieces::bytes<int>(kChunk);
  }

  MLSTMChunk(Pieces &memory, const HeadSize<T> &size, const MLSTMRules<T> &rules)
      : size_(size), rules_(rules) {
    for (T **part : {&log_i, &log_f, &f, &m, &beta, &dots, &inverse})
      *part = memory.take<T>(kChunk);
    weights = memory.take<T>(kChunk * kChunk);
    scores = memory.take<T>(kChunk * kChunk);
    q = memory.take<T>(kChunk * size.deep());
    k_turned = memory.take<T>(kChunk * size.deep());
    v = memory.take<T>(kChunk * size.padded());
    h = memory.take<T>(kChunk * size.padded());
    source = memory.take<int>(kChunk);
  }

  T last_m() const { return m[count - 1]; }

  // Reads the memory `before`, writes outputs and, where anybody needs it, the memory after; C and n
  // may be those before.
  void forward(const StepRun &run, const MLSTMInputs<T> &x, const ChunkMemory<T> &before, T *C, T *n,
               Steps<T> out) {
    gates(run, x, before.m);
    if (count == 1) return one_step(run.at[0], x, before, C, n, out[run.at[0]]);
    gather(run, x);
    fill_weights();
    fill_scores(before.n);
    for (int64_t j = 0; j < count; j++)
      for (int64_t k = 0; k < size_.K; k++) q[j * size_.deep() + k] *= beta[j];
    read(run, before, out);
    if (!run.forgotten) update(before, C, n);
  }

  // Logs of the gates, and the stabilizers by the recurrence itself, bit by bit.
  void gates(const StepRun &run, const MLSTMInputs<T> &x, T m0) {
    count = run.count;
    wide = whole_vectors<T>(count);
    for (int64_t j = 0; j < wide; j++) {
      log_i[j] = j < count ? *x.i[run.at[j]] : T(0);
      f[j] = j < count ? *x.f[run.at[j]] : T(0);
    }
    for (int64_t j = 0; j < wide; j += kLanes<T>) {
      store<T>(log_i + j, capped<T>(load<T>(log_i + j), rules_.cap));
      store<T>(f + j, capped<T>(load<T>(f + j), rules_.cap));
      store<T>(log_f + j, vlogsigmoid(load<T>(f + j)));
    }
    T now = m0, carried = m0;
    int from = kFromMemory;
    for (int j = 0; j < count; j++) {
      now += log_f[j];
      carried += log_f[j];
      // A tie goes to the older one.
      if (!(now >= log_i[j])) {
        now = log_i[j];
        from = j;
      }
      m[j] = now;
      source[j] = from;
      beta[j] = carried - now;
    }
    for (int64_t j = count; j < wide; j++) m[j] = beta[j] = 0;
    for (int64_t j = 0; j < wide; j += kLanes<T>) store<T>(beta + j, vexp(load<T>(beta + j)));
  }

  // Scaled queries, keys turned, values in whole vectors: all dense.
  void gather(const StepRun &run, const MLSTMInputs<T> &x) {
    const T scale = size_.query_scale();
    const int64_t K = size_.K, V = size_.V, deep = size_.deep(), pitch = size_.padded();
    for (int64_t j = 0; j < count; j++) {
      const T *from = x.q[run.at[j]];
      for (int64_t k = 0; k < K; k++) q[j * deep + k] = from[k] * scale;
      std::fill_n(q + j * deep + K, deep - K, T(0));
      std::copy_n(x.v[run.at[j]], V, v + j * pitch);
      std::fill_n(v + j * pitch + V, pitch - V, T(0));
    }
    if (run.dense()) {
      transpose<T>(count, K, x.k[run.at[0]], x.k.row, k_turned, kChunk);
    } else {
      for (int64_t j = 0; j < count; j++) {
        const T *from = x.k[run.at[j]];
        for (int64_t k = 0; k < K; k++) k_turned[k * kChunk + j] = from[k];
      }
    }
    for (int64_t k = 0; k < K; k++)
      std::fill_n(k_turned + k * kChunk + count, wide - count, T(0));
  }

  // weights[i][j] = exp(sum of log f after j up to i + log i of j - m of i), 0 for j > i.
  void fill_weights() {
    alignas(64) T running[kChunk];
    std::fill_n(running, kChunk, -std::numeric_limits<T>::infinity());
    for (int64_t i = 0; i < count; i++) {
      T *row = weights + i * kChunk;
      for (int64_t j = 0; j < i; j += kLanes<T>)
        store<T>(running + j, load<T>(running + j) + log_f[i]);
      running[i] = log_i[i];
      int64_t j = 0;
      for (; j <= i; j += kLanes<T>) store<T>(row + j, vexp(load<T>(running + j) - m[i]));
      std::fill(row + j, row + wide, T(0));
    }
  }

  // scores[i][j] = weights[i][j] q_i . k_j, and of every step n . q and 1 / denominator.
  void fill_scores(const T *n0) {
    Sum<T> sum;
    sum.first = {{q, size_.deep(), 1}, k_turned, kChunk, size_.K};
    sum_products<T>(count, wide, sum, scores, kChunk,
                    [](int64_t row, int64_t rows, Sum<T> &) { return row + rows; });
    for (int64_t i = 0; i < count; i++) {
      T *row = scores + i * kChunk;
      const T *weight = weights + i * kChunk;
      Vec<T> total{};
      for (int64_t j = 0; j <= i; j += kLanes<T>) {
        const Vec<T> score = load<T>(row + j) * load<T>(weight + j);
        store<T>(row + j, score);
        total += score;
      }
      // Other rows of a block are read as far as its last one.
      for (int64_t j = i / kLanes<T> * kLanes<T> + kLanes<T>; j < wide; j += kLanes<T>)
        store<T>(row + j, Vec<T>{});
      dots[i] = sum_lanes<T>(total);
      if (n0) dots[i] += beta[i] * dot<T>(q + i * size_.deep(), n0, size_.K);
    }
    invert();
  }

  // 1 / (max(|n . q|, exp(-m)) + eps), the exponent bounded so that neither vanishes.
  static constexpr T kLimit = sizeof(T) == 4 ? 80 : 600;
  static Vec<T> floor_of(Vec<T> m) {
    return vexp(-min(max(m, splat<T>(-kLimit)), splat<T>(kLimit)));
  }
  void invert() {
    for (int64_t j = count; j < wide; j++) dots[j] = 0;
    for (int64_t j = 0; j < wide; j += kLanes<T>) {
      const Vec<T> top = max(absolute(load<T>(dots + j)), floor_of(load<T>(m + j)));
      store<T>(inverse + j, 1 / (top + rules_.eps));
    }
  }

  int64_t count = 0, wide = 0;  // steps, and in whole vectors
  T *log_i, *log_f, *f, *m, *beta, *dots, *inverse;
  T *weights, *scores;  // [kChunk][kChunk]
  T *q, *k_turned;      // [kChunk][deep K], [K][kChunk]
  T *v, *h;             // [kChunk][padded V]
  int *source;

 private:
  // Outputs: what the chunk's own steps give, and what the memory before gives.
  void read(const StepRun &run, const ChunkMemory<T> &before, Steps<T> out) {
    const int64_t pitch = size_.padded();
    const bool direct = run.dense() && size_.V == pitch;
    T *to = direct ? out[run.at[0]] : h;
    Sum<T> sum;
    sum.first = {{scores, kChunk, 1}, v, pitch, count};
    if (before.C) sum.second = {{q, size_.deep(), 1}, before.C, before.pitch, size_.K};
    sum.scale = inverse;
    sum_products<T>(count, pitch, sum, to, direct ? out.row : pitch,
                    [pitch](int64_t row, int64_t rows, Sum<T> &part) {
                      part.first.depth = row + rows;
                      return pitch;
                    });
    for (int64_t j = 0; !direct && j < count; j++)
      std::copy_n(h + j * pitch, size_.V, out[run.at[j]]);
  }

  void update(const ChunkMemory<T> &before, T *C, T *n) {
    const T *last = weights + (count - 1) * kChunk;
    const T keep = beta[count - 1];
    for (int64_t k = 0; k < size_.K; k++) {
      T *row = k_turned + k * kChunk;
      Vec<T> total{};
      for (int64_t j = 0; j < wide; j += kLanes<T>) {
        const Vec<T> scaled = load<T>(row + j) * load<T>(last + j);
        store<T>(row + j, scaled);
        total += scaled;
      }
      n[k] = (before.n ? keep * before.n[k] : T(0)) + sum_lanes<T>(total);
    }
    Sum<T> sum;
    sum.first = {{k_turned, kChunk, 1}, v, size_.padded(), count};
    sum.start = before.C;
    sum.start_row = before.pitch;
    sum.keep = keep;
    sum_products<T>(size_.K, size_.padded(), sum, C, before.pitch);
  }

  // One step: the memory is updated and read in one pass.
  void one_step(int64_t t, const MLSTMInputs<T> &x, const ChunkMemory<T> &before, T *C, T *n,
                T *out) {
    const T *query = x.q[t], *key = x.k[t];
    const T keep = beta[0], take = std::exp(log_i[0] - m[0]), scale = size_.query_scale();
    T *put = k_turned;
    for (int64_t k = 0; k < size_.K; k++) {
      q[k] = query[k] * scale;
      put[k] = take * key[k];
      n[k] = before.n ? keep * before.n[k] + put[k] : put[k];
    }
    dots[0] = dot<T>(n, q, size_.K);
    invert();
    const StepPass<T> pass{size_, before, keep, put, q, x.v[t], inverse[0], C, out};
    pass.run();
  }

  HeadSize<T> size_;
  MLSTMRules<T> rules_;
};

}  // namespace xlstmd
#endif
