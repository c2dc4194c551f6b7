// The sLSTM recurrence over a sequence: tiles of rows by units, all four gates of a unit together.
//
// Source: xLSTM, arXiv:2405.04517, equations 8-18. Gates lie side by side in a panel, so that a
// tile's sums are the pre-activations of whole units and never leave the registers.
#ifndef XLSTMD_SLSTM_H
#define XLSTMD_SLSTM_H

#include "dot.h"
#include "matrix.h"
#include "vecmath.h"

namespace xlstmd {

inline constexpr int kGates = 4;  // input, forget, cell input, output
inline constexpr double kStabilizerStart = -1e30;

template <class T>
struct GateRules {
  bool exp_forget;
  T cap;  // of input and forget pre-activations; 0 for none
};

// Weights from `inputs` units of one head to its gates: [heads][unit blocks][inputs][gates][lanes].
template <class T>
class GatePanels {
 public:
  using Input = T;

  // `weights(head, input, gate)` gives the address of the weights to all units.
  template <class Weights>
  GatePanels(int64_t heads, int64_t inputs, int64_t units, const Weights &weights)
      : GatePanels(inputs, units) {
    own_ = Aligned(bytes(heads, inputs, units));
    panels_ = own_.as<T>();
    for (int64_t h = 0; h < heads; h++) fill(h, weights);
  }

  // In memory of somebody else, of `bytes`; each head is to be filled.
  GatePanels(int64_t inputs, int64_t units, T *memory) : GatePanels(inputs, units) {
    panels_ = memory;
  }

  static size_t bytes(int64_t heads, int64_t inputs, int64_t units) {
    return static_cast<size_t>(heads * GatePanels(inputs, units).head_size()) * sizeof(T);
  }

  template <class Weights>
  void fill(int64_t head, const Weights &weights) const {
    for (int64_t k = 0; k < inputs_; k++)
      for (int g = 0; g < kGates; g++) {
        const T *from = weights(head, k, g);
        for (int64_t u = 0; u < units_; u += kLanes<T>) {
          const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, units_ - u));
          store<T>(panels_ + head * head_size() +
                       ((u / kLanes<T> * inputs_ + k) * kGates + g) * kLanes<T>,
                   load_some<T>(from + u, lanes));
        }
      }
  }

  static int64_t padded(int64_t inputs) { return inputs; }
  static void put(Input *to, Vec<T> x, int count) { store_some<T>(to, x, count); }

  // Adds the products of gates `first` … `first + COUNT` for one block of units.
  template <int COUNT, int ROWS>
  void add(Vec<T> (&sums)[ROWS][kGates], int64_t head, int64_t block, const Input *const (&x)[ROWS],
           int first = 0) const {
    const T *from = panels_ + head * head_size() +
                    block * inputs_ * kGates * kLanes<T> + first * kLanes<T>;
    accumulate<T, ROWS, COUNT>(sums, inputs_, x, 1, Columns<T>{from, kGates * kLanes<T>}, first);
  }

 private:
  GatePanels(int64_t inputs, int64_t units)
      : inputs_(inputs), units_(units), blocks_((units + kLanes<T> - 1) / kLanes<T>) {}
  int64_t head_size() const { return blocks_ * inputs_ * kGates * kLanes<T>; }

  int64_t inputs_, units_, blocks_;
  Aligned own_;
  T *panels_ = nullptr;
};

// The same in bfloat16: pairs of inputs, as the dot product of the CPU takes them.
class HalfGatePanels {
 public:
  using Input = uint16_t;

  HalfGatePanels() = default;
  template <class Weights>
  HalfGatePanels(int64_t heads, int64_t inputs, int64_t units, const Weights &weights)
      : pairs_((inputs + 1) / 2), blocks_((units + kLanes<float> - 1) / kLanes<float>) {
    panels_ = Aligned(static_cast<size_t>(heads * head_size()) * 4);
    for (int64_t h = 0; h < heads; h++)
      for (int64_t u = 0; u < units; u++)
        for (int64_t k = 0; k < inputs; k++)
          for (int g = 0; g < kGates; g++) {
            const int64_t word =
                h * head_size() +
                ((u / kLanes<float> * pairs_ + k / 2) * kGates + g) * kLanes<float> +
                u % kLanes<float>;
            panels_.as<uint16_t>()[2 * word + k % 2] = to_bfloat16(weights(h, k, g)[u]);
          }
  }

  static int64_t padded(int64_t inputs) { return (inputs + 1) / 2 * 2; }
  static void put(Input *to, VecF x, int count) { store_bfloat16(to, x, count); }

  template <int COUNT, int ROWS>
  void add(VecF (&sums)[ROWS][kGates], int64_t head, int64_t block, const Input *const (&x)[ROWS],
           int first = 0) const {
    const int32_t *from = panels_.as<int32_t>() + head * head_size() +
                          block * pairs_ * kGates * kLanes<float> + first * kLanes<float>;
    for (int64_t k = 0; k < pairs_; k++) {
      VecI w[COUNT];
      for (int v = 0; v < COUNT; v++)
        std::memcpy(&w[v], from + (k * kGates + v) * kLanes<float>, sizeof(VecI));
      for (int r = 0; r < ROWS; r++) {
        uint32_t pair;
        std::memcpy(&pair, x[r] + 2 * k, sizeof pair);
        for (int v = 0; v < COUNT; v++) sums[r][first + v] = dot2(sums[r][first + v], pair, w[v]);
      }
    }
  }

 private:
  int64_t head_size() const { return blocks_ * pairs_ * kGates * kLanes<float>; }

  int64_t pairs_ = 0, blocks_ = 0;
  Aligned panels_;
};

// One unit block of one row: the memory, and what becomes of it.
template <class T>
struct Cell {
  Vec<T> h, c, n, m;
};

template <class T>
inline Cell<T> cell_step(const GateRules<T> &rules, const Vec<T> (&gates)[kGates], Cell<T> cell) {
  const Vec<T> log_i = capped<T>(gates[0], rules.cap), f = capped<T>(gates[1], rules.cap);
  const Vec<T> carried = (rules.exp_forget ? f : vlogsigmoid(f)) + cell.m;
  // One of the two exponentials is always 1.
  const Vec<T> ahead = carried - log_i, other = vexp(-absolute(ahead)), one = splat<T>(1);
  const Vec<T> keep = pick(ahead < 0, other, one), take = pick(ahead < 0, one, other);
  cell.c = keep * cell.c + take * vtanh(gates[2]);
  cell.n = keep * cell.n + take;
  cell.m = max(carried, log_i);
  cell.h = vsigmoid(gates[3]) * cell.c / pick(cell.n == 0, one, cell.n);
  return cell;
}

// Rows of one head that run through the steps together, with their memory.
template <class T, class Panels>
struct SLSTMRows {
  using Input = typename Panels::Input;

  int64_t head, first, rows, units;  // `first` of these rows in the batch
  T *h, *c, *n, *m;                  // [rows][padded units]
  Input *now, *next;                 // h as the product takes it, before and after the step

  static int64_t padded(int64_t units) {
    return (units + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  }
  static int64_t input_pitch(int64_t units) { return (units + 63) / 64 * 64; }
  static size_t bytes(int64_t rows, int64_t units) {
    return 4 * Pieces::bytes<T>(rows * padded(units)) +
           2 * Pieces::bytes<Input>(rows * input_pitch(units));
  }
  SLSTMRows(Pieces &memory, int64_t head, int64_t first, int64_t rows, int64_t units)
      : head(head), first(first), rows(rows), units(units) {
    for (T **part : {&h, &c, &n, &m}) {
      *part = memory.take<T>(rows * padded(units));
      std::fill_n(*part, rows * padded(units), T(0));
    }
    for (Input **part : {&now, &next}) {
      *part = memory.take<Input>(rows * input_pitch(units));
      std::fill_n(*part, rows * input_pitch(units), Input(0));
    }
  }

  int64_t at(int64_t row) const { return row * padded(units); }

  void clear(int64_t row) const {
    for (T *part : {h, c, n}) std::fill_n(part + at(row), padded(units), T(0));
    std::fill_n(m + at(row), padded(units), T(kStabilizerStart));
    std::fill_n(now + row * input_pitch(units), input_pitch(units), Input(0));
  }

  // Takes a row's memory in, each part `units` numbers.
  void set(int64_t row, const T *h0, const T *c0, const T *n0, const T *m0) const {
    std::copy_n(h0, units, h + at(row));
    std::copy_n(c0, units, c + at(row));
    std::copy_n(n0, units, n + at(row));
    std::copy_n(m0, units, m + at(row));
    for (int64_t u = 0; u < units; u += kLanes<T>)
      Panels::put(now + row * input_pitch(units) + u, load<T>(h + at(row) + u), lanes(u));
  }

  void get(int64_t row, T *h1, T *c1, T *n1, T *m1) const {
    std::copy_n(h + at(row), units, h1);
    std::copy_n(c + at(row), units, c1);
    std::copy_n(n + at(row), units, n1);
    std::copy_n(m + at(row), units, m1);
  }

  int lanes(int64_t unit) const {
    return static_cast<int>(std::min<int64_t>(kLanes<T>, units - unit));
  }

  // One step of all rows.
  //   start(sums, first row, unit): fills pre-activations [ROWS][gates] without the recurrent part
  //   holds(row): whether the row's step is padding
  //   finish(row, unit, gates, cell before, cell after)
  template <class Start, class Holds, class Finish>
  void step(const Panels &recurrent, const GateRules<T> &rules, const Start &start,
            const Holds &holds, const Finish &finish) {
    for (int64_t unit = 0; unit < units; unit += kLanes<T>)
      for (int64_t row = 0; row < rows; row += kTileRows)
        with_rows<kTileRows>(std::min<int64_t>(kTileRows, rows - row), [&](auto count) {
          constexpr int R = decltype(count)::value;
          Vec<T> sums[R][kGates];
          start(sums, row, unit);
          const Input *inputs[R];
          for (int r = 0; r < R; r++) inputs[r] = now + (row + r) * input_pitch(units);
          recurrent.template add<kGates, R>(sums, head, unit / kLanes<T>, inputs);
          for (int r = 0; r < R; r++) {
            const int64_t place = at(row + r) + unit;
            const Cell<T> before{load<T>(h + place), load<T>(c + place), load<T>(n + place),
                                 load<T>(m + place)};
            Cell<T> after = before;
            if (!holds(row + r)) {
              after = cell_step<T>(rules, sums[r], before);
              store<T>(h + place, after.h);
              store<T>(c + place, after.c);
              store<T>(n + place, after.n);
              store<T>(m + place, after.m);
            }
            Panels::put(next + (row + r) * input_pitch(units) + unit, after.h, lanes(unit));
            finish(row + r, unit, sums[r], before, after);
          }
        });
    std::swap(now, next);
  }
};

// How many rows share a task: all, unless that leaves threads without one.
inline int64_t rows_per_task(int64_t rows, int64_t heads, int threads) {
  constexpr int64_t kMost = 64;
  const int64_t wanted = (threads + heads - 1) / heads;
  const int64_t block = std::min(kMost, (rows + wanted - 1) / wanted);
  return std::max<int64_t>(block, 1);
}

}  // namespace xlstmd
#endif
