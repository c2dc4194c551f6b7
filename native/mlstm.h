// The matrix memory over a sequence: in chunks, or one step in a single pass over the memory.
//
// Source: xLSTM, arXiv:2405.04517, equations 19-27; the chunkwise form of arXiv:2503.14376. Padded
// steps are left out and a reset ends a chunk, so that nothing has to be masked. Decays are built by
// adding, step by step as the recurrence does, never as differences of sums: a forget gate of
// exp(-10000) loses no digit.
#ifndef XLSTMD_MLSTM_H
#define XLSTMD_MLSTM_H

#include <cmath>

#include "pool.h"
#include "sum_products.h"
#include "transpose.h"
#include "vecmath.h"

namespace xlstmd {

// Steps that are computed together.
inline constexpr int64_t kChunk = 64;

template <class T>
struct MLSTMRules {
  T eps;    // added to the denominator
  T start;  // stabilizer of an empty memory
  T cap;    // of both gates' pre-activations; 0 for none
};

// One array of a sequence: each step's numbers lie together, `row` after those of the step before.
template <class T>
struct Steps {
  T *at;
  int64_t row;
  T *operator[](int64_t t) const { return at + t * row; }
};

// What one head of one row is given: q (not yet scaled) and k of K numbers a step, v of V, and a
// number for each gate's pre-activation. `reset` and `valid` have a byte a step; either may be null.
template <class T>
struct MLSTMInputs {
  int64_t steps;
  Steps<const T> q, k, v, i, f;
  const uint8_t *reset, *valid;
};

// The memory of one head of one row: C [K, V], n [K], m [1].
template <class T>
struct MLSTMMemory {
  T *C, *n, *m;
};

// The steps of one chunk: at most kChunk that count, and no reset after the first.
struct StepRun {
  int64_t at[kChunk];
  int64_t count;
  bool fresh;      // the memory is emptied before
  bool continues;  // another run goes on from the memory after this one
  bool forgotten;  // the memory after this run is emptied at once

  bool dense() const { return at[count - 1] - at[0] == count - 1; }
};

// Divides a sequence into runs.
class StepRuns {
 public:
  StepRuns(int64_t steps, const uint8_t *reset, const uint8_t *valid)
      : steps_(steps), reset_(reset), valid_(valid) {}

  // Where the next run begins, for `seek`.
  int64_t place() const { return t_; }
  void seek(int64_t place) { t_ = place; }

  // Gives the next run, which counts no step when resets alone are left; false at the end.
  bool next(StepRun &run) {
    run.count = 0;
    run.fresh = run.continues = run.forgotten = false;
    for (; t_ < steps_; t_++) {
      if (reset_ && reset_[t_]) {
        run.forgotten = run.count > 0;
        if (run.forgotten) break;
        run.fresh = true;
      }
      if (valid_ && !valid_[t_]) continue;
      run.continues = run.count == kChunk;
      if (run.continues) break;
      run.at[run.count++] = t_;
    }
    return run.count > 0 || run.fresh;
  }

 private:
  int64_t steps_, t_ = 0;
  const uint8_t *reset_, *valid_;
};

}  // namespace xlstmd

#include "mlstm_step.h"

#include "mlstm_chunk.h"

namespace xlstmd {

// One head of one row, forward.
template <class T>
class MLSTMHead {
 public:
  MLSTMHead(int64_t qk_width, int64_t value_width, const MLSTMRules<T> &rules)
      : size_{qk_width, value_width}, rules_(rules) {}

  // Scratch that `run` needs, on a cache line's boundary.
  static size_t bytes(int64_t qk_width, int64_t value_width) {
    const HeadSize<T> size{qk_width, value_width};
    return MLSTMChunk<T>::bytes(size) + Pieces::bytes<T>(size.memory());
  }

  // Numbers of one saved memory, and how many of them a sequence saves.
  static int64_t saved_size(int64_t qk_width, int64_t value_width) {
    return HeadSize<T>{qk_width, value_width}.slot();
  }
  static int64_t saved_count(int64_t steps) { return steps > 0 ? (steps - 1) / kChunk : 0; }

  // Runs all steps; out has V numbers a step, zeros where a step is padding. `to` may be `from`.
  // `saved`, if not null, takes the memory before each chunk that goes on from another.
  void run(void *scratch, const MLSTMInputs<T> &x, const MLSTMMemory<const T> &from,
           const MLSTMMemory<T> &to, Steps<T> out, T *saved = nullptr) const {
    for (int64_t t = 0; x.valid && t < x.steps; t++)
      if (!x.valid[t]) std::fill_n(out[t], size_.V, T(0));
    Pieces memory(scratch);
    MLSTMChunk<T> chunk(memory, size_, rules_);
    T *padded = memory.take<T>(size_.memory());
    // A memory whose rows are no whole vectors is copied, unless one step is all.
    const bool copied = size_.V != size_.padded() && x.steps > 1;
    const int64_t pitch = copied ? size_.padded() : size_.V;
    if (copied) size_.copy(from.C, size_.V, padded, pitch);
    T *place = copied ? padded : to.C;
    ChunkMemory<T> now{copied ? padded : from.C, pitch, from.n, *from.m};
    StepRuns runs(x.steps, x.reset, x.valid);
    StepRun run;
    while (runs.next(run)) {
      if (run.fresh) now = ChunkMemory<T>{nullptr, pitch, nullptr, rules_.start};
      if (run.count == 0) continue;
      T *C = place, *n = to.n;
      if (run.continues && saved) {
        C = saved;
        n = saved + size_.memory();
        saved += size_.slot();
      }
      chunk.forward(run, x, now, C, n, out);
      now = ChunkMemory<T>{C, pitch, n, chunk.last_m()};
      if (n != to.n) n[size_.K] = now.m;
    }
    finish(now, to);
  }

 private:
  void finish(const ChunkMemory<T> &now, const MLSTMMemory<T> &to) const {
    *to.m = now.m;
    if (now.C == nullptr) {
      std::fill_n(to.C, size_.K * size_.V, T(0));
      std::fill_n(to.n, size_.K, T(0));
      return;
    }
    if (now.C != to.C) size_.copy(now.C, now.pitch, to.C, size_.V);
    if (now.n != to.n) std::copy_n(now.n, size_.K, to.n);
  }

  HeadSize<T> size_;
  MLSTMRules<T> rules_;
};

}  // namespace xlstmd
#endif
