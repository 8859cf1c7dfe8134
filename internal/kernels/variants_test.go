package kernels

import (
	"math"
	"testing"
	"unsafe"
)

// eachVariant runs f under every variant the CPU has, the definition first.
func eachVariant(t *testing.T, f func(t *testing.T)) {
	for _, v := range Available() {
		t.Run(v, func(t *testing.T) {
			restore, ok := Use(v)
			if !ok {
				t.Fatalf("variant %s is listed but not usable", v)
			}
			defer restore()
			f(t)
		})
	}
}

// guarded returns n floats that start shift floats past a multiple of 64 bytes, between guard words, all NaN; check
// reports whether a guard was overwritten.
func guarded(t *testing.T, n, shift int) (x []float32, check func(what string)) {
	const pad = 32
	all := alignedFloats(n + 2*pad + 16)
	nan := math.Float32frombits(0x7fc0beef)
	for i := range all {
		all[i] = nan
	}
	x = all[pad+shift : pad+shift+n : pad+shift+n]
	if uintptr(unsafe.Pointer(&all[0]))%64 != 0 {
		t.Fatal("scratch is not aligned")
	}
	return x, func(what string) {
		t.Helper()
		for i, v := range all {
			inside := i >= pad+shift && i < pad+shift+n
			if !inside && math.Float32bits(v) != 0x7fc0beef {
				t.Fatalf("%s: wrote at %d of a slice of %d", what, i-pad-shift, n)
			}
			if inside && math.Float32bits(v) == 0x7fc0beef {
				t.Fatalf("%s: element %d of %d never written", what, i-pad-shift, n)
			}
		}
	}
}

// guardedCopy is guarded with content.
func guardedCopy(t *testing.T, src []float32, shift int) ([]float32, func(string)) {
	x, check := guarded(t, len(src), shift)
	copy(x, src)
	return x, check
}

// sameBits fails unless got and want agree bit for bit; any NaN equals any NaN.
func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d is %x (%v), want %x (%v)", what, i, got[i], got[i], want[i], want[i])
		}
	}
}

// definition runs f under the generic variant.
func definition(f func()) {
	restore, _ := Use("generic")
	defer restore()
	f()
}
