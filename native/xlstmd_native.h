/* The C interface of the native library. Plain types only; every call may come from any thread. */
#ifndef XLSTMD_NATIVE_H
#define XLSTMD_NATIVE_H

#include <stdint.h>

#define XLSTMD_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when a function here changes its meaning or its arguments. */
XLSTMD_EXPORT int32_t xlstmd_abi_version(void);

/* The highest instruction level of this processor, for example "x86-64-v4". Never null. */
XLSTMD_EXPORT const char *xlstmd_instruction_level(void);

#ifdef __cplusplus
}
#endif
#endif
