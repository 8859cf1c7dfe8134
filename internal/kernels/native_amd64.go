//go:build cgo

package kernels

import "golang.org/x/sys/cpu"

// nativeTables returns the C variants that this CPU can run, the best last.
func nativeTables() []*table {
	var t []*table
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		t = append(t, nativeTable("avx2", 2))
	}
	if len(t) > 0 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		t = append(t, nativeTable("avx512", 512))
	}
	return t
}
