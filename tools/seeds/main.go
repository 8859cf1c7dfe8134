// Seeds runs a recipe with the seeds 1 to N and writes a table of what came out, one run a line, with the criterion that
// at least eight in ten have to meet.
//
//	seeds [-n 10] [-keep] [-out FILE] PLUMB RECIPE RUNS [FLAG ...]
//
// The runs are RUNS/seeds-1, RUNS/seeds-2, ... They begin anew unless -keep is given. FLAGs go to plumb run. The exit
// status is 1 where too few runs meet the criterion.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// What a run has to reach.
const (
	leastRise  = 0.5  // rise of the gold score, in standard deviations of the SFT policy's
	largestP   = 0.01 // of that rise
	largestKL  = 15.0 // nats
	ofCeiling  = 0.05 // how far the reward model's accuracy may lie below the noise ceiling
	leastShare = 0.8  // of the runs
)

// summary is what is read of a run's summary.json.
type summary struct {
	Reward struct{ Accuracy, Ceiling float64 }
	Proxy  struct{ Before, After float64 }
	Gold   struct {
		Before    float64
		BeforeStd float64 `json:"before_std"`
		After     float64
		P         float64
	}
	KL      float64 `json:"kl"`
	WinRate float64 `json:"win_rate"`
	Seconds float64
}

// rise of the gold score in standard deviations of the SFT policy's gold.
func (s summary) rise() float64 { return (s.Gold.After - s.Gold.Before) / s.Gold.BeforeStd }

func (s summary) improves() bool {
	return s.rise() >= leastRise && s.Gold.P < largestP && s.KL <= largestKL
}

func (s summary) nearCeiling() bool { return s.Reward.Accuracy >= s.Reward.Ceiling-ofCeiling }

func main() {
	n := flag.Int("n", 10, "how many seeds")
	keep := flag.Bool("keep", false, "go on with the runs that are there")
	out := flag.String("out", "", "where the table goes; standard output by default")
	flag.Parse()
	if flag.NArg() < 3 || *n < 1 {
		fmt.Fprintln(os.Stderr, "usage: seeds [-n N] [-keep] [-out FILE] PLUMB RECIPE RUNS [FLAG ...]")
		os.Exit(2)
	}
	text, ok, err := run(flag.Args(), *n, *keep)
	if err == nil && *out != "" {
		if err = os.MkdirAll(filepath.Dir(*out), 0o755); err == nil {
			err = os.WriteFile(*out, []byte(text+after(*out)), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seeds:", err)
		os.Exit(1)
	}
	fmt.Print(text)
	if !ok {
		os.Exit(1)
	}
}

// lastLine ends what is written here.
const lastLine = "KL in nats an answer, between the policy and the SFT policy. An accuracy with * lies further below the ceiling than it should.\n"

// after returns what people wrote below the table of an earlier run.
func after(path string) string {
	old, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(old), lastLine)
	return rest
}

func run(args []string, n int, keep bool) (text string, ok bool, err error) {
	plumb, recipe, runs := args[0], args[1], args[2]
	var all []summary
	for seed := 1; seed <= n; seed++ {
		name := fmt.Sprintf("seeds-%d", seed)
		folder := filepath.Join(runs, name)
		if !keep {
			if err := os.RemoveAll(folder); err != nil {
				return "", false, err
			}
		}
		cmd := exec.Command(plumb, append([]string{"run", recipe, "-q", "--runs", runs, "--run", name, "--seed", strconv.Itoa(seed)}, args[3:]...)...)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", false, fmt.Errorf("seed %d: %w", seed, err)
		}
		s, err := read[summary](filepath.Join(folder, "summary.json"))
		if err != nil {
			return "", false, err
		}
		if s.Gold.BeforeStd <= 0 {
			return "", false, fmt.Errorf("%s/summary.json has no gold.before_std: does the recipe have eval.judge?", folder)
		}
		fmt.Fprintf(os.Stderr, "seed %d: gold %+.2f sd, p %.2g, KL %.2f, accuracy %.3f of %.3f, %.0f s: %s\n",
			seed, s.rise(), s.Gold.P, s.KL, s.Reward.Accuracy, s.Reward.Ceiling, s.Seconds, mark(s.improves()))
		all = append(all, s)
	}
	where, err := machine(filepath.Join(runs, "seeds-1", "ppo", "run.json"))
	if err != nil {
		return "", false, err
	}
	text, ok = table(all, recipe, where)
	return text, ok, nil
}

// read decodes a JSON file.
func read[T any](path string) (v T, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// machine describes where a stage ran, from its manifest.
func machine(path string) (string, error) {
	m, err := read[struct {
		Program string
		Machine struct{ OS, Arch, CPU, Kernels string }
		Timing  struct{ Threads int }
	}](path)
	return fmt.Sprintf("plumb %s, %s/%s, %s, %d threads, kernels %s", m.Program, m.Machine.OS, m.Machine.Arch, m.Machine.CPU, m.Timing.Threads, m.Machine.Kernels), err
}

// table is the result as Markdown, and whether enough runs meet the criterion.
func table(all []summary, recipe, where string) (text string, ok bool) {
	var b strings.Builder
	improved, near := 0, 0
	for _, s := range all {
		if s.improves() {
			improved++
		}
		if s.nearCeiling() {
			near++
		}
	}
	ok = float64(improved) >= leastShare*float64(len(all))
	fmt.Fprintf(&b, "# The tales under %d seeds\n\n", len(all))
	fmt.Fprintf(&b, "`make tales-seeds SEEDS=%d` runs `%s` with seeds 1 to %d and writes this file; the numbers are those of each run's\n`summary.json`. %s.\n\n", len(all), recipe, len(all), where)
	fmt.Fprintf(&b, "A run passes if the gold score, which no stage saw, rises by at least %g standard deviation of the SFT policy's gold\n", leastRise)
	fmt.Fprintf(&b, "(p < %g) at a KL of at most %g nats. At least %g %% of the runs are to pass: **%d of %d do**.\n", largestP, largestKL, 100*leastShare, improved, len(all))
	fmt.Fprintf(&b, "The reward model's accuracy is to lie at most %g below the noise ceiling: it does in **%d of %d**.\n\n", ofCeiling, near, len(all))
	b.WriteString("| seed | accuracy | ceiling | proxy before | after | gold before | sd | after | rise / sd | p | KL | win rate | seconds | passes |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, s := range all {
		fmt.Fprintf(&b, "| %d | %.3f%s | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.2f | %.2g | %.2f | %.3f | %.0f | %s |\n",
			i+1, s.Reward.Accuracy, far(s), s.Reward.Ceiling, s.Proxy.Before, s.Proxy.After, s.Gold.Before, s.Gold.BeforeStd, s.Gold.After,
			s.rise(), s.Gold.P, s.KL, s.WinRate, s.Seconds, mark(s.improves()))
	}
	b.WriteString("\n" + lastLine)
	return b.String(), ok
}

func mark(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

func far(s summary) string {
	if s.nearCeiling() {
		return ""
	}
	return "*"
}
