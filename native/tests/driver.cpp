// Compares the native library with golden numbers; sanitizers, valgrind and emulators run it.
//
//   driver FOLDER [--verbose]     checks every kernel against the files of FOLDER
//   driver --random SEED TIMES    runs every kernel at shapes decided by SEED and those after it
//   driver --level                names the instruction level of the kernels
//   driver --benches              names the kernels that can be counted
//   driver --bench NAME           runs one of them
#include "cases.h"

namespace xlstmd_test {
namespace {

struct File {
  const char *name;
  Check check;
};

constexpr File kFiles[] = {
    {"map", check_map},
    {"matrix", check_matrix},
    {"gemm", check_gemm},
    {"slstm", check_slstm},
    {"mlstm", check_mlstm},
    {"conv", check_conv},
    {"two_layer_map", check_two_layer_map},
    {"backbone", check_backbone},
};

// Alone, in a pair, and with more threads than there is often work for.
constexpr int kThreads[] = {1, 2, 5};

int ended(const Checks &checks) {
  std::printf("%s: %d of %d checks failed\n", xlstmd_built_for(), checks.failures(), checks.made());
  return checks.failures() == 0 ? 0 : 1;
}

int check_all(const std::string &folder, bool verbose) {
  Checks checks;
  checks.verbose = verbose;
  for (const int threads : kThreads) {
    xlstmd_pool *pool = xlstmd_pool_create(threads);
    for (const File &file : kFiles)
      for (const Case &c : read_golden(folder + "/" + file.name + ".bin"))
        file.check(checks, pool, c);
    xlstmd_pool_destroy(pool);
  }
  return ended(checks);
}

int check_shapes(uint64_t first, int times) {
  Checks checks;
  for (const int threads : kThreads) {
    for (int i = 0; i < times; i++) check_random(checks, threads, first + static_cast<uint64_t>(i));
  }
  return ended(checks);
}

int main(const std::vector<std::string> &words) {
  const auto is = [&](size_t count, const char *first) {
    return words.size() == count && words[0] == first;
  };
  if (is(1, "--level")) return std::printf("%s\n", xlstmd_built_for()) < 0;
  if (is(1, "--benches")) {
    for (const std::string &name : bench_names()) std::printf("%s\n", name.c_str());
    return 0;
  }
  if (is(2, "--bench")) {
    if (run_bench(words[1])) return 0;
    std::fprintf(stderr, "no bench of that name; --benches lists them\n");
    return 2;
  }
  if (is(3, "--random")) return check_shapes(std::stoull(words[1]), std::stoi(words[2]));
  const bool verbose = words.size() == 2 && words[1] == "--verbose";
  if (words.size() == 1 || verbose) return check_all(words[0], verbose);
  std::fprintf(stderr, "usage: see the top of driver.cpp\n");
  return 2;
}

}  // namespace
}  // namespace xlstmd_test

int main(int count, char **words) {
  try {
    return xlstmd_test::main({words + 1, words + count});
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
