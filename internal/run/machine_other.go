//go:build !darwin

package run

func cpuName() string {
	if name := cpuInfo(); name != "" {
		return name
	}
	return "unknown"
}
