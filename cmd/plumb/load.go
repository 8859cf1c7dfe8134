package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/internal/chat"
	"plumb/internal/checkpoint"
	"plumb/internal/dataset"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tokenizer"
	"plumb/internal/ui"
	"plumb/reward"
)

// Places inside a stage folder where its policy or reward model lies.
const (
	adapterDir = "adapter" // PEFT layout, on the base that run.json names
	modelDir   = "model"   // a whole model folder
	criticDir  = "critic"  // ppo's critic, in PEFT layout too
)

// sideFile lies in a folder of a model or adapter: what belongs to it and has no place in the other files.
const sideFile = "plumb.json"

// loaded is a model ready for use, with what belongs to it. Model is nil for a
// bare tokenizer.
type loaded struct {
	Ref       string // what the person wrote
	Source    *checkpoint.Source
	Model     *model.Model
	Adapter   *peft.Adapter // nil: the base as it is
	Tokenizer *tokenizer.Tokenizer
	Template  *chat.Template // nil: the model has none
	BOS, EOS  string         // texts for the template

	// encoding shows how far a data set is encoded.
	encoding func(done, total int)

	// Scale makes rewards of a reward model's scores; gain 1, bias 0 where nothing is said.
	Scale reward.Scale

	// Identity, for run.json.
	Base, Tok, Tmpl run.Source
	// Stage is the manifest of the stage folder it came from, if it did.
	Stage    *run.Manifest
	StageDir string
}

// place is where a MODEL argument leads.
type place struct {
	base     string // what checkpoint opens
	adapter  string // PEFT folder on it, or ""
	quantize string // what the base is held in: nf4, int8, or "" for as stored
	template string // file with a template that replaces the model's, or ""
	stageDir string
	stage    *run.Manifest
}

// policies are the stages whose output is a policy, the last of a run first.
var policies = []string{"ppo", "sft"}

// locate finds out what a MODEL argument is: a model folder, a run or stage
// folder, an adapter folder, a weights file, embedded:NAME, a hub name or an
// https address.
func (a *app) locate(ctx context.Context, ref string) (place, error) {
	path := expandHome(ref)
	info, err := os.Stat(path)
	switch {
	case strings.HasPrefix(ref, embeddedPrefix):
		return place{base: ref}, nil
	case errors.Is(err, fs.ErrNotExist):
		got, err := a.fetch(ctx, ref, "")
		if err != nil {
			return place{}, err
		}
		return place{base: got}, nil
	case err != nil:
		return place{}, err
	case !info.IsDir():
		return place{base: path}, nil
	case run.IsStage(path):
		return a.locateStage(ctx, path)
	case exists(path, "config.json"), exists(path, "model.safetensors"):
		return place{base: path}, nil
	case exists(path, "adapter_config.json"):
		return a.locateAdapter(ctx, path)
	case run.IsRun(path):
		dir, err := run.LastPolicy(path, policies...)
		if err != nil {
			return place{}, err
		}
		return a.locateStage(ctx, dir)
	}
	return place{}, fmt.Errorf("%s: no model here: want a folder with config.json and weights, an adapter, a run or a stage", ref)
}

// locateStage follows a stage folder to its base and adapter.
func (a *app) locateStage(ctx context.Context, dir string) (place, error) {
	m, err := run.ReadManifest(dir)
	if err != nil {
		return place{}, err
	}
	if m.State != run.Finished {
		return place{}, fmt.Errorf("stage %s is not finished (%s): run it to the end first", dir, m.State)
	}
	p := place{stageDir: dir, stage: &m}
	if exists(dir, "inputs/chat_template.jinja") {
		p.template = filepath.Join(dir, "inputs", "chat_template.jinja")
	}
	switch {
	case exists(dir, modelDir+"/config.json"):
		p.base = filepath.Join(dir, modelDir)
		return p, nil
	case exists(dir, adapterDir+"/adapter_config.json"):
	default:
		return place{}, fmt.Errorf("stage %s has no model: neither %s/ nor %s/ is there", dir, adapterDir, modelDir)
	}
	name := m.Base.Name
	if sibling := filepath.Join(filepath.Dir(dir), name); run.IsStage(sibling) && m.Stage != name {
		name = sibling // The run's own sft made the model.
	}
	base, err := a.locate(ctx, name)
	if err != nil {
		return place{}, fmt.Errorf("base of stage %s: %w", dir, err)
	}
	if base.adapter != "" {
		return place{}, fmt.Errorf("stage %s stands on %s, which is itself an adapter", dir, m.Base.Name)
	}
	p.base, p.adapter, p.quantize = base.base, filepath.Join(dir, adapterDir), m.Base.Quantize
	return p, nil
}

// locateAdapter follows a PEFT folder to the base that it names.
func (a *app) locateAdapter(ctx context.Context, dir string) (place, error) {
	data, err := os.ReadFile(filepath.Join(dir, "adapter_config.json"))
	if err != nil {
		return place{}, err
	}
	var cfg peft.Config
	if err := cfg.UnmarshalJSON(data); err != nil {
		return place{}, fmt.Errorf("read %s: %w", filepath.Join(dir, "adapter_config.json"), err)
	}
	if cfg.Base == "" {
		return place{}, fmt.Errorf("adapter %s names no base model; give the base and --adapter %s", dir, dir)
	}
	name := cfg.Base
	switch beside := filepath.Join(dir, name); {
	case exists(beside, "config.json"):
		name = beside
	case !dirExists(expandHome(name)) && exists(dir, "base/config.json"):
		name = filepath.Join(dir, "base") // As exported, and moved since.
	}
	base, err := a.locate(ctx, name)
	if err != nil {
		return place{}, fmt.Errorf("base of adapter %s: %w; or give the base and --adapter %s", dir, err, dir)
	}
	if base.adapter != "" {
		return place{}, fmt.Errorf("adapter %s stands on %s, which is itself an adapter", dir, cfg.Base)
	}
	kind, err := heldIn(dir)
	return place{base: base.base, adapter: dir, quantize: kind}, err
}

// load opens a MODEL argument with its weights; adapter, if not "", is put on it.
func (a *app) load(ctx context.Context, ref, adapter string) (*loaded, error) {
	return a.loadAs(ctx, ref, adapter, "")
}

// loadAs is load of a model whose linear layers are to be held in few bits, if quantize is not "".
func (a *app) loadAs(ctx context.Context, ref, adapter, quantize string) (*loaded, error) {
	p, err := a.locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if quantize != "" {
		p.quantize = quantize
	}
	if adapter != "" {
		if p.adapter != "" {
			return nil, usagef("%s is an adapter already; --adapter goes on a base model", ref)
		}
		if p.adapter, err = findAdapter(adapter); err != nil {
			return nil, err
		}
		kind, err := heldIn(p.adapter)
		if err != nil {
			return nil, err
		}
		if kind != p.quantize {
			a.warn("adapter %s learned on a base held %s, %s is held %s: what comes out is not what was trained", adapter, asHeld(kind), ref, asHeld(p.quantize))
		}
	}
	l, err := a.openSides(p, ref)
	if err != nil {
		return nil, err
	}
	if l.Source == nil || l.Source.ConfigJSON == nil {
		return nil, fmt.Errorf("%s: no model here: config.json is missing", ref)
	}
	if err := l.openWeights(ctx, a, p); err != nil || adapter == "" {
		return l, err
	}
	m, err := trainedIn(p.adapter)
	if err != nil {
		return nil, err
	}
	if m != nil && m.Base.SHA256 != l.Base.SHA256 && m.Base.Quantize == l.Base.Quantize {
		a.warn("adapter %s was trained on %s with sha256 %.12s, %s has %.12s: unless that is the same model in another file, what comes out is not what was trained", adapter, m.Base.Name, m.Base.SHA256, ref, l.Base.SHA256)
	}
	return l, nil
}

// openWeights builds the model and puts the adapter on it.
func (l *loaded) openWeights(ctx context.Context, a *app, p place) error {
	defer a.progress.Done()
	cfg, err := model.ParseConfig(l.Source.ConfigJSON)
	if err != nil {
		return fmt.Errorf("%s: config.json: %w", p.base, err)
	}
	sum, err := l.Source.HashTold(ctx, a.bytesOf("hash "+filepath.Base(p.base)))
	if err != nil {
		return err
	}
	boundGarbage(weightBytes(l.Source))
	if l.Model, err = a.newModel(ctx, cfg, l.Source, sum, p.quantize); err != nil {
		return fmt.Errorf("%s: %w", p.base, err)
	}
	boundGarbage(int64(l.Model.Bytes()))
	l.Base.SHA256, l.Base.Quantize = quantisedSum(sum, p.quantize), p.quantize
	if p.stage != nil && p.adapter != "" && p.stage.Base.SHA256 != l.Base.SHA256 {
		return fmt.Errorf("stage %s was trained on %s with sha256 %.12s; what lies there now has %.12s", p.stageDir, p.stage.Base.Name, p.stage.Base.SHA256, l.Base.SHA256)
	}
	if p.adapter != "" {
		ad, err := peft.Load(p.adapter, l.Model.Modules())
		if err != nil {
			return err
		}
		l.Adapter = ad.Freeze()
	}
	if l.isReward() {
		dir := p.base
		if p.adapter != "" {
			dir = p.adapter
		}
		if l.Scale, err = readScale(dir); err != nil {
			return err
		}
	}
	if l.Tokenizer != nil && l.Tokenizer.Size() > cfg.Vocab {
		a.warn("%s: the tokenizer has %d ids, the model %d: an id beyond the model's will be refused", l.Ref, l.Tokenizer.Size(), cfg.Vocab)
	}
	return nil
}

// readScale reads the gain and bias that a reward model keeps in plumb.json.
func readScale(dir string) (reward.Scale, error) {
	s := reward.Scale{Gain: 1}
	path := filepath.Join(dir, sideFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return s, nil // somebody else's reward model, or one file of weights
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	if s.Gain == 0 || math.IsNaN(s.Gain+s.Bias) || math.IsInf(s.Gain+s.Bias, 0) {
		return s, fmt.Errorf("%s: gain %g, bias %g make no reward", path, s.Gain, s.Bias)
	}
	return s, nil
}

// openSides opens all but the weights: tokenizer, template, special tokens. A
// bare tokenizer.json is enough.
func (a *app) openSides(p place, ref string) (*loaded, error) {
	l := &loaded{Ref: ref, Stage: p.stage, StageDir: p.stageDir, encoding: a.encoding}
	if filepath.Ext(p.base) == ".json" {
		data, err := os.ReadFile(p.base)
		if err != nil {
			return nil, err
		}
		if l.Tokenizer, err = tokenizer.Parse(data); err != nil {
			return nil, fmt.Errorf("%s: %w", p.base, err)
		}
		return l, nil
	}
	src, err := openSource(p.base)
	if err != nil {
		return nil, err
	}
	l.Source = src
	l.Base.Name = ref
	if p.stage != nil && p.adapter != "" {
		l.Base.Name = p.stage.Base.Name
	}
	l.BOS, l.EOS = src.Special.BOS, src.Special.EOS
	switch {
	case src.Tokenizer.JSON != nil:
		l.Tokenizer, err = tokenizer.Parse(src.Tokenizer.JSON)
	case src.GGUF != nil:
		l.Tokenizer, err = tokenizer.FromGGUF(src.GGUF.Metadata)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer of %s: %w", p.base, err)
	}
	if l.Tokenizer != nil {
		l.Tok = run.Source{Name: l.Base.Name, SHA256: l.Tokenizer.Hash()}
		for _, n := range l.Tokenizer.Notes() {
			a.note("tokenizer of %s: %s", ref, n)
		}
	}
	text, from := src.ChatTemplate, l.Base.Name
	if p.template != "" {
		data, err := os.ReadFile(p.template)
		if err != nil {
			return nil, err
		}
		text, from = string(data), p.template
	}
	return l, l.setTemplate(text, from)
}

// setTemplate takes a chat template's source; "" leaves the model without one.
func (l *loaded) setTemplate(text, from string) error {
	if text == "" {
		return nil
	}
	t, err := chat.Parse(text)
	if err != nil {
		return fmt.Errorf("chat template of %s: %w", from, err)
	}
	l.Template = t
	l.Tmpl = run.Source{Name: from, SHA256: run.HashBytes([]byte(text))}
	return nil
}

// needTokenizer is an error for a model that comes without one.
func (l *loaded) needTokenizer() error {
	if l.Tokenizer == nil {
		return fmt.Errorf("%s has no tokenizer (tokenizer.json is missing); give records with \"ids\"", l.Ref)
	}
	return nil
}

// encoder makes rows of records for this model.
func (l *loaded) encoder() (*dataset.Encoder, error) {
	if err := l.needTokenizer(); err != nil {
		return nil, err
	}
	return dataset.NewEncoder(dataset.EncoderConfig{
		Tokenizer: l.Tokenizer, Template: l.Template, BOS: l.BOS, EOS: l.EOS, StopIDs: l.stopIDs(), Told: l.encoding,
	})
}

// stopIDs are the ids that end a text for this model.
func (l *loaded) stopIDs() []int32 {
	var ids []int32
	add := func(more ...int32) {
		for _, id := range more {
			if id >= 0 && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if l.Source != nil {
		add(l.Source.Generation.EOS...)
	}
	if l.Model != nil {
		add(l.Model.EOS...)
	}
	if l.Tokenizer != nil && l.EOS != "" {
		if id, ok := l.Tokenizer.ID(l.EOS); ok {
			add(id)
		}
	}
	return ids
}

func openSource(path string) (*checkpoint.Source, error) {
	if strings.HasPrefix(path, embeddedPrefix) {
		return openEmbedded(path)
	}
	return checkpoint.Open(path)
}

// findAdapter takes a PEFT folder or a stage folder that holds one.
func findAdapter(dir string) (string, error) {
	dir = expandHome(dir)
	switch {
	case exists(dir, "adapter_config.json"):
		return dir, nil
	case run.IsStage(dir) && exists(dir, adapterDir+"/adapter_config.json"):
		return filepath.Join(dir, adapterDir), nil
	}
	return "", fmt.Errorf("%s: no adapter here: adapter_config.json is missing", dir)
}

// fetch turns a hub name or an https address into a local path.
func (a *app) fetch(ctx context.Context, ref, sha256 string) (string, error) {
	file := ""
	defer a.progress.Done()
	return checkpoint.Fetch(ctx, ref, checkpoint.FetchOptions{
		SHA256: sha256, Offline: a.offline,
		Progress: func(p checkpoint.FetchProgress) {
			if p.File != file {
				file = p.File
				a.progress.Start("download "+file, "KiB", 0, int(max(p.Total, 0)>>10))
			}
			a.progress.Set(int(p.Done>>10), ui.Bytes(p.Done))
		},
	})
}

func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	return err == nil
}
