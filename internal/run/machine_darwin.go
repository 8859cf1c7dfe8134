package run

import "syscall"

func cpuName() string {
	name, err := syscall.Sysctl("machdep.cpu.brand_string")
	if err != nil {
		return "unknown"
	}
	return name
}
