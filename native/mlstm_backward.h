// The exact backward pass of one head of the matrix memory, chunk by chunk from the last.
//
// With U = dH / denominator, bu = U times what reads the memory before, r the gradient of n . q, P the weighed scores and a the last row of the
// weights, all gradients are products of what the chunk had; the gates' come from the gradients of
// the logs of the weights, summed over the steps that each decay touches. The stabilizer's gradient
// goes to what it came from, so that the final memory may enter a loss.
#ifndef XLSTMD_MLSTM_BACKWARD_H
#define XLSTMD_MLSTM_BACKWARD_H

#include "mlstm.h"

namespace xlstmd {

// Gradients of the inputs, each a step's numbers together.
template <class T>
struct MLSTMSlopes {
  Steps<T> q, k, v, i, f;
};

template <class T>
class MLSTMHeadBackward {
 public:
  MLSTMHeadBackward(int64_t qk_width, int64_t value_width, const MLSTMRules<T> &rules)
      : size_{qk_width, value_width}, rules_(rules) {}

  static size_t bytes(int64_t qk_width, int64_t value_width, int64_t steps) {
    const HeadSize<T> size{qk_width, value_width};
    const int64_t deep = size.deep(), wide = size.padded();
    return MLSTMChunk<T>::bytes(size) + Pieces::bytes<int64_t>(steps + 1) +
           Pieces::bytes<T>(size.memory()) + Pieces::bytes<T>(size.V * deep) +
           Pieces::bytes<T>(size.V * kChunk) +
           Pieces::bytes<T>(deep) + 3 * Pieces::bytes<T>(kChunk * wide) +
           3 * Pieces::bytes<T>(kChunk * deep) + Pieces::bytes<T>(kChunk * kChunk) +
           6 * Pieces::bytes<T>(kChunk);
  }

  // `out` and `saved` are what forward gave, `d_out` its gradient; gradients of the final memory
  // that are null count as zero.
  void run(void *scratch, const MLSTMInputs<T> &x, const MLSTMMemory<const T> &start,
           Steps<const T> out, const T *saved, Steps<const T> d_out,
           const MLSTMMemory<const T> &d_end, const MLSTMSlopes<T> &d,
           const MLSTMMemory<T> &d_start) {
    Pieces memory(scratch);
    MLSTMChunk<T> chunk(memory, size_, rules_);
    take(memory);
    begin(d_end);
    if (x.valid) clear_padding(x, d);
    int64_t *places = memory.take<int64_t>(x.steps + 1);
    int64_t runs = 0, slots = 0;
    StepRun run;
    for (StepRuns all(x.steps, x.reset, x.valid);; runs++) {
      places[runs] = all.place();
      if (!all.next(run)) break;
      slots += run.continues;
    }
    StepRuns all(x.steps, x.reset, x.valid);
    for (int64_t r = runs - 1; r >= 0; r--) {
      all.seek(places[r]);
      all.next(run);
      ChunkMemory<T> before{start.C, size_.V, start.n, *start.m};
      if (run.fresh) {
        before = ChunkMemory<T>{nullptr, size_.V, nullptr, rules_.start};
      } else if (r > 0) {
        const T *slot = saved + --slots * size_.slot();
        before = ChunkMemory<T>{slot, size_.padded(), slot + size_.memory(),
                                slot[size_.memory() + size_.K]};
      }
      if (run.count > 0) back(chunk, run, x, before, out, d_out, d);
      if (run.fresh) forget();
    }
    size_.copy(dC_, size_.padded(), d_start.C, size_.V);
    std::copy_n(dn_, size_.K, d_start.n);
    *d_start.m = dm_;
  }

 private:
  void take(Pieces &memory) {
    const int64_t deep = size_.deep(), wide = size_.padded();
    dC_ = memory.take<T>(size_.memory());
    turned_ = memory.take<T>(size_.V * deep);
    v_turned_ = memory.take<T>(size_.V * kChunk);
    dn_ = memory.take<T>(deep);
    u_ = memory.take<T>(kChunk * wide);
    bu_ = memory.take<T>(kChunk * wide);
    dv_ = memory.take<T>(kChunk * wide);
    k_ = memory.take<T>(kChunk * deep);
    dq_ = memory.take<T>(kChunk * deep);
    dk_ = memory.take<T>(kChunk * deep);
    d_scores_ = memory.take<T>(kChunk * kChunk);
    for (T **part : {&r_, &to_m_, &to_carried_, &last_, &d_i_, &d_f_})
      *part = memory.take<T>(kChunk);
  }

  void begin(const MLSTMMemory<const T> &d_end) {
    forget();
    if (d_end.C) {
      size_.copy(d_end.C, size_.V, dC_, size_.padded());
      open_ = true;
    }
    if (d_end.n) {
      std::copy_n(d_end.n, size_.K, dn_);
      open_ = true;
    }
    if (d_end.m) dm_ = *d_end.m;
  }

  // Nothing behind an emptied memory reaches what was before.
  void forget() {
    std::fill_n(dC_, size_.memory(), T(0));
    std::fill_n(dn_, size_.deep(), T(0));
    dm_ = 0;
    open_ = false;
  }

  void clear_padding(const MLSTMInputs<T> &x, const MLSTMSlopes<T> &d) const {
    for (int64_t t = 0; t < x.steps; t++) {
      if (x.valid[t]) continue;
      std::fill_n(d.q[t], size_.K, T(0));
      std::fill_n(d.k[t], size_.K, T(0));
      std::fill_n(d.v[t], size_.V, T(0));
      *d.i[t] = *d.f[t] = 0;
    }
  }

  void back(MLSTMChunk<T> &c, const StepRun &run, const MLSTMInputs<T> &x,
            const ChunkMemory<T> &before, Steps<const T> out, Steps<const T> d_out,
            const MLSTMSlopes<T> &d) {
    c.gates(run, x, before.m);
    c.gather(run, x);
    c.fill_weights();
    c.fill_scores(before.n);
    gather(c, run, x);
    outputs(c, run, out, d_out);
    scores(c);
    queries(c, before);
    keys(c);
    values(c);
    T to_kept = 0;
    if (open_ && before.C) to_kept = kept(c, before);
    if (before.C) memory(c);
    stabilizers(c, to_kept);
    gates(c, run, d);
    write(c, run, d);
  }

  // Keys in rows, and the last step's weights, which `scores` overwrites.
  void gather(const MLSTMChunk<T> &c, const StepRun &run, const MLSTMInputs<T> &x) {
    const int64_t deep = size_.deep();
    for (int64_t j = 0; j < c.count; j++) {
      std::copy_n(x.k[run.at[j]], size_.K, k_ + j * deep);
      std::fill_n(k_ + j * deep + size_.K, deep - size_.K, T(0));
    }
    std::copy_n(c.weights + (c.count - 1) * kChunk, c.wide, last_);
  }

  // U, r, and what reaches the stabilizers directly: eps, and the bounds of the exponent.
  void outputs(const MLSTMChunk<T> &c, const StepRun &run, Steps<const T> out,
               Steps<const T> d_out) {
    const int64_t wide = size_.padded();
    for (int64_t i = 0; i < c.count; i++) {
      const T *dh = d_out[run.at[i]];
      const T along = dot<T>(dh, out[run.at[i]], size_.V) * c.inverse[i];
      T *u = u_ + i * wide, *bu = bu_ + i * wide;
      for (int64_t v = 0; v < size_.V; v++) u[v] = dh[v] * c.inverse[i];
      std::fill_n(u + size_.V, wide - size_.V, T(0));
      for (int64_t v = 0; v < wide; v++) bu[v] = u[v] * c.from_memory[i];
      const T least = floor_of<T>(splat<T>(c.m[i]))[0], size = std::fabs(c.dots[i]);
      // A tie of the denominator's maximum is shared.
      const T by_query = size > least ? T(1) : size == least ? T(0.5) : T(0);
      const bool bounded = std::fabs(c.m[i]) > kFloorLimit<T>;
      r_[i] = c.dots[i] < 0 ? by_query * along : -by_query * along;
      to_m_[i] = -along * (rules_.eps + (bounded ? (1 - by_query) * least : T(0)));
    }
  }

  // d scores, and in place of the weights the gradients of their logs.
  void scores(MLSTMChunk<T> &c) {
    transpose<T>(c.count, size_.V, c.v.at, c.v.row, v_turned_, kChunk);
    for (int64_t v = 0; v < size_.V; v++)
      std::fill_n(v_turned_ + v * kChunk + c.count, c.wide - c.count, T(0));
    Sum<T> sum;
    sum.first = {{u_, size_.padded(), 1}, v_turned_, kChunk, size_.V};
    sum_products<T>(c.count, c.wide, sum, d_scores_, kChunk,
                    [](int64_t row, int64_t rows, Sum<T> &) { return row + rows; });
    const T scale = size_.query_scale();
    for (int64_t i = 0; i < c.count; i++) {
      T *row = d_scores_ + i * kChunk, *weight = c.weights + i * kChunk;
      const T *score = c.scores + i * kChunk;
      int64_t j = 0;
      for (; j <= i; j += kLanes<T>) {
        const Vec<T> slope = load<T>(row + j) + r_[i];
        store<T>(row + j, slope * (scale * load<T>(weight + j)));
        store<T>(weight + j, slope * load<T>(score + j));
      }
      std::fill(row + j, row + std::max(j, c.wide), T(0));
    }
  }

  // d q (still scaled), and the gradient of the log of what each step sees of the memory before.
  void queries(const MLSTMChunk<T> &c, const ChunkMemory<T> &before) {
    const int64_t deep = size_.deep();
    std::fill_n(to_carried_, c.wide, T(0));
    Sum<T> sum;
    sum.first = {{d_scores_, kChunk, 1}, k_, deep, c.count};
    if (before.C) {
      from_memory(c, before);
      sum.start = dq_;
      sum.start_row = deep;
    }
    sum_products<T>(c.count, deep, sum, dq_, deep,
                    [deep](int64_t row, int64_t rows, Sum<T> &part) {
                      part.first.depth = row + rows;
                      return deep;
                    });
  }

  void from_memory(const MLSTMChunk<T> &c, const ChunkMemory<T> &before) {
    const int64_t deep = size_.deep();
    turn(before.C, before.pitch);
    Sum<T> sum;
    sum.first = {{bu_, size_.padded(), 1}, turned_, deep, size_.V};
    sum_products<T>(c.count, deep, sum, dq_, deep);
    for (int64_t i = 0; i < c.count; i++) {
      const T by_n = c.from_memory[i] * r_[i];
      for (int64_t k = 0; k < size_.K; k++) dq_[i * deep + k] += by_n * before.n[k];
      to_carried_[i] = dot<T>(c.q[i], dq_ + i * deep, size_.K);
    }
  }

  // [K][V] to [V][deep K]
  void turn(const T *C, int64_t pitch) {
    const int64_t deep = size_.deep();
    transpose<T>(size_.K, size_.V, C, pitch, turned_, deep);
    for (int64_t v = 0; v < size_.V; v++)
      std::fill_n(turned_ + v * deep + size_.K, deep - size_.K, T(0));
  }

  // d k; the final memory's part goes to the logs of the last step's weights too.
  void keys(const MLSTMChunk<T> &c) {
    const int64_t deep = size_.deep();
    Sum<T> sum;
    sum.first = {{d_scores_, 1, kChunk}, c.q.at, c.q.row, c.count};
    if (open_) {
      into_memory(c);
      sum.start = dk_;
      sum.start_row = deep;
    }
    sum_products<T>(c.count, deep, sum, dk_, deep, [&](int64_t row, int64_t, Sum<T> &part) {
      skip(part.first, row, c.count);
      return deep;
    });
  }

  void into_memory(const MLSTMChunk<T> &c) {
    const int64_t deep = size_.deep();
    turn(dC_, size_.padded());
    Sum<T> sum;
    sum.first = {{c.v.at, c.v.row, 1}, turned_, deep, size_.V};
    sum.scale = last_;
    sum_products<T>(c.count, deep, sum, dk_, deep);
    T *slopes = c.weights + (c.count - 1) * kChunk;
    for (int64_t j = 0; j < c.count; j++) {
      for (int64_t k = 0; k < size_.K; k++) dk_[j * deep + k] += last_[j] * dn_[k];
      const T slope = dot<T>(k_ + j * deep, dk_ + j * deep, size_.K);
      slopes[j] += slope;
      to_m_[c.count - 1] -= slope;
    }
  }

  // Steps before `row` see nothing of it.
  static void skip(Product<T> &product, int64_t row, int64_t count) {
    product.a.at += row * product.a.step;
    product.b += row * product.pitch;
    product.depth = count - row;
  }

  void values(const MLSTMChunk<T> &c) {
    const int64_t deep = size_.deep(), wide = size_.padded();
    Sum<T> sum;
    sum.first = {{c.scores, 1, kChunk}, u_, wide, c.count};
    if (open_) {
      for (int64_t j = 0; j < c.count; j++)
        for (int64_t k = 0; k < size_.K; k++) k_[j * deep + k] *= last_[j];
      sum.second = {{k_, deep, 1}, dC_, wide, size_.K};
    }
    sum_products<T>(c.count, wide, sum, dv_, wide, [&](int64_t row, int64_t, Sum<T> &part) {
      skip(part.first, row, c.count);
      return wide;
    });
  }

  // The gradient of the log of what the last step keeps, by the final memory.
  T kept(const MLSTMChunk<T> &c, const ChunkMemory<T> &before) const {
    T total = dot<T>(before.n, dn_, size_.K);
    for (int64_t k = 0; k < size_.K; k++)
      total += dot<T>(before.C + k * before.pitch, dC_ + k * size_.padded(), size_.V);
    return total * c.beta[c.count - 1];
  }

  // Gradients of the memory before.
  void memory(const MLSTMChunk<T> &c) {
    const int64_t wide = size_.padded();
    const T keep = c.beta[c.count - 1];
    Sum<T> sum;
    sum.first = {{c.q.at, 1, c.q.row}, bu_, wide, c.count};
    if (open_) {
      sum.start = dC_;
      sum.start_row = wide;
      sum.keep = keep;
    }
    sum_products<T>(size_.K, wide, sum, dC_, wide);
    for (int64_t k = 0; k < size_.K; k++) dn_[k] *= keep;
    for (int64_t i = 0; i < c.count; i++)
      for (int64_t k = 0; k < size_.K; k++) dn_[k] += c.from_memory[i] * r_[i] * c.q[i][k];
    open_ = true;
  }

  void stabilizers(const MLSTMChunk<T> &c, T to_kept) {
    const int64_t last = c.count - 1;
    to_m_[last] += dm_ - to_kept;
    to_carried_[last] += to_kept;
    for (int64_t i = 0; i < c.count; i++) {
      T &to = c.source[i] == kFromMemory ? to_carried_[i] : c.weights[i * kChunk + c.source[i]];
      to += to_m_[i];
    }
  }

  // A decay touches what its own and later steps see of the steps before it, and of the memory.
  void gates(const MLSTMChunk<T> &c, const StepRun &run, const MLSTMSlopes<T> &d) {
    alignas(64) T seen[kChunk] = {};
    T carried = 0;
    for (int64_t i = c.count - 1; i >= 0; i--) {
      Vec<T> total{};
      carried += to_carried_[i];
      const T *row = c.weights + i * kChunk;
      for (int64_t j = 0; j <= i; j += kLanes<T>) {
        const Vec<T> now = load<T>(seen + j) + load<T>(row + j);
        store<T>(seen + j, now);
        total += now;
      }
      d_i_[i] = seen[i];
      d_f_[i] = sum_lanes<T>(total) - seen[i] + carried;
      seen[i] = 0;
    }
    dm_ = carried;
    for (int64_t j = 0; j < c.wide; j += kLanes<T>) {
      const Vec<T> i = load<T>(c.log_i + j), f = load<T>(c.f + j), one = splat<T>(1);
      Vec<T> to_i = one, to_f = vsigmoid(-f);
      if (rules_.cap > 0) {
        to_i = one - i / rules_.cap * (i / rules_.cap);
        to_f = to_f * (one - f / rules_.cap * (f / rules_.cap));
      }
      store<T>(d_i_ + j, load<T>(d_i_ + j) * to_i);
      store<T>(d_f_ + j, load<T>(d_f_ + j) * to_f);
    }
    for (int64_t j = 0; j < c.count; j++) {
      *d.i[run.at[j]] = d_i_[j];
      *d.f[run.at[j]] = d_f_[j];
    }
  }

  void write(const MLSTMChunk<T> &c, const StepRun &run, const MLSTMSlopes<T> &d) const {
    const int64_t deep = size_.deep();
    for (int64_t j = 0; j < c.count; j++) {
      const int64_t t = run.at[j];
      std::copy_n(dq_ + j * deep, size_.K, d.q[t]);
      std::copy_n(dk_ + j * deep, size_.K, d.k[t]);
      std::copy_n(dv_ + j * size_.padded(), size_.V, d.v[t]);
    }
  }

  HeadSize<T> size_;
  MLSTMRules<T> rules_;
  // Gradients of the memory that the chunks before see; `open_`: not all zero.
  T *dC_, *dn_, dm_ = 0;
  bool open_ = false;
  T *turned_, *v_turned_;            // [V][deep K], [V][kChunk]
  T *u_, *bu_, *dv_;                 // [kChunk][padded V]
  T *k_, *dq_, *dk_;                 // [kChunk][deep K]
  T *d_scores_;                      // [kChunk][kChunk]
  T *r_, *to_m_, *to_carried_, *last_, *d_i_, *d_f_;
};

}  // namespace xlstmd
#endif
