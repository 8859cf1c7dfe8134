// The kernels for NEON, which every 64-bit ARM has.
#include "simd_neon.h"

#include "kernels.h"

#include "gemm.h"

#include "exp.h"

#include "elementwise.h"

#include "rows.h"

#include "attention.h"

#include "attention_backward.h"
