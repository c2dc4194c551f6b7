// Stored problems with their results: named arrays, as `make_native_golden.py` writes them.
#ifndef XLSTMD_GOLDEN_H
#define XLSTMD_GOLDEN_H

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace xlstmd_test {

// One array: `kind` is f (float), i (int64_t) or b (byte).
struct Array {
  char kind = 0;
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  int64_t count() const;
};

// The arrays of one problem.
class Case {
 public:
  Case() = default;
  explicit Case(std::string name) : name_(std::move(name)) {}

  const std::string &name() const { return name_; }
  void add(const std::string &name, Array array) { arrays_[name] = std::move(array); }
  bool has(const std::string &name) const { return arrays_.count(name) > 0; }
  const std::vector<int64_t> &shape(const std::string &name) const { return at(name, 0).shape; }
  int64_t integer(const std::string &name) const { return elements<int64_t>(name, 'i').at(0); }
  double real(const std::string &name) const { return elements<float>(name, 'f').at(0); }
  std::vector<int64_t> integers(const std::string &name) const {
    return elements<int64_t>(name, 'i');
  }
  // Numbers as T, whatever they are stored as.
  template <class T>
  std::vector<T> numbers(const std::string &name) const {
    const std::vector<float> stored = elements<float>(name, 'f');
    return std::vector<T>(stored.begin(), stored.end());
  }
  // Empty where there is none.
  std::vector<uint8_t> mask(const std::string &name) const {
    return has(name) ? elements<uint8_t>(name, 'b') : std::vector<uint8_t>();
  }

 private:
  const Array &at(const std::string &name, char kind) const;
  template <class T>
  std::vector<T> elements(const std::string &name, char kind) const {
    const Array &array = at(name, kind);
    std::vector<T> numbers(static_cast<size_t>(array.count()));
    if (!numbers.empty()) std::memcpy(numbers.data(), array.bytes.data(), array.bytes.size());
    return numbers;
  }

  std::string name_;
  std::map<std::string, Array> arrays_;
};

// All problems of one file, by name. Throws std::runtime_error if it cannot be read.
std::vector<Case> read_golden(const std::string &path);

// A null pointer for an empty mask, as the library takes it.
inline const uint8_t *or_null(const std::vector<uint8_t> &mask) {
  return mask.empty() ? nullptr : mask.data();
}

}  // namespace xlstmd_test
#endif
