// Entry points of the kernels, once for each instruction set. The contracts are in the headers that define them.
#include <stdint.h>

#define DECLARE(isa)                                                                                                     \
	void gemm_##isa(float *c, long ldc, const float *a, long rs, long cs, const float *bf, const uint16_t *bh, long ldb, \
			int kind, long n, long k, int acc, long i0, long i1, long p0, long p1, long kc, float *scratch);

DECLARE(avx2)
DECLARE(avx512)
