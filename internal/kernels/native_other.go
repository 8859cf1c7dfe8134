//go:build !cgo || !(amd64 || arm64)

package kernels

// nativeTables returns no variant: this build has no C compiler, or no C kernels for the CPU.
func nativeTables() []*table { return nil }
