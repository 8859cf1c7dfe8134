package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recipe has the shapes that stages use.
type recipe struct {
	Version int
	Name    string
	Base    string
	Seed    uint64
	SFT     *sft
	PPO     *ppo `yaml:"ppo" doc:"Reinforcement." unit:"update" range:"any" source:"paper"`
}

type sft struct {
	Data []source
	Peft peft
	// LR is the peak learning rate, > 0.
	// Default 2e-4.
	LR     float64
	Epochs int // passes over the data
	Pack   bool
	Wait   time.Duration
	Stops  []string
	// Low and High limit something.
	Low  float64
	High float64
}

type source struct {
	Path   string
	Weight float64 // default 1
}

func (s *source) SetDefaults() { s.Weight = 1 }

type peft struct {
	R            int
	Targets      []string
	RankPattern  map[string]int
	MaxGradNorm  *float64
	Quantization mode
}

type mode int

func (m mode) MarshalText() ([]byte, error) { return []byte([]string{"none", "nf4"}[m]), nil }

func (m *mode) UnmarshalText(b []byte) error {
	switch string(b) {
	case "none":
		*m = 0
	case "nf4":
		*m = 1
	default:
		return fmt.Errorf("want none or nf4, found %q", b)
	}
	return nil
}

type ppo struct {
	KL struct {
		Coef float64
	} `yaml:"kl"`
	Temperature []float64
	MaxNew      int
	Judge       *judge
}

type judge struct{ Reward string }

func (p ppo) Validate() error {
	var errs []error
	if p.KL.Coef < 0 {
		errs = append(errs, fmt.Errorf("kl.coef: %g: want 0 or more", p.KL.Coef))
	}
	if p.MaxNew < 1 {
		errs = append(errs, errors.New("ppo.max_new: want 1 or more"))
	}
	return errors.Join(errs...)
}

func defaults() *recipe {
	norm := 1.0
	r := &recipe{
		Version: 1,
		SFT: &sft{
			Peft: peft{R: 16, Targets: []string{"all-linear"}, MaxGradNorm: &norm},
			LR:   2e-4, Epochs: 1, Wait: time.Minute,
		},
		PPO: &ppo{Temperature: []float64{0.7, 1}, MaxNew: 64},
	}
	r.PPO.KL.Coef = 0.05
	return r
}

func parse(t *testing.T, text string, flags ...Flag) (*recipe, *Recipe) {
	t.Helper()
	into := defaults()
	r, err := Parse("r.yaml", []byte(text), into, Options{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	return into, r
}

func TestLayersInOrder(t *testing.T) {
	text := "name: a\nsft:\n  lr: 1e-3\n  epochs: 2\nppo: {}\n"
	got, _ := parse(t, text)
	if got.SFT.LR != 1e-3 || got.SFT.Epochs != 2 || got.SFT.Peft.R != 16 || got.PPO.KL.Coef != 0.05 || got.Name != "a" {
		t.Errorf("file over defaults: %+v %+v", got.SFT, got.PPO)
	}
	t.Setenv("PLUMB_SFT_LR", "0.5")
	t.Setenv("PLUMB_SFT_PEFT_R", "4") // Not in the file: viper alone would not see it.
	t.Setenv("PLUMB_PPO_TEMPERATURE", "0.1,0.2,0.3")
	got, r := parse(t, text)
	if got.SFT.LR != 0.5 || got.SFT.Peft.R != 4 || !cmp.Equal(got.PPO.Temperature, []float64{0.1, 0.2, 0.3}) {
		t.Errorf("variables over file: %+v %+v", got.SFT, got.PPO)
	}
	if o := r.Origin("sft.lr") + " " + r.Origin("sft.epochs") + " " + r.Origin("sft.pack"); o != "PLUMB_SFT_LR r.yaml:4 default" {
		t.Errorf("origins %q", o)
	}
	got, r = parse(t, text, Flag{"sft.lr", "0.25"}, Flag{"ppo.kl.coef", "0"}, Flag{"sft.stops", "x, y"}, Flag{"sft.data", "[{path: A.jsonl}]"})
	if got.SFT.LR != 0.25 || got.PPO.KL.Coef != 0 || !cmp.Equal(got.SFT.Stops, []string{"x", "y"}) || !cmp.Equal(got.SFT.Data, []source{{"A.jsonl", 1}}) {
		t.Errorf("flags over variables: %+v %+v", got.SFT, got.PPO)
	}
	if r.Origin("ppo.kl.coef") != "--ppo.kl.coef" {
		t.Errorf("origin %q", r.Origin("ppo.kl.coef"))
	}
}

func TestSectionsThatAreNotThereAreNil(t *testing.T) {
	got, _ := parse(t, "name: a\nsft:\n")
	if got.PPO != nil || got.SFT == nil || got.SFT.LR != 2e-4 {
		t.Errorf("sft %v, ppo %v", got.SFT, got.PPO)
	}
	got, _ = parse(t, "ppo: {judge: {reward: runs/x}}")
	if got.SFT != nil || got.PPO.Judge == nil || got.PPO.Judge.Reward != "runs/x" {
		t.Errorf("ppo %+v", got.PPO)
	}
	got, _ = parse(t, "ppo: {}")
	if got.PPO.Judge != nil {
		t.Errorf("a judge nobody named: %+v", got.PPO.Judge)
	}
	got, _ = parse(t, "ppo: {}", Flag{"ppo.judge.reward", "runs/y"})
	if got.PPO.Judge == nil || got.PPO.Judge.Reward != "runs/y" {
		t.Errorf("a judge named by a flag: %+v", got.PPO.Judge)
	}
}

func TestValuesOfEveryKind(t *testing.T) {
	got, _ := parse(t, `
seed: 18446744073709551615
sft:
  data:
    - {path: a.jsonl}
    - {path: b.jsonl, weight: 0.5}
  epochs: 1e3
  pack: true
  wait: 1h30m
  stops: "</s>"
  peft:
    targets: [Q_proj, "v.k"]
    rank_pattern: {model.Layers.0.Q_proj: 8}
    max_grad_norm: null
    quantization: nf4
`)
	norm := (*float64)(nil)
	want := &sft{
		Data: []source{{"a.jsonl", 1}, {"b.jsonl", 0.5}}, Epochs: 1000, Pack: true, Wait: 90 * time.Minute, Stops: []string{"</s>"}, LR: 2e-4,
		Peft: peft{R: 16, Targets: []string{"Q_proj", "v.k"}, RankPattern: map[string]int{"model.Layers.0.Q_proj": 8}, MaxGradNorm: norm, Quantization: 1},
	}
	if diff := cmp.Diff(want, got.SFT); diff != "" {
		t.Error(diff)
	}
	if got.Seed != 1<<64-1 {
		t.Errorf("seed %d", got.Seed)
	}
}

func TestErrorsNamePlaceAndNearestKey(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"unknown key":        {"name: a\nsft:\n  learning: 1\n  epoch: 1\n", "r.yaml:3: unknown key sft.learning\nr.yaml:4: unknown key sft.epoch; did you mean sft.epochs?"},
		"unknown section":    {"sftt: {}\n", "r.yaml:1: unknown key sftt; did you mean sft?"},
		"joined key":         {"ppo:\n  kl_coef: 1\n", "r.yaml:2: unknown key ppo.kl_coef; did you mean ppo.kl.coef?"},
		"key of another":     {"sft: {max_new: 1}\n", "r.yaml:1: unknown key sft.max_new; did you mean ppo.max_new?"},
		"in a list":          {"sft:\n  data:\n  - {path: a, wieght: 1}\n", `r.yaml:3: sft.data[0]: unknown key "wieght"; did you mean weight?`},
		"twice":              {"name: a\nname: b\n", "r.yaml:2: key name is there twice"},
		"fraction":           {"sft:\n\n  epochs: 3.9\n", "r.yaml:3: sft.epochs: want a whole number, found 3.9"},
		"word for a number":  {"sft: {lr: fast}\n", `r.yaml:1: sft.lr: want a number, found "fast"`},
		"quoted number":      {"sft: {lr: '1'}\n", `r.yaml:1: sft.lr: want a number, found "1"`},
		"not finite":         {"sft: {lr: .inf}\n", "r.yaml:1: sft.lr: want a finite number, found .inf"},
		"negative seed":      {"seed: -1\n", "r.yaml:1: seed: want a whole number, 0 or more, found -1"},
		"too big":            {"sft: {epochs: 99999999999999999999}\n", "r.yaml:1: sft.epochs: want a whole number, found 99999999999999999999"},
		"list for a number":  {"sft: {lr: [1]}\n", "r.yaml:1: sft.lr: want a number, found a list"},
		"number for section": {"sft: 3\n", "r.yaml:1: sft: want a mapping with keys data, peft, lr, epochs, pack, wait, stops, low, high, found 3"},
		"yes for a bool":     {"sft: {pack: maybe}\n", `r.yaml:1: sft.pack: want a true or false, found "maybe"`},
		"no value":           {"sft:\n  lr:\n", "r.yaml:2: sft.lr: no value; write one, or leave the key out for the default"},
		"wrong choice":       {"sft: {peft: {quantization: q4}}\n", `r.yaml:1: sft.peft.quantization: want none or nf4, found "q4"`},
		"facts":              {"ppo:\n  kl:\n    coef: -1\n  max_new: 0\n", "r.yaml:3: ppo.kl.coef: -1: want 0 or more\nr.yaml:4: ppo.max_new: want 1 or more"},
		"empty":              {"", "r.yaml: the recipe is empty"},
		"no mapping":         {"- a\n", "r.yaml:1: a recipe is a mapping from keys to values, found a list"},
		"two documents":      {"name: a\n---\nname: b\n", "r.yaml: more than one YAML document"},
		"broken YAML":        {"name: [\n", "r.yaml: line 1: did not find expected node content"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("r.yaml", []byte(c.text), defaults(), Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != c.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, c.want)
			}
		})
	}
}

func TestFlagAndVariableErrors(t *testing.T) {
	parse := func(flags ...Flag) string {
		r, err := Parse("r.yaml", []byte("sft: {}"), defaults(), Options{Flags: flags})
		if err == nil {
			return strings.Join(r.Notes, "\n")
		}
		return err.Error()
	}
	for _, c := range []struct{ key, value, want string }{
		{"sft.lrr", "1", "--sft.lrr: unknown key; did you mean sft.lr?"},
		{"sft", "1", "--sft: a section; name one of its keys: data, peft, lr, epochs, pack, wait, stops, low, high"},
		{"sft.lr", "fast", `--sft.lr: want a number, found "fast"`},
		{"sft.epochs", "1.5", "--sft.epochs: want a whole number, found 1.5"},
		{"ppo.max_new", "1", `--ppo.max_new: r.yaml has no section ppo; add "ppo: {}" to it`},
	} {
		if got := parse(Flag{c.key, c.value}); got != c.want {
			t.Errorf("--%s %s: %q, want %q", c.key, c.value, got, c.want)
		}
	}
	t.Setenv("PLUMB_SFT_LRR", "1")
	t.Setenv("PLUMB_PPO_MAX_NEW", "3")
	t.Setenv("PLUMB_KERNELS", "generic") // Of another part of the program.
	want := "variable PLUMB_PPO_MAX_NEW was not used: the recipe has no section ppo\nvariable PLUMB_SFT_LRR is no recipe key and was not used; did you mean PLUMB_SFT_LR?"
	if got := parse(); got != want {
		t.Errorf("notes:\n%s\nwant:\n%s", got, want)
	}
	t.Setenv("PLUMB_SFT_EPOCHS", "1.5")
	if got := parse(); got != "PLUMB_SFT_EPOCHS: sft.epochs: want a whole number, found 1.5" {
		t.Errorf("%q", got)
	}
}

func TestResolvedRecipeIsAValidRecipe(t *testing.T) {
	texts := []string{
		"name: a\nsft: {data: [{path: a, weight: 2}, {path: 'b: c'}], stops: ['1', 'null', \"x\\ny\"], peft: {rank_pattern: {Q: 1}, quantization: nf4}}\nppo: {kl: {coef: 1e-9}}\n",
		"name: '007'\nseed: 18446744073709551615\nppo: {judge: {reward: yes}}\n",
		"sft: {peft: {max_grad_norm: null}, lr: 123456789.125}\n",
	}
	for _, text := range texts {
		first, r := parse(t, text)
		out, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		second, r2 := parse(t, string(out))
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%s\nread back differs:\n%s", out, diff)
		}
		if again, _ := r2.YAML(); string(again) != string(out) {
			t.Errorf("written again differs:\n%s\n%s", out, again)
		}
		if !json.Valid(r.JSON("")) || !json.Valid(r.JSON("sft")) {
			t.Errorf("not JSON: %s", r.JSON(""))
		}
	}
	_, r := parse(t, "ppo: {temperature: 0.5}")
	if got := string(r.JSON("ppo")); got != `{"kl":{"coef":0.05},"temperature":[0.5],"max_new":64}` {
		t.Errorf("JSON %s", got)
	}
	if got := string(r.JSON("sft")); got != "null" {
		t.Errorf("JSON of an absent section %s", got)
	}
}

func TestShowSaysWhereValuesComeFrom(t *testing.T) {
	_, r := parse(t, "ppo:\n  max_new: 3\n", Flag{"ppo.kl.coef", "1"})
	out, err := r.Show()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"    coef: 1 # --ppo.kl.coef\n", "  max_new: 3 # r.yaml:2\n", "  temperature: [0.7, 1]\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestInitIsAValidRecipeWithComments(t *testing.T) {
	out, err := Init(defaults(), Docs{"plumb/internal/config.sft.LR": "LR is the peak learning rate."}, "sft")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "  # LR is the peak learning rate.\n  lr: 0.0002\n") || strings.Contains(string(out), "ppo:") {
		t.Errorf("%s", out)
	}
	got, _ := parse(t, string(out))
	want := defaults()
	want.PPO = nil
	if diff := cmp.Diff(want.SFT.Peft, got.SFT.Peft); diff != "" {
		t.Error(diff)
	}
	if _, err := Init(defaults(), nil, "sfd"); err == nil || !strings.Contains(err.Error(), "did you mean sft?") {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	// Comments are read from a source like this file's types.
	src := "package config\n\ntype sft struct {\n\t// LR is the peak learning rate, > 0.\n\t// Default 2e-4.\n\tLR     float64\n\tEpochs int // passes over the data\n\n\t// Low and High limit something.\n\tLow  float64\n\tHigh float64\n}\ntype source struct {\n\tWeight float64 // default 1\n}\n"
	pkg := filepath.Join(dir, "internal", "config")
	if err := os.MkdirAll(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pkg, "a.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	docs, err := ParseDocs(dir, "plumb", defaults())
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadDocs(docs.JSON())
	if err != nil || !reflect.DeepEqual(docs, back) {
		t.Errorf("docs read back differ: %v", err)
	}
	for key, want := range map[string]Entry{
		"sft.lr":            {Key: "sft.lr", Type: "number", Default: "0.0002", Doc: "LR is the peak learning rate, > 0. Default 2e-4.", Variable: "PLUMB_SFT_LR", Flag: "--sft.lr"},
		"sft.epochs":        {Key: "sft.epochs", Type: "whole number", Default: "1", Doc: "passes over the data", Variable: "PLUMB_SFT_EPOCHS", Flag: "--sft.epochs"},
		"sft.high":          {Key: "sft.high", Type: "number", Default: "0", Doc: "Low and High limit something.", Variable: "PLUMB_SFT_HIGH", Flag: "--sft.high"},
		"ppo":               {Key: "ppo", Type: "section", Doc: "Reinforcement. Unit: update. Range: any. Source: paper.", Keys: []string{"ppo.kl", "ppo.temperature", "ppo.max_new", "ppo.judge"}},
		"sft.data[].weight": {Key: "sft.data[].weight", Type: "number", Doc: "default 1"},
	} {
		got, err := Explain(defaults(), key, docs)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	if _, err := Explain(defaults(), "sft.leraning", docs); err == nil {
		t.Error("an unknown key was explained")
	}
}

func TestSchemaIsJSONWithEveryKey(t *testing.T) {
	out, err := Schema(defaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]struct {
			Properties map[string]struct {
				Type    any
				Default any
			}
			AdditionalProperties *bool
		}
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	sft := s.Properties["sft"]
	if sft.AdditionalProperties == nil || *sft.AdditionalProperties || sft.Properties["lr"].Default != 2e-4 || sft.Properties["epochs"].Type != "integer" {
		t.Errorf("%s", out)
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"LR": "lr", "MaxNew": "max_new", "TargetKL": "target_kl", "TFEpsilon": "tf_epsilon", "KLCoef": "kl_coef", "TopP": "top_p", "SaveEvery": "save_every", "R": "r"} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("name: a\nsft: {lr: 1, data: [{path: x}]}\n")
	f.Add("a: &a [*a]\nsft: *a\n")
	f.Add("sft: {peft: {rank_pattern: {x: 1, x: 2}}}")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		into := defaults()
		r, err := Parse("r.yaml", []byte(text), into, Options{Environ: []string{}})
		if err != nil {
			return
		}
		if _, err := r.YAML(); err != nil {
			t.Error(err)
		}
	})
}
