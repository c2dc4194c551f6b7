// Compares the native library with golden numbers; sanitizers, valgrind and emulators run it.
//
//   driver FOLDER [--verbose]     checks every kernel against the files of FOLDER
//   driver --benches              names the kernels that can be counted
//   driver --bench NAME [TIMES]   runs one of them
#include <cstdlib>

#include "cases.h"

namespace xlstmd_test {
namespace {

struct File {
  const char *name;
  Check check;
};

constexpr File kFiles[] = {
    {"map", check_map},       {"matrix", check_matrix}, {"gemm", check_gemm},
    {"slstm", check_slstm},   {"mlstm", check_mlstm},   {"conv", check_conv},
    {"two_layer_map", check_two_layer_map},             {"backbone", check_backbone},
};

// Alone, in a pair, and with more threads than there is often work for.
constexpr int kThreads[] = {1, 2, 5};

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
  std::printf("%s: %d of %d checks failed\n", xlstmd_built_for(), checks.failures(), checks.made());
  return checks.failures() == 0 ? 0 : 1;
}

int main(const std::vector<std::string> &words) {
  if (words.empty()) {
    std::fprintf(stderr, "usage: driver FOLDER [--verbose] | --benches | --bench NAME [TIMES]\n");
    return 2;
  }
  if (words[0] == "--benches") {
    for (const std::string &name : bench_names()) std::printf("%s\n", name.c_str());
    return 0;
  }
  if (words[0] != "--bench") return check_all(words[0], words.size() > 1);
  const int times = words.size() > 2 ? std::atoi(words[2].c_str()) : 1;
  if (words.size() > 1 && run_bench(words[1], times)) return 0;
  std::fprintf(stderr, "no bench of that name; --benches lists them\n");
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
