// No exception crosses the C interface: what can go wrong is a status.
#ifndef XLSTMD_GUARD_H
#define XLSTMD_GUARD_H

#include <cstdint>
#include <new>

namespace xlstmd {

inline constexpr int32_t kDone = 0, kNoMemory = 1, kBadSlots = 2;

template <class F>
int32_t guarded(const F &body) {
  try {
    body();
    return kDone;
  } catch (const std::bad_alloc &) {
    return kNoMemory;
  }
}

template <class F>
auto made(const F &make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

}  // namespace xlstmd
#endif
