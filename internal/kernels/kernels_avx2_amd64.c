// The kernels for AVX2 and FMA: Intel since Haswell (2013), AMD since Excavator (2015).
#include "simd_avx2.h"

#include "gemm.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
