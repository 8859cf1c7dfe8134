// Package kernels is the arithmetic of the engine: matrix products with frozen packed weights, attention,
// normalisation, rotary positions, SwiGLU, log-sum-exp tiles, AdamW; and the few-bit forms of a frozen matrix, NF4 and blockwise
// int8 (Dettmers et al. 2022, 2023), decoded tile by tile where they are multiplied. In go slices of float32, out go slices of
// float32; nothing is allocated in the steady state, nothing is logged.
//
// Every operation has one definition in Go (the *_generic.go files: documentation, test oracle and fallback)
// and C kernels behind it for AVX2+FMA, AVX-512 and NEON, chosen once at start by CPU features. The environment
// variable PLUMB_KERNELS=generic|avx2|avx512|neon overrides the choice. Without cgo, or on another CPU, the definition
// itself runs.
//
// # The bit rule
//
// Every output element is one fixed chain of operations, whatever the tile, the number of rows computed with it,
// the number of threads or the variant:
//
//   - A GEMM element is acc = fma(a_k, b_k, acc) over k ascending with one accumulator, starting at +0 or, when
//     accumulating, at the old value. K blocks continue the chain through memory.
//   - A reduction (norms, softmax sums) keeps 16 lanes, element i in lane i mod 16, then adds lanes l and l+8,
//     l+4, l+2, l+1. The tail is padded with zeros.
//   - Attention visits keys in tiles that start at the absolute positions 0, 64, 128, ... of the sequence, so a
//     query row's result depends neither on the other queries nor on whether K and V come from a cache.
//     Log-sum-exp over the vocabulary visits tiles that start at 0, VocabTile, 2·VocabTile, ...
//   - exp, log and the rest are fixed sequences of fma, +, −, ·, / and sqrt, each correctly rounded.
//
// So generic, avx2 and avx512 give the same bits (payloads and signs of NaN excepted). No reduction is split across
// threads: threads take disjoint output tiles.
//
// Shapes are checked here and panic with a constant message: a mismatch is a mistake of the program, not of its
// input. Slices may be longer than their shape. Outputs must not overlap inputs unless the operation says so.
package kernels
