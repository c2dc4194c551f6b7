// Matrices as products of training take them: as they lie, or rounded to pairs of bfloat16.
#ifndef XLSTMD_OPERAND_H
#define XLSTMD_OPERAND_H

#include "gemm.h"
#include "pool.h"
#include "transpose.h"

namespace xlstmd {

template <class E>
struct Operand {
  const E *at;
  int64_t row;  // distance between rows
};

// How many terms a sum over so many numbers has.
template <class E>
constexpr int64_t terms(int64_t depth) {
  return std::is_same_v<E, Pair> ? (depth + 1) / 2 : depth;
}

namespace detail {

inline VecI rounded_pairs(VecF first, VecF second) {
  typedef uint32_t VecU __attribute__((vector_size(kVectorBytes)));
  const auto rounded = [](VecF x) {
    const VecU bits = reinterpret_cast<VecU>(x);
    const VecU nearest = bits + 0x7fff + ((bits >> 16) & 1);
    return x != x ? bits | 0x400000 : nearest;
  };
  return reinterpret_cast<VecI>(rounded(first) >> 16 | (rounded(second) & 0xffff0000u));
}

}  // namespace detail

// [rows, depth] for sums along its rows. `memory` holds rows * terms(depth), unless it stays as it
// lies.
template <class E, class T = SumOf<E>>
Operand<E> along_rows(int64_t rows, int64_t depth, const T *from, E *memory) {
  if constexpr (std::is_same_v<E, T>) {
    return {from, depth};
  } else {
    const int64_t pitch = terms<E>(depth);
    for (int64_t r = 0; r < rows; r++) {
      if (depth % 2) memory[(r + 1) * pitch - 1] = Pair{0};
      auto *to = reinterpret_cast<uint16_t *>(memory + r * pitch);
      for (int64_t k = 0; k < depth; k += kLanes<T>) {
        const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, depth - k));
        store_bfloat16(to + k, load_some<T>(from + r * depth + k, lanes), lanes);
      }
    }
    return {memory, pitch};
  }
}

// [depth, columns] for sums down its columns. `memory` holds terms(depth) * columns.
template <class E, class T = SumOf<E>>
Operand<E> down_columns(int64_t depth, int64_t columns, const T *from, E *memory) {
  if constexpr (std::is_same_v<E, T>) {
    return {from, columns};
  } else {
    for (int64_t k = 0; k < depth; k += 2)
      for (int64_t c = 0; c < columns; c += kLanes<T>) {
        const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, columns - c));
        const T *first = from + k * columns + c;
        const VecF second = k + 1 < depth ? load_some<T>(first + columns, lanes) : VecF{};
        const VecI pairs = detail::rounded_pairs(load_some<T>(first, lanes), second);
        __builtin_memcpy(memory + k / 2 * columns + c, &pairs,
                         sizeof(Pair) * static_cast<size_t>(lanes));
      }
    return {memory, columns};
  }
}

// Numbers of E that `turned` needs for weights [outputs, inputs].
template <class E>
constexpr int64_t turned_size(int64_t outputs, int64_t inputs) {
  return (std::is_same_v<E, Pair> ? 2 : 1) * terms<E>(inputs) * outputs;
}

// Weights [outputs, inputs] turned on their side, for sums over the inputs.
template <class E, class T = SumOf<E>>
Operand<E> turned(xlstmd_pool &pool, int64_t outputs, int64_t inputs, const T *from, E *memory) {
  constexpr int64_t kOutputs = kPanel<T>;
  pool.run((outputs + kOutputs - 1) / kOutputs, [&](int64_t task, int) {
    const int64_t first = task * kOutputs, count = std::min(kOutputs, outputs - first);
    const T *rows = from + first * inputs;
    if constexpr (std::is_same_v<E, T>) {
      transpose<T>(count, inputs, rows, inputs, memory + first, outputs);
    } else {
      const int64_t pairs = terms<E>(inputs);
      E *halves = memory + pairs * (outputs + first);
      along_rows<E>(count, inputs, rows, halves);
      // A pair moves as one number of the same size.
      transpose<T>(count, pairs, reinterpret_cast<const T *>(halves), pairs,
                   reinterpret_cast<T *>(memory + first), outputs);
    }
  });
  return {memory, outputs};
}

// The same weights as they lie, for sums over the outputs; `memory` holds terms(outputs) * inputs.
template <class E, class T = SumOf<E>>
Operand<E> upright(xlstmd_pool &pool, int64_t outputs, int64_t inputs, const T *from, E *memory) {
  if constexpr (std::is_same_v<E, T>) return {from, inputs};
  constexpr int64_t kOutputs = kPanel<T>;  // even
  pool.run((outputs + kOutputs - 1) / kOutputs, [&](int64_t task, int) {
    const int64_t first = task * kOutputs;
    down_columns<E>(std::min(kOutputs, outputs - first), inputs, from + first * inputs,
                    memory + first / 2 * inputs);
  });
  return {memory, inputs};
}

}  // namespace xlstmd
#endif
