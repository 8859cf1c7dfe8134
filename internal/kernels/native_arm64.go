//go:build cgo

package kernels

// nativeTables returns the C variant of this CPU.
func nativeTables() []*table { return []*table{nativeTable("neon", 0)} }
