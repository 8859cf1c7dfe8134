package run

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// The peak is this program's own: a program that a large one started does not begin with the other's.
func TestPeakIsOfThisProgram(t *testing.T) {
	if os.Getenv("PLUMB_TEST_PEAK") != "" {
		fmt.Printf("peak %g now %d\n", PeakMiB(), ResidentBytes()>>20)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("the system's account is Linux's")
	}
	large := make([]byte, 256<<20)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	if p := PeakMiB(); p < 256 {
		t.Errorf("a peak of %g MiB with 256 in use", p)
	}
	if n := ResidentBytes() >> 20; n < 256 {
		t.Errorf("%d MiB resident with 256 in use", n)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPeakIsOfThisProgram$")
	cmd.Env = append(os.Environ(), "PLUMB_TEST_PEAK=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var peak float64
	var now int
	_, line, _ := strings.Cut(string(out), "peak ")
	if _, err := fmt.Sscanf(line, "%g now %d", &peak, &now); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if peak < 1 || peak > 200 || now < 1 || now > 200 {
		t.Errorf("started by a program of 256 MiB: a peak of %g MiB, %d now", peak, now)
	}
	runtime.KeepAlive(large)
}
