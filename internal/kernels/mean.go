package kernels

import "math/bits"

// torchLanes is the width of the vectors that torch adds with where the reference values were computed.
const torchLanes = 8

// torchMean returns the mean of x in float32 with the order of additions of torch.mean on one thread (ATen's cascade sum),
// because the last bit of the offset of double quantisation, and through it every scale, depends on it. Vector i goes to
// chain i mod 4; a chain's sum is carried to the next of four levels after every 16 vectors (2^(log2(n)/4), if that is more).
func torchMean(x []float32) float32 {
	vectors := len(x) / torchLanes
	var sum [torchLanes]float32
	for lane := range sum {
		sum[lane] = torchChains(func(i int) float32 { return x[i*torchLanes+lane] }, vectors)
	}
	total := float32(0)
	for _, v := range x[vectors*torchLanes:] {
		total += v
	}
	for _, v := range sum {
		total += v
	}
	return total / float32(len(x))
}

// torchChains adds at(0..n-1).
func torchChains(at func(i int) float32, n int) float32 {
	const chains, levels = 4, 4
	size := n / chains
	power := 4
	if size > 1 {
		power = max(power, bits.Len(uint(size-1))/levels)
	}
	step := 1 << power
	var acc [levels][chains]float32
	add := func(i int) {
		for k := range chains {
			acc[0][k] += at(i*chains + k)
		}
	}
	i := 0
	for i+step <= size {
		for range step {
			add(i)
			i++
		}
		for l := 1; l < levels; l++ {
			for k := range chains {
				acc[l][k] += acc[l-1][k]
				acc[l-1][k] = 0
			}
			if i&((step-1)<<(l*power)) != 0 {
				break
			}
		}
	}
	for ; i < size; i++ {
		add(i)
	}
	for l := 1; l < levels; l++ {
		for k := range chains {
			acc[0][k] += acc[l][k]
		}
	}
	for i := size * chains; i < n; i++ {
		acc[0][0] += at(i)
	}
	for k := 1; k < chains; k++ {
		acc[0][0] += acc[0][k]
	}
	return acc[0][0]
}
