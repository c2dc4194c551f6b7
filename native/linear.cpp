// A linear map whose weights change with every use: forward; its gradients are plain products.
#include "guard.h"
#include "pool.h"
#include "sum_products.h"
#include "transpose.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// y = x W^T + bias. A task turns the weights of one panel of outputs, for as many rows as leave
// every thread a task.
template <class T>
struct Linear {
  int64_t rows, inputs, outputs;
  const T *x, *weight, *bias;
  T *y;

  static constexpr int64_t kRows = 16 * kTileRows;

  size_t bytes() const { return Pieces::bytes<T>((inputs + 1 + kRows) * kPanel<T>); }

  void run(xlstmd_pool &pool) const {
    const int64_t panels = (outputs + kPanel<T> - 1) / kPanel<T>;
    const int64_t wanted = (2 * pool.threads() + panels - 1) / std::max<int64_t>(panels, 1);
    const int64_t most = (rows + kRows - 1) / kRows;
    const int64_t blocks = pool.threads() == 1 ? 1 : std::max<int64_t>(std::min(wanted, most), 1);
    pool.reserve(bytes());
    pool.run(panels * blocks, [&](int64_t task, int thread) {
      const int64_t block = task % blocks, first = block * rows / blocks;
      panel(static_cast<T *>(pool.scratch(thread, bytes())), task / blocks * kPanel<T>, first,
            (block + 1) * rows / blocks);
    });
  }

  void panel(T *memory, int64_t column, int64_t first, int64_t end) const {
    const int64_t columns = std::min<int64_t>(kPanel<T>, outputs - column);
    T *turned = memory, *added = turned + inputs * kPanel<T>, *tile = added + kPanel<T>;
    if (columns < kPanel<T>) std::fill_n(turned, inputs * kPanel<T>, T(0));
    transpose<T>(columns, inputs, weight + column * inputs, inputs, turned, kPanel<T>);
    std::fill_n(added, kPanel<T>, T(0));
    if (bias) std::copy_n(bias + column, columns, added);
    Sum<T> sum;
    sum.start = added;
    const bool whole = columns % kLanes<T> == 0;
    for (int64_t row = first; row < end; row += kRows) {
      const int64_t count = std::min(kRows, end - row);
      sum.first = {{x + row * inputs, inputs, 1}, turned, kPanel<T>, inputs};
      T *to = y + row * outputs + column;
      sum_products<T>(count, columns, sum, whole ? to : tile, whole ? outputs : kPanel<T>);
      for (int64_t r = 0; !whole && r < count; r++)
        std::copy_n(tile + r * kPanel<T>, columns, to + r * outputs);
    }
  }
};

template <class T>
int32_t run(xlstmd_pool *pool, int64_t rows, int64_t inputs, int64_t outputs, const T *x,
            const T *weight, const T *bias, T *y) {
  return guarded([&] {
    const auto lock = pool->enter();
    Linear<T>{rows, inputs, outputs, x, weight, bias, y}.run(*pool);
  });
}

}  // namespace
}  // namespace xlstmd

extern "C" int32_t xlstmd_linear_f32(xlstmd_pool *pool, int64_t rows, int64_t inputs,
                                     int64_t outputs, const float *x, const float *weight,
                                     const float *bias, float *y) {
  return xlstmd::run<float>(pool, rows, inputs, outputs, x, weight, bias, y);
}

extern "C" int32_t xlstmd_linear_f64(xlstmd_pool *pool, int64_t rows, int64_t inputs,
                                     int64_t outputs, const double *x, const double *weight,
                                     const double *bias, double *y) {
  return xlstmd::run<double>(pool, rows, inputs, outputs, x, weight, bias, y);
}
