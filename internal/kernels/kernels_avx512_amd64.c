// The kernels for AVX-512 F, BW, DQ and VL: Intel servers since Skylake-SP (2017), AMD since Zen 4 (2022).
#include "simd_avx512.h"

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
