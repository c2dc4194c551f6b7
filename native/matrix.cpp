#include "matrix.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <utility>

#include "dot.h"
#include "guard.h"
#include "xlstmd_native.h"

namespace xlstmd {

Aligned::Aligned(size_t bytes) : size_((bytes + 63) / 64 * 64) {
  if (size_ == 0) return;
  memory_ = std::aligned_alloc(64, size_);
  if (memory_ == nullptr) throw std::bad_alloc();
  std::memset(memory_, 0, size_);
}
Aligned::~Aligned() { std::free(memory_); }
Aligned::Aligned(Aligned &&other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}
Aligned &Aligned::operator=(Aligned &&other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(size_, other.size_);
  return *this;
}

namespace {

// Terms of the depth that lie side by side in a packed panel.
int64_t group_of(Precision precision) {
  return precision == Precision::float32 ? 1 : precision == Precision::bfloat16 ? 2 : 4;
}

// Inputs beside int8 weights are whole numbers of 15 bits, 128 high + low: the weights' rounding is
// then the only one that counts. The high part carries this much more, because the CPU's product
// takes unsigned bytes on one side.
constexpr int32_t kOffset = 128;
constexpr float kLargest = 16256.0f;  // 127 * 128

// What the product needs of a row beside its bytes lies in front of them; then the high parts, then
// the low ones.
struct RowHead {
  float scale;
  int32_t unused[15];
};
static_assert(sizeof(RowHead) == 64);

int64_t byte_pitch(int64_t inputs) { return (inputs + 63) / 64 * 64; }
int64_t int8_pitch(int64_t inputs) {
  return static_cast<int64_t>(sizeof(RowHead)) + 2 * byte_pitch(inputs);
}
int64_t bfloat16_pitch(int64_t inputs) { return (inputs + 31) / 32 * 32; }

void quantize_row(const float *x, int64_t inputs, char *to) {
  float largest = 0, spoiled = 0;
  for (int64_t k = 0; k < inputs; k++) {
    largest = std::max(largest, std::fabs(x[k]));
    spoiled += 0.0f * x[k];
  }
  std::memset(to, 0, static_cast<size_t>(int8_pitch(inputs)));
  auto *high = reinterpret_cast<uint8_t *>(to + sizeof(RowHead));
  uint8_t *low = high + byte_pitch(inputs);
  // A row that is not finite must stay so, for somebody will look for it.
  reinterpret_cast<RowHead *>(to)->scale = largest / kLargest + spoiled;
  if (!(largest > 0) || spoiled != 0) {
    std::memset(high, kOffset, static_cast<size_t>(inputs));
    return;
  }
  const float inverse = kLargest / largest;
  for (int64_t k = 0; k < inputs; k++) {
    // Above zero, so that cutting off rounds to the nearest: 128 * (high + 128) + low.
    const auto whole = static_cast<int32_t>(x[k] * inverse + (128.0f * kOffset + 0.5f));
    high[k] = static_cast<uint8_t>(whole >> 7);
    low[k] = static_cast<uint8_t>(whole & 127);
  }
}

template <int ROWS, int VECTORS, class From>
void tile_float32(const float *x, int64_t x_row, int64_t depth, const From &panel, float *to) {
  VecF sums[ROWS][VECTORS] = {};
  const float *rows[ROWS];
  for (int r = 0; r < ROWS; r++) rows[r] = x + r * x_row;
  accumulate<float, ROWS, VECTORS>(sums, depth, rows, 1, panel);
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++)
      store<float>(to + r * kPanel<float> + v * kLanes<float>, sums[r][v]);
}

template <int ROWS, int VECTORS>
void tile_bfloat16(const uint16_t *x, int64_t x_row, int64_t pairs, const int32_t *panel,
                   float *to) {
  VecF sums[ROWS][VECTORS] = {};
  for (int64_t k = 0; k < pairs; k++) {
    VecI w[VECTORS];
    for (int v = 0; v < VECTORS; v++)
      std::memcpy(&w[v], panel + k * kPanel<float> + v * kLanes<float>, sizeof(VecI));
    for (int r = 0; r < ROWS; r++) {
      uint32_t pair;
      std::memcpy(&pair, x + r * x_row + 2 * k, sizeof pair);
      for (int v = 0; v < VECTORS; v++) sums[r][v] = dot2(sums[r][v], pair, w[v]);
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++)
      store<float>(to + r * kPanel<float> + v * kLanes<float>, sums[r][v]);
}

// Sums of high and of low parts, rows in turns: [ROWS][2][panel].
template <int ROWS, int VECTORS>
void tile_int8(const char *x, int64_t inputs, int64_t fours, const int32_t *panel, int32_t *to) {
  const char *parts[2 * ROWS];
  for (int r = 0; r < ROWS; r++) {
    parts[2 * r] = x + r * int8_pitch(inputs) + sizeof(RowHead);
    parts[2 * r + 1] = parts[2 * r] + byte_pitch(inputs);
  }
  VecI sums[2 * ROWS][VECTORS] = {};
  for (int64_t k = 0; k < fours; k++) {
    VecI w[VECTORS];
    for (int v = 0; v < VECTORS; v++)
      std::memcpy(&w[v], panel + k * kPanel<float> + v * kLanes<float>, sizeof(VecI));
    for (int r = 0; r < 2 * ROWS; r++) {
      uint32_t four;
      std::memcpy(&four, parts[r] + 4 * k, sizeof four);
      for (int v = 0; v < VECTORS; v++) sums[r][v] = dot4(sums[r][v], four, w[v]);
    }
  }
  for (int r = 0; r < 2 * ROWS; r++)
    for (int v = 0; v < VECTORS; v++)
      std::memcpy(to + r * kPanel<float> + v * kLanes<float>, &sums[r][v], sizeof(VecI));
}

template <class F>
void with_vectors(int64_t columns, const F &f) {
  const int64_t vectors = (columns + kLanes<float> - 1) / kLanes<float>;
  if (vectors <= 1) return f(std::integral_constant<int, 1>{});
  if (vectors == 2) return f(std::integral_constant<int, 2>{});
  f(std::integral_constant<int, kPanelVectors>{});
}

}  // namespace

int64_t Matrix::depth_groups() const {
  const int64_t group = group_of(precision_);
  return (inputs_ + group - 1) / group;
}

int64_t Matrix::panel_words() const {
  constexpr int kMixed = MixedColumns::kShort * kLanes<float> / 2 + MixedColumns::kWide * kLanes<float>;
  return depth_groups() * (mixed_ ? kMixed : kPanel<float>);
}

MixedColumns Matrix::mixed_panel(int64_t panel) const {
  const float *words = packed_.as<float>() + panel * panel_words();
  return {reinterpret_cast<const uint16_t *>(words),
          words + inputs_ * MixedColumns::kShort * kLanes<float> / 2};
}

void Matrix::put_mixed(int64_t output, int64_t input, float weight) {
  constexpr int kShort = MixedColumns::kShort * kLanes<float>;
  constexpr int kWide = MixedColumns::kWide * kLanes<float>;
  float *words = packed_.as<float>() + output / kPanel<float> * panel_words();
  const int64_t lane = output % kPanel<float>;
  if (lane < kShort) {
    reinterpret_cast<uint16_t *>(words)[input * kShort + lane] = to_float16(weight);
  } else {
    words[inputs_ * kShort / 2 + input * kWide + lane - kShort] = weight;
  }
}

Matrix::Matrix(int64_t outputs, int64_t inputs, const float *weights, Precision precision)
    : outputs_(outputs), inputs_(inputs), precision_(precision) {
  mixed_ = kReadsFloat16 && precision == Precision::float32 &&
           std::all_of(weights, weights + outputs * inputs, is_float16);
  const int64_t group = group_of(precision);
  packed_ = Aligned(static_cast<size_t>(panels() * panel_words()) * 4);
  if (precision == Precision::int8) {
    scales_.resize(static_cast<size_t>(panels() * kPanel<float>));
    sums_.resize(scales_.size());
  }
  for (int64_t n = 0; n < outputs; n++) {
    const float *row = weights + n * inputs;
    const int64_t panel = n / kPanel<float>, lane = n % kPanel<float>;
    float largest = 0;
    for (int64_t k = 0; k < inputs; k++) largest = std::max(largest, std::fabs(row[k]));
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    for (int64_t k = 0; k < inputs; k++) {
      const int64_t word = panel * panel_words() + (k / group) * kPanel<float> + lane;
      if (mixed_) {
        put_mixed(n, k, row[k]);
      } else if (precision == Precision::float32) {
        packed_.as<float>()[word] = row[k];
      } else if (precision == Precision::bfloat16) {
        packed_.as<uint16_t>()[2 * word + k % 2] = to_bfloat16(row[k]);
      } else {
        const auto value = static_cast<int8_t>(std::lrintf(row[k] * inverse));
        packed_.as<int8_t>()[4 * word + k % 4] = value;
        sums_[static_cast<size_t>(n)] += value;
      }
    }
    if (precision == Precision::int8) scales_[static_cast<size_t>(n)] = largest / 127.0f;
  }
}

size_t Matrix::prepared_bytes(int64_t rows) const {
  if (precision_ == Precision::float32) return 0;
  const int64_t row = precision_ == Precision::bfloat16 ? 2 * bfloat16_pitch(inputs_)
                                                        : int8_pitch(inputs_);
  return static_cast<size_t>(rows * row);
}

void Matrix::prepare(const float *x, int64_t x_row, int64_t first, int64_t end, void *to) const {
  for (int64_t r = first; r < end; r++) {
    const float *row = x + r * x_row;
    if (precision_ == Precision::int8) {
      quantize_row(row, inputs_, static_cast<char *>(to) + r * int8_pitch(inputs_));
      continue;
    }
    const int64_t pitch = bfloat16_pitch(inputs_);
    auto *halves = static_cast<uint16_t *>(to) + r * pitch;
    for (int64_t k = 0; k < inputs_; k++) halves[k] = to_bfloat16(row[k]);
    std::fill(halves + inputs_, halves + pitch, uint16_t{0});
  }
}

void Matrix::tile(const void *prepared, int64_t x_row, int64_t first, int rows, int64_t panel,
                  float *to) const {
  if (precision_ == Precision::int8) return tile_of_bytes(prepared, first, rows, panel, to);
  const int64_t groups = depth_groups(), columns = outputs_ - panel * kPanel<float>;
  const int32_t *words = packed_.as<int32_t>() + panel * panel_words();
  const float *x = static_cast<const float *>(prepared) + first * x_row;
  with_vectors(columns, [&](auto vectors) {
    with_rows<kTileRows>(rows, [&](auto count) {
      constexpr int R = decltype(count)::value, V = decltype(vectors)::value;
      if (kReadsFloat16 && mixed_) {
        tile_float32<R, V>(x, x_row, groups, mixed_panel(panel), to);
      } else if (precision_ == Precision::float32) {
        const Columns<float> all{reinterpret_cast<const float *>(words), kPanel<float>};
        tile_float32<R, V>(x, x_row, groups, all, to);
      } else {
        const int64_t pitch = bfloat16_pitch(inputs_);
        tile_bfloat16<R, V>(static_cast<const uint16_t *>(prepared) + first * pitch, pitch, groups,
                            words, to);
      }
    });
  });
}

void Matrix::tile_of_bytes(const void *prepared, int64_t first, int rows, int64_t panel,
                           float *to) const {
  // High and low parts take a tile's rows in pairs.
  constexpr int kRows = kTileRows >= 2 ? kTileRows / 2 : 1;
  const int64_t fours = depth_groups(), columns = outputs_ - panel * kPanel<float>;
  const int32_t *words = packed_.as<int32_t>() + panel * fours * kPanel<float>;
  const int width = static_cast<int>(std::min<int64_t>(kPanel<float>, columns));
  for (int row = 0; row < rows; row += kRows) {
    const char *x = static_cast<const char *>(prepared) + (first + row) * int8_pitch(inputs_);
    const int together = std::min(kRows, rows - row);
    alignas(64) int32_t sums[2 * kRows * kPanel<float>];
    with_vectors(columns, [&](auto vectors) {
      with_rows<kRows>(together, [&](auto count) {
        tile_int8<decltype(count)::value, decltype(vectors)::value>(x, inputs_, fours, words, sums);
      });
    });
    for (int r = 0; r < together; r++) {
      const int32_t *high = sums + 2 * r * kPanel<float>, *low = high + kPanel<float>;
      const float scale = reinterpret_cast<const RowHead *>(x + r * int8_pitch(inputs_))->scale;
      float *out = to + (row + r) * kPanel<float>;
      const int32_t *offsets = &sums_[static_cast<size_t>(panel * kPanel<float>)];
      const float *scales = &scales_[static_cast<size_t>(panel * kPanel<float>)];
      for (int c = 0; c < width; c++)
        out[c] = (128.0f * static_cast<float>(high[c] - kOffset * offsets[c]) +
                  static_cast<float>(low[c])) *
                 (scale * scales[c]);
    }
  }
}

}  // namespace xlstmd

using xlstmd::guarded;

extern "C" xlstmd_matrix *xlstmd_matrix_create(int64_t outputs, int64_t inputs,
                                               const float *weights, int32_t precision) {
  return xlstmd::made([&] {
    return new xlstmd_matrix{
        xlstmd::Matrix(outputs, inputs, weights, static_cast<xlstmd::Precision>(precision))};
  });
}

extern "C" void xlstmd_matrix_destroy(xlstmd_matrix *matrix) { delete matrix; }

extern "C" int32_t xlstmd_matrix_product(xlstmd_pool *pool, const xlstmd_matrix *matrix,
                                         int64_t rows, const float *x, const float *bias, float *y) {
  return guarded([&] {
    const auto lock = pool->enter();
    const xlstmd::Matrix &w = matrix->matrix;
    void *memory = pool->shared(w.prepared_bytes(rows));
    xlstmd::product(*pool, w, x, w.inputs(), rows, memory, [&](const xlstmd::Outputs &out) {
      for (int r = 0; r < out.rows; r++) {
        const float *from = out.at + r * xlstmd::kPanel<float>;
        float *to = y + (out.row + r) * w.outputs() + out.column;
        for (int c = 0; c < out.columns; c++) to[c] = bias ? from[c] + bias[out.column + c] : from[c];
      }
    });
  });
}
