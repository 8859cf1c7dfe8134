package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb/internal/golden"
	"plumb/internal/kernels"
)

// exportTo runs plumb export and returns what it printed.
func exportTo(t *testing.T, dir string, args ...string) []exported {
	t.Helper()
	var out, errOut bytes.Buffer
	line := append([]string{"export", "--out", dir, "--json", "-q"}, args...)
	if code := plumb(context.Background(), line, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("plumb %s: exit %d: %s", strings.Join(line, " "), code, errOut.String())
	}
	var x []exported
	if err := json.Unmarshal(out.Bytes(), &x); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	return x
}

// A merged folder holds the weights that PEFT's merge_and_unload gives (tolerance of the set), and what the adapter
// leaves alone has not moved by a bit.
func TestMergedWeightsAreThoseOfPEFT(t *testing.T) {
	for _, name := range []string{"lora-all-linear", "lora-patterns", "lora-rslora", "lora-embedding", "lora-modules-to-save"} {
		t.Run(name, func(t *testing.T) {
			base, adapter := golden.Dir(t, "models/llama"), golden.Dir(t, "peft/"+name)
			dir := filepath.Join(t.TempDir(), "merged")
			x := exportTo(t, dir, base, "--adapter", adapter)
			// Logits of the merged model are allowed 3e-4 from those of base and adapter.
			if len(x) != 1 || x[0].Apart > 3e-4 || x[0].Apart == 0 || x[0].What != "logits" {
				t.Errorf("printed %+v, want a difference of logits up to 3e-4", x)
			}
			got := golden.Tensors(t, filepath.Join(dir, "model.safetensors"))
			before := golden.Tensors(t, filepath.Join(base, "model.safetensors"))
			merged := map[string]bool{}
			for key, want := range golden.Tensors(t, filepath.Join(adapter, "golden.safetensors")) {
				weight, ok := strings.CutPrefix(key, "merged_weight.")
				if !ok {
					continue
				}
				merged[weight] = true
				near(t, weight, got[weight].F, want.F, 2e-6)
			}
			if len(merged) == 0 {
				t.Fatal("the set has no merged weights")
			}
			if merged["model.norm.weight"] || !slices.Equal(got["model.norm.weight"].F, before["model.norm.weight"].F) {
				t.Error("model.norm.weight has moved")
			}
			if len(got) != len(before) {
				t.Errorf("%d tensors, the base has %d", len(got), len(before))
			}
		})
	}
}

// Rounding to another type is what was asked for, and is compared as such.
func TestExportType(t *testing.T) {
	base := golden.Dir(t, "models/llama")
	want := golden.Tensors(t, filepath.Join(base, "model.safetensors"))["model.norm.weight"].F
	for flag, c := range map[string]struct {
		stored, config string
		bits           float64 // of the significand
	}{"f32": {"F32", "float32", 24}, "f16": {"F16", "float16", 11}, "bf16": {"BF16", "bfloat16", 8}} {
		dir := filepath.Join(t.TempDir(), flag)
		exportTo(t, dir, base, "--dtype", flag)
		got := golden.Tensors(t, filepath.Join(dir, "model.safetensors"))["model.norm.weight"]
		if got.DType != c.stored {
			t.Errorf("--dtype %s stores %s", flag, got.DType)
		}
		if got.F != nil { // the independent reader leaves F16 as bytes
			near(t, flag, got.F, want, 4*pow2(-c.bits)) // gains are below 4
		}
		var cfg map[string]any
		if err := readJSON(filepath.Join(dir, "config.json"), &cfg); err != nil || cfg["torch_dtype"] != c.config {
			t.Errorf("--dtype %s: config.json says %v (%v)", flag, cfg["torch_dtype"], err)
		}
	}
}

func pow2(e float64) float64 {
	x := 1.0
	for ; e < 0; e++ {
		x /= 2
	}
	return x
}

// The gain of a reward model is folded into score.weight, in both formats; its bias is kept. Rewards are what they were.
func TestExportRewardModel(t *testing.T) {
	base, set := golden.Dir(t, "models/llama"), golden.Dir(t, "peft/reward-llama")
	const gain, bias = 2.5, -0.75
	adapter := filepath.Join(t.TempDir(), "adapter")
	if err := os.CopyFS(adapter, os.DirFS(set)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(adapter, "plumb.json"), []byte(`{"gain": 2.5, "bias": -0.75}`), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	x := exportTo(t, out, base, "--adapter", adapter, "--format", "merged,peft")
	for _, e := range x {
		if e.What != "scores" || e.Gain != gain || e.Bias != bias || e.Apart > 1e-4 {
			t.Errorf("printed %+v", e)
		}
	}
	ref := golden.Tensors(t, filepath.Join(set, "golden.safetensors"))
	head := golden.Tensors(t, filepath.Join(set, "adapter_model.safetensors"))["base_model.model.score.weight"].F
	folded := make([]float32, len(head))
	for i, w := range head {
		folded[i] = 2.5 * w // exact in float32: rounded once
	}
	merged := golden.Tensors(t, filepath.Join(out, "merged", "model.safetensors"))
	if got := merged["score.weight"].F; !slices.Equal(got, folded) {
		t.Errorf("merged score.weight is %v, want %v", got, folded)
	}
	if _, ok := merged["lm_head.weight"]; ok {
		t.Error("a sequence classification model with lm_head.weight")
	}
	if got := golden.Tensors(t, filepath.Join(out, "peft", "adapter_model.safetensors"))["base_model.model.score.weight"].F; !slices.Equal(got, folded) {
		t.Errorf("score.weight of the adapter is %v, want %v", got, folded)
	}
	var in []any
	for _, key := range []string{"input_ids.0", "input_ids.1", "input_ids.2"} {
		in = append(in, map[string]any{"ids": ref[key].I})
	}
	for _, e := range x {
		var scale struct{ Gain, Bias float64 }
		if err := readJSON(filepath.Join(e.Path, "plumb.json"), &scale); err != nil || scale.Gain != 1 || scale.Bias != bias {
			t.Errorf("%s: plumb.json holds %+v (%v)", e.Format, scale, err)
		}
		for i, r := range do(t, in, "score", e.Path) {
			// The set's tolerance, times the gain.
			near(t, e.Format, []float64{field[float64](t, r, "score")}, []float64{gain*float64(ref["scores"].F[i]) + bias}, gain*5e-5)
		}
	}
}

// Where the adapter's base cannot be loaded by name, it lies beside the adapter, which points there; both together are
// the model to the bit.
func TestExportAdapterWithItsBase(t *testing.T) {
	base, adapter := golden.Dir(t, "models/llama"), golden.Dir(t, "peft/lora-all-linear")
	a := testApp(t)
	l, err := a.load(context.Background(), base, adapter)
	if err != nil {
		t.Fatal(err)
	}
	l.Base.Name = embeddedPrefix + "something" // no program but this one knows the name
	dir := filepath.Join(t.TempDir(), "adapter")
	x := exported{Path: dir}
	if err := a.exportPEFT(context.Background(), l, &x); err != nil {
		t.Fatal(err)
	}
	if x.Apart != 0 || x.Base != filepath.Join(dir, "base") {
		t.Errorf("exported %+v, want the base inside and no difference", x)
	}
	var cfg map[string]any
	if err := readJSON(filepath.Join(dir, "adapter_config.json"), &cfg); err != nil || cfg["base_model_name_or_path"] != x.Base {
		t.Errorf("adapter_config.json points to %v (%v)", cfg["base_model_name_or_path"], err)
	}
	in := []any{map[string]any{"ids": []int32{5, 9, 2, 77, 30, 4}}}
	want := do(t, in, "score", base, "--adapter", adapter)
	if got := do(t, in, "score", dir); string(got[0]["logprobs"]) != string(want[0]["logprobs"]) {
		t.Errorf("log-probabilities are %s, were %s", got[0]["logprobs"], want[0]["logprobs"])
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if got := do(t, in, "score", moved); string(got[0]["logprobs"]) != string(want[0]["logprobs"]) {
		t.Errorf("moved elsewhere: log-probabilities are %s, were %s", got[0]["logprobs"], want[0]["logprobs"])
	}
}

func testApp(t *testing.T) *app {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, quiet: true, now: time.Now}
	a.pool = func() *kernels.Pool { return kernels.NewPool(2) }
	if err := a.start(); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExportRefuses(t *testing.T) {
	base := golden.Dir(t, "models/llama")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no --out":           {[]string{base}, exitUsage, "--out"},
		"a folder in use":    {[]string{base, "--out", full}, exitUsage, "not empty"},
		"an unknown format":  {[]string{base, "--out", filepath.Join(full, "y"), "--format", "gguf"}, exitUsage, "merged or peft"},
		"an unknown type":    {[]string{base, "--out", filepath.Join(full, "y"), "--dtype", "int4"}, exitUsage, "bf16"},
		"a bare model, peft": {[]string{base, "--out", filepath.Join(full, "y"), "--format", "peft"}, exitFailure, "not an adapter"},
	} {
		var errOut bytes.Buffer
		code := plumb(context.Background(), append([]string{"export"}, c.args...), strings.NewReader(""), &bytes.Buffer{}, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.says) {
			t.Errorf("%s: exit %d, %q; want %d and %q", name, code, errOut.String(), c.code, c.says)
		}
	}
}

// What was written is looked at: a weight that changed on the way is found.
func TestDamagedExportIsFound(t *testing.T) {
	base := golden.Dir(t, "models/llama")
	a := testApp(t)
	l, err := a.load(context.Background(), base, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "m")
	folder, err := l.folder("")
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := sameWeights(dir, folder.Entries); err != nil {
		t.Fatalf("whole folder: %v", err)
	}
	path := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-5] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sameWeights(dir, folder.Entries); err == nil || !strings.Contains(err.Error(), "was written") {
		t.Errorf("a changed bit: %v", err)
	}
}
