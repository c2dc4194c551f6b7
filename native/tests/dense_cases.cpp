// Functions of single numbers, and dense products.
#include "cases.h"

namespace xlstmd_test {
namespace {

struct Format {
  const char *name;
  int32_t precision;
  double limit;  // of the error, by the output's spread
};

constexpr Format kFormats[] = {{"float32", XLSTMD_FLOAT32, 1e-5},
                               {"bfloat16", XLSTMD_BFLOAT16, 4e-2},
                               {"int8", XLSTMD_INT8, 5e-2}};

// Below the smallest normal number a result has fewer digits.
constexpr double kSmallest = 1.2e-38;

double worst_of(const std::vector<float> &got, const std::vector<float> &want) {
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); i++) {
    if (got[i] == want[i] || (got[i] != got[i] && want[i] != want[i])) continue;
    const double apart = std::fabs(double(got[i]) - want[i]);
    worst = std::fmax(worst, apart / std::fmax(std::fabs(double(want[i])), kSmallest));
    if (apart != apart) worst = INFINITY;
  }
  return worst;
}

template <class T>
std::vector<T> transposed(const std::vector<T> &from, int64_t rows, int64_t columns) {
  std::vector<T> to(from.size());
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
  return to;
}

template <class T, class Product>
void check_gemm_of(Checks &checks, const Case &c, const Product &product) {
  const int64_t m = c.shape("a")[0], k = c.shape("a")[1], n = c.shape("b")[1];
  const auto a = c.numbers<T>("a"), b = c.numbers<T>("b"), want = c.numbers<T>("c");
  const auto a_columns = transposed(a, m, k);
  auto got = unwritten<T>(want.size());
  const std::string name = "gemm " + c.name() + kKind<T>;
  checks.status(name, product(m, n, k, a.data(), k, 1, b.data(), got.data()));
  checks.near(name, got, want, kTolerance<T> * static_cast<double>(k));
  got = unwritten<T>(want.size());
  checks.status(name, product(m, n, k, a_columns.data(), 1, m, b.data(), got.data()));
  checks.near(name + " by columns", got, want, kTolerance<T> * static_cast<double>(k));
}

template <class T>
void check_linear(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const int64_t outputs = c.shape("weights")[0], inputs = c.shape("weights")[1];
  const auto weights = c.numbers<T>("weights"), x = c.numbers<T>("x"), want = c.numbers<T>("y");
  const auto bias = c.numbers<T>("bias");
  auto got = unwritten<T>(want.size());
  const std::string name = "linear " + c.name() + kKind<T>;
  const xlstmd_linear_problem p{c.shape("x")[0], inputs, outputs, XLSTMD_FLOAT32};
  checks.status(name, Native<T>::linear_forward(pool, &p, x.data(), weights.data(), bias.data(),
                                                got.data()));
  checks.near(name, got, want, kTolerance<T> * static_cast<double>(inputs));
}

}  // namespace

// Each function at all lengths, so that every remainder of a vector is met.
void check_map(Checks &checks, xlstmd_pool *, const Case &c) {
  const auto x = c.numbers<float>("x"), want = c.numbers<float>("y");
  const int32_t function = static_cast<int32_t>(c.integer("function"));
  auto got = unwritten<float>(x.size());
  xlstmd_map_f32(function, static_cast<int64_t>(x.size()), x.data(), got.data());
  checks.report("map " + c.name(), worst_of(got, want), c.real("tolerance"));
  for (size_t count = 0; count < 40 && count < x.size(); count++) {
    std::vector<float> place(x.end() - static_cast<std::ptrdiff_t>(count), x.end());
    xlstmd_map_f32(function, static_cast<int64_t>(count), place.data(), place.data());
    checks.same("map " + c.name() + " in place", place,
                {got.end() - static_cast<std::ptrdiff_t>(count), got.end()});
  }
}

void check_matrix(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const int64_t outputs = c.shape("weights")[0], inputs = c.shape("weights")[1];
  const int64_t rows = c.shape("x")[0];
  const auto weights = c.numbers<float>("weights"), x = c.numbers<float>("x");
  const auto bias = c.numbers<float>("bias"), want = c.numbers<float>("y");
  for (const Format &format : kFormats) {
    xlstmd_matrix *matrix = xlstmd_matrix_create(outputs, inputs, weights.data(), format.precision);
    auto got = unwritten<float>(want.size());
    const std::string name = "matrix " + c.name() + " " + format.name;
    checks.status(name,
                  xlstmd_matrix_product(pool, matrix, rows, x.data(), bias.data(), got.data()));
    checks.near_by_spread(name, got, want, format.limit);
    auto alone = unwritten<float>(want.size());
    for (int64_t r = 0; r < rows; r++)
      xlstmd_matrix_product(pool, matrix, 1, x.data() + r * inputs, bias.data(),
                            alone.data() + r * outputs);
    checks.same(name + " row by row", alone, got);
    auto plain = unwritten<float>(want.size());
    xlstmd_matrix_product(pool, matrix, rows, x.data(), nullptr, plain.data());
    for (size_t i = 0; i < plain.size(); i++) plain[i] += bias[i % bias.size()];
    checks.near(name + " without bias", plain, got, 1e-6);
    xlstmd_matrix_destroy(matrix);
  }
  check_linear<float>(checks, pool, c);
  check_linear<double>(checks, pool, c);
}

void check_gemm(Checks &checks, xlstmd_pool *pool, const Case &c) {
  check_gemm_of<float>(checks, c, [pool](auto... rest) { return xlstmd_gemm_f32(pool, rest...); });
  check_gemm_of<double>(checks, c, [pool](auto... rest) { return xlstmd_gemm_f64(pool, rest...); });
}

void check_two_layer_map(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const int64_t hidden = c.shape("up")[0], inputs = c.shape("up")[1];
  const int64_t outputs = c.shape("down")[0], rows = c.shape("x")[0];
  const auto up = c.numbers<float>("up"), up_bias = c.numbers<float>("up_bias");
  const auto down = c.numbers<float>("down"), down_bias = c.numbers<float>("down_bias");
  const auto skip = c.numbers<float>("skip"), x = c.numbers<float>("x");
  const auto skip_bias = c.has("skip_bias") ? c.numbers<float>("skip_bias") : std::vector<float>();
  const auto want = c.numbers<float>("y");
  for (const Format &format : kFormats) {
    xlstmd_two_layer_map *map = xlstmd_two_layer_map_create(
        inputs, hidden, outputs, up.data(), up_bias.data(), down.data(), down_bias.data(),
        skip.data(), skip_bias.empty() ? nullptr : skip_bias.data(),
        static_cast<int32_t>(c.integer("activation")), format.precision);
    auto got = unwritten<float>(want.size());
    const std::string name = "two-layer map " + c.name() + " " + format.name;
    checks.status(name, xlstmd_two_layer_map_run(pool, map, rows, x.data(), got.data()));
    checks.near_by_spread(name, got, want, format.limit);
    xlstmd_two_layer_map_destroy(map);
  }
}

}  // namespace xlstmd_test
