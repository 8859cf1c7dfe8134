package peft

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// llama lists the modules of a small model with the names that transformers gives them.
func llama(layers int) []Module {
	fill := func(dst []float32) {
		for i := range dst {
			dst[i] = float32(i)
		}
	}
	out := []Module{{Name: "model.embed_tokens", Kind: Embedding, Out: 11, In: 4, Layer: -1, Base: fill}}
	for l := range layers {
		for _, n := range []string{"self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"} {
			out = append(out, Module{Name: fmt.Sprintf("model.layers.%d.%s", l, n), Kind: Linear, Out: 6, In: 4, Layer: l, Base: fill})
		}
		out = append(out, Module{Name: fmt.Sprintf("model.layers.%d.input_layernorm", l), Kind: Norm, Out: 4, In: 1, Layer: l, Base: fill})
	}
	return append(out, Module{Name: "lm_head", Kind: Head, Out: 11, In: 4, Layer: layers, Base: fill})
}

func hits(t *testing.T, c Config, modules []Module) string {
	t.Helper()
	r, err := compile(c)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range modules {
		if r.targets(m) {
			out = append(out, strings.TrimPrefix(strings.TrimPrefix(m.Name, "model."), "layers."))
		}
	}
	return strings.Join(out, " ")
}

// The rules of PEFT's check_target_module_exists, by hand.
func TestTargets(t *testing.T) {
	with := func(f func(*Config)) Config {
		c := Default()
		f(&c)
		return c
	}
	for _, test := range []struct {
		c    Config
		want string
	}{
		{with(func(c *Config) {}), "0.self_attn.q_proj 0.self_attn.v_proj 0.mlp.down_proj 1.self_attn.q_proj 1.self_attn.v_proj 1.mlp.down_proj"},
		{with(func(c *Config) { c.Targets = Names("q_proj", "lm_head") }), "0.self_attn.q_proj 1.self_attn.q_proj lm_head"},
		{with(func(c *Config) { c.Targets = Names("proj") }), ""},
		{with(func(c *Config) { c.Targets = Names("embed_tokens") }), "embed_tokens"},
		{with(func(c *Config) { c.Targets = Targets{Regex: `.*\.1\..*_proj`} }), "1.self_attn.q_proj 1.self_attn.v_proj 1.mlp.down_proj"},
		{with(func(c *Config) { c.Targets = Targets{Regex: `1.self_attn.q_proj`} }), ""}, // must match the whole name
		{with(func(c *Config) { c.Targets, c.LayersToTransform = Names("q_proj"), []int{1} }), "1.self_attn.q_proj"},
		{with(func(c *Config) {
			c.Targets, c.LayersToTransform, c.LayersPattern = Names("q_proj"), []int{1}, []string{"blocks"}
		}), ""},
		// A name given in full counts whatever its layer.
		{with(func(c *Config) {
			c.Targets, c.LayersToTransform = Names("model.layers.0.self_attn.q_proj", "v_proj"), []int{1}
		}), "0.self_attn.q_proj 1.self_attn.v_proj"},
		{with(func(c *Config) { c.Exclude = Names("mlp.down_proj") }), "0.self_attn.q_proj 0.self_attn.v_proj 1.self_attn.q_proj 1.self_attn.v_proj"},
		{with(func(c *Config) { c.Exclude = Targets{Regex: `.*\.0\..*`} }), "1.self_attn.q_proj 1.self_attn.v_proj 1.mlp.down_proj"},
	} {
		if got := hits(t, test.c, llama(2)); got != test.want {
			t.Errorf("%+v: %s, want %s", test.c, got, test.want)
		}
	}
}

func TestPatternsAndScales(t *testing.T) {
	c := Default()
	c.R, c.Alpha = 4, 10
	c.RankPattern = []Pattern{{`layers\.1\.mlp\.down_proj`, 6}, {"down_proj", 2}}
	c.AlphaPattern = []Pattern{{"q_proj", 9}}
	r, err := compile(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"model.layers.0.self_attn.v_proj": 10.0 / 4, "model.layers.0.self_attn.q_proj": 9.0 / 4,
		"model.layers.0.mlp.down_proj": 10.0 / 2, "model.layers.1.mlp.down_proj": 10.0 / 6, "model.layers.1.mlp.xdown_proj": 10.0 / 4,
	} {
		if got := r.scaleOf(name); got != want {
			t.Errorf("%s: scale %v, want %v", name, got, want)
		}
	}
	r.UseRSLoRA = true
	if got := r.scaleOf("model.layers.0.self_attn.v_proj"); got != 5 {
		t.Errorf("rsLoRA: scale %v, want 10/sqrt(4)", got)
	}
}

// A fresh adapter: A within its bound and filling it, B zero, so that nothing changes; draws depend on seed and name only.
func TestInitialisation(t *testing.T) {
	c := Default()
	c.Targets, c.ModulesToSave = Names("q_proj", "embed_tokens"), []string{"lm_head"}
	a, err := New(c, llama(2), 3)
	if err != nil {
		t.Fatal(err)
	}
	bound := 0.5 // 1/sqrt(in), in = 4
	for _, p := range a.Params() {
		v := a.Values[p.Off : p.Off+p.Len()]
		largest := 0.0
		for _, x := range v {
			largest = max(largest, math.Abs(float64(x)))
		}
		switch {
		case strings.HasSuffix(p.Name, "lora_A.weight"):
			if largest > bound || largest < 0.8*bound {
				t.Errorf("%s: largest element %v, bound %v", p.Name, largest, bound)
			}
		case strings.HasSuffix(p.Name, "lora_embedding_B"):
			if largest < 1.5 || largest > 6 {
				t.Errorf("%s: largest element %v of 32 normal draws", p.Name, largest)
			}
		case strings.HasSuffix(p.Name, "lora_B.weight"), strings.HasSuffix(p.Name, "lora_embedding_A"):
			if largest != 0 {
				t.Errorf("%s is not zero", p.Name)
			}
		default:
			if p.Name != "base_model.model.lm_head.weight" || v[5] != 5 {
				t.Errorf("%s: not a copy of the base", p.Name)
			}
		}
	}
	more, err := New(c, llama(3), 3)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(c, llama(2), 4)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(a.Values, other.Values) {
		t.Error("another seed gives the same values")
	}
	for _, p := range a.Params() {
		i := slices.IndexFunc(more.Params(), func(q Param) bool { return q.Name == p.Name })
		if q := more.Params()[i]; !slices.Equal(a.Values[p.Off:p.Off+p.Len()], more.Values[q.Off:q.Off+q.Len()]) {
			t.Errorf("%s depends on the other modules", p.Name)
		}
	}
}

func TestCloneFreezeAndHead(t *testing.T) {
	a, err := New(Default(), llama(2), 3)
	if err != nil {
		t.Fatal(err)
	}
	n := a.Trainable()
	c := a.Clone()
	c.AddScoreHead(4, 1, 0.5)
	if c.Trainable() != n+4 || a.Trainable() != n || c.Score() == nil || a.Score() != nil {
		t.Error("a head on the clone shows in the original, or is not counted")
	}
	if !slices.Equal(c.Values[:len(a.Values)], a.Values) {
		t.Error("adding a head moved the values")
	}
	c.Values[0]++
	if a.Values[0] == c.Values[0] {
		t.Error("clone and original share values")
	}
	c.FreezeBelow(1)
	for _, p := range c.Params() {
		if p.Trainable != (p.Layer >= 1) {
			t.Errorf("%s of layer %d: trainable %v", p.Name, p.Layer, p.Trainable)
		}
	}
	if c.Freeze(); c.Grads != nil || !c.Frozen() || c.Clone().Frozen() {
		t.Error("freezing")
	}
	head := c.Params()[len(c.Params())-1]
	saved := slices.Clone(c.Values[head.Off:])
	c.AddScoreHead(4, 2, 0.5)
	if slices.Equal(saved, c.Values[head.Off:]) || len(c.Params()) != len(a.Params())+1 {
		t.Error("a second head does not replace the first")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.R = 0 }, "r: 0"},
		{func(c *Config) { c.Dropout = 1 }, "lora_dropout"},
		{func(c *Config) { c.Alpha = math.NaN() }, "lora_alpha"},
		{func(c *Config) { c.Targets = Targets{} }, "target_modules"},
		{func(c *Config) { c.Targets = Names("q_proj", "typo_proj") }, `"typo_proj"`},
		{func(c *Config) { c.Targets = Targets{Regex: "("} }, "target_modules"},
		{func(c *Config) { c.Targets = Targets{Regex: "(?=x)"} }, "look-around"},
		{func(c *Config) { c.ModulesToSave = []string{"lm_haed"} }, "lm_haed"},
		{func(c *Config) { c.RankPattern = []Pattern{{"q_proj", 1.5}} }, "rank_pattern"},
		{func(c *Config) { c.TaskType = "SEQ_2_SEQ_LM" }, "task_type"},
		{func(c *Config) { c.LayersPattern = []string{"layers"} }, "layers_pattern"},
	} {
		c := Default()
		test.change(&c)
		if _, err := New(c, llama(2), 1); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v should name %s", err, test.want)
		}
	}
}

// Whatever is read is written so that it reads the same.
func FuzzConfig(f *testing.F) {
	f.Add(`{"peft_type":"LORA","r":8,"target_modules":["q_proj"],"rank_pattern":{"b":3,"a":1},"layers_to_transform":1}`)
	f.Add(`{"peft_type":"LORA","target_modules":".*","lora_dropout":0.05,"init_lora_weights":"gaussian","bias":"none"}`)
	f.Add(`{"r":1,"target_modules":"all-linear","modules_to_save":["score"],"task_type":"SEQ_CLS","use_dora":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c Config
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again Config
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s is written as %s: %v", text, out, err)
		}
		twice, err := json.Marshal(again)
		if err != nil || string(twice) != string(out) {
			t.Fatalf("%s is written as %s and then as %s (%v)", text, out, twice, err)
		}
		if _, err := compile(c); err == nil {
			_, _ = build(c, llama(1))
		}
	})
}
