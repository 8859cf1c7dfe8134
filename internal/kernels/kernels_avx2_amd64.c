// The kernels for AVX2 and FMA: Intel since Haswell (2013), AMD since Excavator (2015).
#include "simd_avx2.h"

#include "kernels.h"

#include "gemm.h"

#include "exp.h"

#include "elementwise.h"

#include "rows.h"

#include "attention.h"

#include "attention_backward.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
