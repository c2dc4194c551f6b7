// Comparison of results, and what is reported of it.
#ifndef XLSTMD_CHECKS_H
#define XLSTMD_CHECKS_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

namespace xlstmd_test {

class Checks {
 public:
  int failures() const { return failures_; }
  int made() const { return made_; }

  // Every number within `limit` of what is wanted, relative to 1 + its size. NaN fits NaN.
  template <class T>
  void near(const std::string &what, const std::vector<T> &got, const std::vector<T> &want,
            double limit) {
    double worst = got.size() == want.size() ? 0.0 : INFINITY;
    for (size_t i = 0; i < got.size() && i < want.size(); i++)
      worst = std::fmax(worst, distance(got[i], want[i], 1.0 + std::fabs(double(want[i]))));
    report(what, worst, limit);
  }

  // Every number within `limit`, relative to the standard deviation of what is wanted.
  void near_by_spread(const std::string &what, const std::vector<float> &got,
                      const std::vector<float> &want, double limit) {
    double sum = 0.0, squares = 0.0;
    for (const float x : want) sum += x;
    const double mean = sum / static_cast<double>(want.size());
    for (const float x : want) squares += (x - mean) * (x - mean);
    const double spread = std::sqrt(squares / static_cast<double>(want.size()));
    double worst = got.size() == want.size() ? 0.0 : INFINITY;
    for (size_t i = 0; i < got.size() && i < want.size(); i++)
      worst = std::fmax(worst, distance(got[i], want[i], spread));
    report(what, worst, limit);
  }

  // Equal to the last bit.
  void same(const std::string &what, const std::vector<float> &got,
            const std::vector<float> &want) {
    double differing = got.size() == want.size() ? 0.0 : INFINITY;
    for (size_t i = 0; i < got.size() && i < want.size(); i++)
      differing += !(got[i] == want[i] || (got[i] != got[i] && want[i] != want[i]));
    report(what + ", bits", differing, 0.0);
  }

  // What a function says of its call.
  void status(const std::string &what, int32_t got, int32_t want = 0) {
    report(what + ", status", got == want ? 0.0 : 1.0, 0.0);
  }

  void report(const std::string &what, double worst, double limit) {
    made_++;
    const bool fits = worst <= limit;
    failures_ += !fits;
    if (!fits || verbose)
      std::printf("%s %s: %.3g (limit %.3g)\n", fits ? "ok  " : "FAIL", what.c_str(), worst, limit);
  }

  bool verbose = false;

 private:
  static double distance(double got, double want, double size) {
    if (got == want || (got != got && want != want)) return 0.0;
    const double apart = std::fabs(got - want) / size;
    return apart == apart ? apart : INFINITY;
  }

  int failures_ = 0, made_ = 0;
};

// What a result is filled with before the library writes it.
template <class T>
std::vector<T> unwritten(size_t count) {
  return std::vector<T>(count, std::numeric_limits<T>::quiet_NaN());
}

}  // namespace xlstmd_test
#endif
