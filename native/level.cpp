// What this library is: the build defines XLSTMD_LEVEL, one library for each.
#include "xlstmd_native.h"

extern "C" int32_t xlstmd_abi_version(void) { return 3; }

extern "C" const char *xlstmd_built_for(void) { return XLSTMD_LEVEL; }
