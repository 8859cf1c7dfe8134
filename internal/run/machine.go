package run

import (
	"os"
	"runtime"
	"strings"
)

// ThisMachine describes where the program runs; kernels is the set in use.
func ThisMachine(kernels string) Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: cpuName(), Kernels: kernels}
}

// cpuInfo is the processor's name in Linux's /proc/cpuinfo, or "".
func cpuInfo() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(data), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
