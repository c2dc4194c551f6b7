// One chunk of one head of the matrix memory: what forward and backward share, and forward.
#ifndef XLSTMD_MLSTM_CHUNK_H
#define XLSTMD_MLSTM_CHUNK_H

namespace xlstmd {

// What a step's stabilizer came from: the memory before the chunk, or else a step.
inline constexpr int kFromMemory = -1;

template <class T>
class MLSTMChunk {
 public:
  static size_t bytes(const HeadSize<T> &size) {
    return 9 * Pieces::bytes<T>(kChunk) + 2 * Pieces::bytes<T>(kChunk * kChunk) +
           2 * Pieces::bytes<T>(kChunk * size.deep()) + 2 * Pieces::bytes<T>(kChunk * size.padded()) +
           Pieces::bytes<int>(kChunk);
  }

  MLSTMChunk(Pieces &memory, const HeadSize<T> &size, const MLSTMRules<T> &rules)
      : size_(size), rules_(rules) {
    for (T **part : {&log_i, &f, &m, &keep, &take, &beta, &from_memory, &dots, &inverse})
      *part = memory.take<T>(kChunk);
    weights = memory.take<T>(kChunk * kChunk);
    scores = memory.take<T>(kChunk * kChunk);
    k_turned = memory.take<T>(kChunk * size.deep());
    own_q_ = memory.take<T>(kChunk * size.deep());
    own_v_ = memory.take<T>(kChunk * size.padded());
    h_ = memory.take<T>(kChunk * size.padded());
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
    read(run, before, out);
    if (!run.forgotten) update(before, C, n);
  }

  // The gates, and the stabilizers by the recurrence itself, bit by bit.
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
      store<T>(keep + j, vlogsigmoid(load<T>(f + j)));
    }
    stabilize(m0);
    const T scale = size_.query_scale();
    for (int64_t j = 0; j < wide; j += kLanes<T>) {
      for (T *part : {keep, take, beta}) store<T>(part + j, vexp(load<T>(part + j)));
      store<T>(from_memory + j, load<T>(beta + j) * scale);
    }
  }

  // Scores with `weights` as they are need queries, turned keys and values.
  void gather(const StepRun &run, const MLSTMInputs<T> &x) {
    q = whole(run, x.q, size_.K, own_q_);
    v = whole(run, x.v, size_.V, own_v_);
    if (run.dense()) {
      transpose<T>(count, size_.K, x.k[run.at[0]], x.k.row, k_turned, kChunk);
    } else {
      for (int64_t j = 0; j < count; j++) {
        const T *from = x.k[run.at[j]];
        for (int64_t k = 0; k < size_.K; k++) k_turned[k * kChunk + j] = from[k];
      }
    }
    for (int64_t k = 0; k < size_.K; k++)
      std::fill_n(k_turned + k * kChunk + count, wide - count, T(0));
  }

  // Rows of whole vectors: where they are, or else copied and padded with zeros.
  Steps<const T> whole(const StepRun &run, const Steps<const T> &from, int64_t size,
                       T *copy) const {
    if (run.dense() && size % kLanes<T> == 0) return {from[run.at[0]], from.row};
    const int64_t pitch = whole_vectors<T>(size);
    for (int64_t j = 0; j < count; j++) {
      std::copy_n(from[run.at[j]], size, copy + j * pitch);
      std::fill_n(copy + j * pitch + size, pitch - size, T(0));
    }
    return {copy, pitch};
  }

  // weights[i][j]: what step i sees of step j, 0 for j > i. Like the memory, they fade step by step.
  void fill_weights() {
    for (int64_t i = 0; i < count; i++) {
      T *row = weights + i * kChunk;
      const T *older = row - kChunk;
      int64_t j = 0;
      for (; j < i; j += kLanes<T>) store<T>(row + j, keep[i] * load<T>(older + j));
      std::fill(row + j, row + std::max(j, wide), T(0));
      row[i] = take[i];
    }
  }

  // scores[i][j] = weights[i][j] q_i . k_j, and of every step n . q and 1 / denominator.
  void fill_scores(const T *n0) {
    Sum<T> sum;
    sum.first = {{q.at, q.row, 1}, k_turned, kChunk, size_.K};
    sum_products<T>(count, wide, sum, scores, kChunk,
                    [](int64_t row, int64_t rows, Sum<T> &) { return row + rows; });
    const T scale = size_.query_scale();
    for (int64_t i = 0; i < count; i++) {
      T *row = scores + i * kChunk;
      const T *weight = weights + i * kChunk;
      Vec<T> total{};
      int64_t j = 0;
      for (; j <= i; j += kLanes<T>) {
        const Vec<T> score = load<T>(row + j) * (scale * load<T>(weight + j));
        store<T>(row + j, score);
        total += score;
      }
      // Other rows of a block are read as far as its last one.
      std::fill(row + j, row + std::max(j, wide), T(0));
      dots[i] = sum_lanes<T>(total);
      if (n0) dots[i] += from_memory[i] * dot<T>(q[i], n0, size_.K);
    }
    invert();
  }

  // 1 / (max(|n . q|, exp(-m)) + eps).
  void invert() {
    for (int64_t j = count; j < wide; j++) dots[j] = 0;
    for (int64_t j = 0; j < wide; j += kLanes<T>) {
      const Vec<T> top = max(absolute(load<T>(dots + j)), floor_of<T>(load<T>(m + j)));
      store<T>(inverse + j, 1 / (top + rules_.eps));
    }
  }

  int64_t count = 0, wide = 0;  // steps, and in whole vectors
  T *log_i, *f, *m;  // gates: log of the input gate, forget gate after its cap; stabilizers
  T *keep, *take;    // what a step keeps of the memory before it and takes of its own key
  T *beta;           // what is left, after a step, of the memory before the chunk
  T *from_memory;    // beta and the scale of the queries
  T *dots, *inverse;  // n . q, 1 / denominator
  T *weights, *scores;  // [kChunk][kChunk]
  Steps<const T> q, v;  // unscaled queries; values in whole vectors
  T *k_turned;          // [K][kChunk]
  int *source;

 private:
  // Makes of the logs of the gates those of what a step keeps, takes, and leaves of the memory.
  void stabilize(T m0) {
    T now = m0, carried = m0;
    int from = kFromMemory;
    for (int j = 0; j < count; j++) {
      const T held = now + keep[j];
      carried += keep[j];
      // A tie goes to the older one.
      const bool older = held >= log_i[j];
      now = older ? held : log_i[j];
      from = older ? from : j;
      m[j] = now;
      source[j] = from;
      keep[j] = held - now;
      take[j] = log_i[j] - now;
      beta[j] = carried - now;
    }
    for (int64_t j = count; j < wide; j++) m[j] = keep[j] = take[j] = beta[j] = 0;
  }

  // Outputs: what the memory before gives, and what the chunk's own steps give.
  void read(const StepRun &run, const ChunkMemory<T> &before, Steps<T> out) {
    const int64_t pitch = size_.padded();
    const bool direct = run.dense() && size_.V == pitch;
    T *to = direct ? out[run.at[0]] : h_;
    Sum<T> sum;
    if (before.C) {
      sum.first = {{q.at, q.row, 1}, before.C, before.pitch, size_.K};
      sum.between = from_memory;
    }
    sum.second = {{scores, kChunk, 1}, v.at, v.row, count};
    sum.scale = inverse;
    sum_products<T>(count, pitch, sum, to, direct ? out.row : pitch,
                    [pitch](int64_t row, int64_t rows, Sum<T> &part) {
                      part.second.depth = row + rows;
                      return pitch;
                    });
    for (int64_t j = 0; !direct && j < count; j++)
      std::copy_n(h_ + j * pitch, size_.V, out[run.at[j]]);
  }

  void update(const ChunkMemory<T> &before, T *C, T *n) {
    const T *last = weights + (count - 1) * kChunk;
    const T left = beta[count - 1];
    for (int64_t k = 0; k < size_.K; k++) {
      T *row = k_turned + k * kChunk;
      Vec<T> total{};
      for (int64_t j = 0; j < wide; j += kLanes<T>) {
        const Vec<T> scaled = load<T>(row + j) * load<T>(last + j);
        store<T>(row + j, scaled);
        total += scaled;
      }
      n[k] = (before.n ? left * before.n[k] : T(0)) + sum_lanes<T>(total);
    }
    Sum<T> sum;
    sum.first = {{k_turned, kChunk, 1}, v.at, v.row, count};
    sum.start = before.C;
    sum.start_row = before.pitch;
    sum.keep = left;
    sum_products<T>(size_.K, size_.padded(), sum, C, before.pitch);
  }

  // One step: the memory is updated and read in one pass.
  void one_step(int64_t t, const MLSTMInputs<T> &x, const ChunkMemory<T> &before, T *C, T *n,
                T *out) {
    HeadStep<T>{size_, rules_.eps, x.q[t], x.k[t], x.v[t], before, keep[0], take[0],
                floor_of<T>(splat<T>(m[0]))[0], C, n, out}
        .run();
  }

  HeadSize<T> size_;
  MLSTMRules<T> rules_;
  T *own_q_, *own_v_, *h_;  // [kChunk][deep K], [kChunk][padded V] twice
};

}  // namespace xlstmd
#endif
