// What the driver checks, one function for each file of golden numbers.
#ifndef XLSTMD_CASES_H
#define XLSTMD_CASES_H

#include "../xlstmd_native.h"
#include "checks.h"
#include "golden.h"

namespace xlstmd_test {

// A result of float32 arithmetic, and one of float64 compared with a stored float32.
template <class T>
inline constexpr double kTolerance = sizeof(T) == 4 ? 1e-5 : 2e-7;

template <class T>
inline const char *kKind = sizeof(T) == 4 ? " f32" : " f64";

// Arrays that the library takes together, stored as `<prefix>_<name>` each.
template <class T>
class Parts {
 public:
  static Parts stored(const Case &c, const std::string &prefix,
                      const std::vector<std::string> &names) {
    Parts parts;
    for (const std::string &name : names) {
      parts.names_.push_back(name);
      parts.arrays_.push_back(c.numbers<T>(prefix + "_" + name));
    }
    parts.point();
    return parts;
  }
  // Of the same sizes, to be written.
  Parts unwritten_like() const {
    Parts parts;
    parts.names_ = names_;
    for (const auto &array : arrays_) parts.arrays_.push_back(unwritten<T>(array.size()));
    parts.point();
    return parts;
  }
  Parts(Parts &&) = default;

  const T *const *read() const { return places_.data(); }
  T *const *write() { return places_.data(); }
  void near(Checks &checks, const std::string &what, const Parts &want, double limit) const {
    for (size_t i = 0; i < arrays_.size(); i++)
      checks.near(what + " " + names_[i], arrays_[i], want.arrays_[i], limit);
  }

 private:
  Parts() = default;
  void point() {
    for (auto &array : arrays_) places_.push_back(array.data());
  }

  std::vector<std::string> names_;
  std::vector<std::vector<T>> arrays_;
  std::vector<T *> places_;
};

// The functions that come in both precisions.
template <class T>
struct Native;
template <>
struct Native<float> {
  static constexpr auto slstm_saved = xlstmd_slstm_saved_f32;
  static constexpr auto slstm_forward = xlstmd_slstm_forward_f32;
  static constexpr auto slstm_backward = xlstmd_slstm_backward_f32;
  static constexpr auto mlstm_saved = xlstmd_mlstm_saved_f32;
  static constexpr auto mlstm_forward = xlstmd_mlstm_forward_f32;
  static constexpr auto mlstm_backward = xlstmd_mlstm_backward_f32;
  static constexpr auto conv_forward = xlstmd_conv_forward_f32;
  static constexpr auto conv_backward = xlstmd_conv_backward_f32;
  static constexpr auto linear_forward = xlstmd_linear_forward_f32;
  static constexpr auto linear_backward = xlstmd_linear_backward_f32;
  static constexpr auto headwise_forward = xlstmd_headwise_forward_f32;
  static constexpr auto headwise_backward = xlstmd_headwise_backward_f32;
  static constexpr auto norm_forward = xlstmd_norm_forward_f32;
  static constexpr auto norm_backward = xlstmd_norm_backward_f32;
  static constexpr auto feedforward_forward = xlstmd_feedforward_forward_f32;
  static constexpr auto feedforward_backward = xlstmd_feedforward_backward_f32;
};
template <>
struct Native<double> {
  static constexpr auto slstm_saved = xlstmd_slstm_saved_f64;
  static constexpr auto slstm_forward = xlstmd_slstm_forward_f64;
  static constexpr auto slstm_backward = xlstmd_slstm_backward_f64;
  static constexpr auto mlstm_saved = xlstmd_mlstm_saved_f64;
  static constexpr auto mlstm_forward = xlstmd_mlstm_forward_f64;
  static constexpr auto mlstm_backward = xlstmd_mlstm_backward_f64;
  static constexpr auto conv_forward = xlstmd_conv_forward_f64;
  static constexpr auto conv_backward = xlstmd_conv_backward_f64;
  static constexpr auto linear_forward = xlstmd_linear_forward_f64;
  static constexpr auto linear_backward = xlstmd_linear_backward_f64;
  static constexpr auto headwise_forward = xlstmd_headwise_forward_f64;
  static constexpr auto headwise_backward = xlstmd_headwise_backward_f64;
  static constexpr auto norm_forward = xlstmd_norm_forward_f64;
  static constexpr auto norm_backward = xlstmd_norm_backward_f64;
  static constexpr auto feedforward_forward = xlstmd_feedforward_forward_f64;
  static constexpr auto feedforward_backward = xlstmd_feedforward_backward_f64;
};

using Check = void (*)(Checks &, xlstmd_pool *, const Case &);

void check_map(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_matrix(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_gemm(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_two_layer_map(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_slstm(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_mlstm(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_conv(Checks &checks, xlstmd_pool *pool, const Case &c);
void check_backbone(Checks &checks, xlstmd_pool *pool, const Case &c);

// Runs every kernel once at shapes that the seed decides.
void check_random(Checks &checks, int threads, uint64_t seed);

// Runs one kernel for counting; false if no kernel has that name.
bool run_bench(const std::string &name);
std::vector<std::string> bench_names();

}  // namespace xlstmd_test
#endif
