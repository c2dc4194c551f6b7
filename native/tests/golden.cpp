#include "golden.h"

#include <fstream>

namespace xlstmd_test {
namespace {

constexpr char kMagic[8] = {'x', 'l', 's', 't', 'm', 'd', '0', '1'};
constexpr int kNameBytes = 48;

size_t element_bytes(char kind) { return kind == 'f' ? 4 : kind == 'i' ? 8 : 1; }

template <class T>
T take(std::istream &file) {
  T value;
  if (!file.read(reinterpret_cast<char *>(&value), sizeof value))
    throw std::runtime_error("the file ends too early");
  return value;
}

Array take_array(std::istream &file) {
  Array array;
  array.kind = take<char>(file);
  const int axes = take<uint8_t>(file);
  for (int i = 0; i < axes; i++) array.shape.push_back(take<int64_t>(file));
  array.bytes.resize(static_cast<size_t>(array.count()) * element_bytes(array.kind));
  if (!file.read(array.bytes.data(), static_cast<std::streamsize>(array.bytes.size())))
    throw std::runtime_error("the file ends too early");
  return array;
}

}  // namespace

int64_t Array::count() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

const Array &Case::at(const std::string &name, char kind) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) throw std::runtime_error(name_ + " has no " + name);
  if (kind != 0 && found->second.kind != kind)
    throw std::runtime_error(name_ + ": " + name + " is of kind " + found->second.kind);
  return found->second;
}

// Names are `problem/array`; the arrays of a problem lie together.
std::vector<Case> read_golden(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  char magic[sizeof kMagic];
  if (!file.read(magic, sizeof magic) || std::memcmp(magic, kMagic, sizeof magic) != 0)
    throw std::runtime_error(path + " is no file of golden numbers");
  std::vector<Case> cases;
  char name[kNameBytes];
  while (file.read(name, sizeof name)) {
    name[kNameBytes - 1] = 0;
    const std::string whole(name);
    const size_t cut = whole.find('/');
    if (cut == std::string::npos) throw std::runtime_error(path + ": name without a problem");
    if (cases.empty() || cases.back().name() != whole.substr(0, cut))
      cases.emplace_back(whole.substr(0, cut));
    cases.back().add(whole.substr(cut + 1), take_array(file));
  }
  return cases;
}

}  // namespace xlstmd_test
