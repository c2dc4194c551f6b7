// What this processor can do: decides which level's library is loaded. Built for every processor of
// its kind, so that asking is always safe.
#include "xlstmd_native.h"

namespace {

#if defined(__x86_64__)
// The builtin also asks whether the system keeps the wide registers.
const char *best_level() {
  __builtin_cpu_init();
  const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
                  __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  const bool dots =
      v4 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return dots ? "x86-64-v4-bf16" : v4 ? "x86-64-v4" : v3 ? "x86-64-v3" : v2 ? "x86-64-v2" : "x86-64";
}
#elif defined(__aarch64__)
const char *best_level() { return "aarch64"; }
#else
const char *best_level() { return "generic"; }
#endif

}  // namespace

// The best level whose instructions this processor has. Never null.
extern "C" XLSTMD_EXPORT const char *xlstmd_instruction_level(void);
const char *xlstmd_instruction_level(void) { return best_level(); }
