package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/run"
	"plumb/internal/tensor"
	"plumb/internal/ui"
)

// finding is what one check came to.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, note or bad
	Text  string `json:"text"`
}

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Prove that this build computes right on this machine",
		Long: `Checks, in a few seconds: that every kernel set this CPU has gives the bits of the
definition in Go, that threads, batches and caches change no bit, that gradients
agree with finite differences, and that there is room to write. Exits 1 if not.`,
		Args: args("no arguments", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			var all []finding
			add := func(check, state, text string) {
				all = append(all, finding{check, state, text})
				if !a.json {
					a.printFinding(all[len(all)-1])
				}
			}
			for _, c := range []struct {
				name string
				run  func() (string, error)
			}{
				{"machine", a.doctorMachine},
				{"kernel sets", doctorKernels},
				{"model", doctorModel},
				{"gradients", doctorGradients},
				{"speed", a.doctorSpeed},
				{"run folders", a.doctorRuns},
			} {
				text, err := c.run()
				state := "ok"
				switch {
				case errors.Is(err, errNote):
					state = "note"
				case err != nil:
					state, text = "bad", err.Error()
				}
				add(c.name, state, text)
			}
			if a.json {
				if err := a.printJSON(all); err != nil {
					return err
				}
			}
			for _, f := range all {
				if f.State == "bad" {
					return fmt.Errorf("check %q failed", f.Check)
				}
			}
			return nil
		},
	}
}

// errNote marks a finding that is worth knowing and no fault.
var errNote = errors.New("note")

func (a *app) printFinding(f finding) {
	mark := map[string]string{"ok": a.theme.Good.Render("ok  "), "note": a.theme.Warn.Render("note"), "bad": a.theme.Bad.Render("BAD ")}[f.State]
	fmt.Fprintf(a.out, "%s  %-12s %s\n", mark, f.Check, f.Text)
}

func (a *app) doctorMachine() (string, error) {
	m := run.ThisMachine(kernels.Variant())
	text := fmt.Sprintf("%s; %s/%s, %d cores; plumb %s, %s", m.CPU, m.OS, m.Arch, runtime.NumCPU(), version(), runtime.Version())
	if err := kernels.Err(); err != nil {
		return "", err
	}
	if got := kernels.Available(); len(got) == 1 {
		return text + "; built without C: everything works, slower", errNote
	}
	return text, nil
}

// doctorModel runs a small random model in every way that must give the same bits.
func doctorModel() (string, error) {
	ids, want, err := forward(kernels.NewPool(1), false)
	if err != nil {
		return "", err
	}
	for threads := 2; threads <= max(4, runtime.NumCPU()); threads *= 2 {
		_, got, err := forward(kernels.NewPool(threads), false)
		if err != nil {
			return "", err
		}
		if !slices.Equal(want, got) {
			return "", fmt.Errorf("%d threads give other log-probabilities than one", threads)
		}
	}
	_, got, err := forward(kernels.NewPool(1), true)
	if err != nil {
		return "", err
	}
	if !slices.Equal(want, got) {
		return "", errors.New("decoding token by token gives other log-probabilities than one forward pass")
	}
	return fmt.Sprintf("%d log-probabilities: threads, batches and the cache change no bit", len(ids)*(len(ids[0])-1)), nil
}

func doctorConfig() model.Config {
	return model.Config{
		Vocab: 301, Hidden: 64, Intermediate: 112, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 16,
		MaxPositions: 256, Eps: 1e-5, RopeTheta: 10000, InitStd: 0.2, BOS: -1,
	}
}

func doctorIDs() [][]int32 {
	ids := make([][]int32, 3)
	x := uint32(1)
	for i := range ids {
		for range 70 { // Past the first tile of keys.
			x = x*1664525 + 1013904223
			ids[i] = append(ids[i], int32(x>>8)%301)
		}
	}
	return ids
}

// forward gives the log-probabilities of three sequences: in one batch, or
// each alone and token by token.
func forward(pool *kernels.Pool, cached bool) (ids [][]int32, logps []float32, err error) {
	defer pool.Close()
	m, err := model.NewRandom(doctorConfig(), 7, pool)
	if err != nil {
		return nil, nil, err
	}
	ids = doctorIDs()
	tape := tensor.NewInferenceTape(pool)
	if !cached {
		b := model.Pack(ids...)
		var rows, targets []int32
		for s, seq := range ids {
			for i := 1; i < len(seq); i++ {
				rows, targets = append(rows, b.Starts[s]+int32(i)-1), append(targets, seq[i])
			}
		}
		logp, _ := m.LogProbs(tape, nil, m.Hidden(tape, nil, b), rows, targets, 1)
		return ids, slices.Clone(logp.Data), nil
	}
	d, pages := m.NewDecoder(nil), m.NewPages(kernels.KVFloat32)
	for _, seq := range ids {
		c := pages.NewCache()
		for i := 1; i < len(seq); i++ {
			tape.Reset()
			h := d.Step(tape, []model.Feed{{Cache: c, IDs: seq[i-1 : i]}})
			logp, _ := m.LogProbs(tape, nil, h, []int32{0}, seq[i:i+1], 1)
			logps = append(logps, logp.Data[0])
		}
	}
	return ids, logps, nil
}

// doctorKernels runs the model with every kernel set, against the definition.
func doctorKernels() (string, error) {
	names := kernels.Available()
	var want []float32
	for _, name := range names {
		restore, ok := kernels.Use(name)
		if !ok {
			return "", fmt.Errorf("kernel set %s cannot be used", name)
		}
		_, got, err := forward(kernels.NewPool(2), false)
		restore()
		switch {
		case err != nil:
			return "", err
		case want == nil:
			want = got
		case !slices.Equal(want, got):
			return "", fmt.Errorf("kernel set %s gives other bits than %s", name, names[0])
		}
	}
	return fmt.Sprintf("%s agree to the bit; %s is used", strings.Join(names, ", "), kernels.Variant()), nil
}

// doctorSpeed times the matrix product that training spends its time in.
func (a *app) doctorSpeed() (string, error) {
	const m, n = 128, 512
	x, y := make([]float32, m*n), make([]float32, m*n)
	for i := range x {
		x[i] = float32(i%17) - 8
	}
	w := make([]float32, n*n)
	for i := range w {
		w[i] = float32(i%13) - 6
	}
	packed := kernels.PackF32(w, n, n)
	pool := a.pool()
	best := math.Inf(1)
	for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
		t := time.Now()
		pool.Linear(y, x, m, packed, false)
		best = min(best, time.Since(t).Seconds())
	}
	return fmt.Sprintf("%.3g GFLOP/s in fp32 matrix products", 2*m*n*n/best/1e9), nil
}

func (a *app) doctorRuns() (string, error) {
	dir := a.runs
	for !dirExists(dir) {
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".plumb-doctor-")
	if err != nil {
		return "", fmt.Errorf("cannot write to %s: %w", dir, err)
	}
	os.Remove(f.Name())
	f.Close()
	free, err := run.FreeBytes(dir)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s can be written, %s free", dir, ui.Bytes(free))
	if free < 1<<30 {
		return text + ": little for a run", errNote
	}
	return text, nil
}
