package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// ManifestName is the file of a stage folder that says what the stage is.
const ManifestName = "run.json"

// manifestFormat is raised when an older program could misread run.json.
const manifestFormat = 1

// State is how far a stage is.
type State string

// The states of a stage. A killed process leaves Running behind; whether it
// still runs is told by the lock (Held).
const (
	Running     State = "running"
	Waiting     State = "waiting"     // for labels
	Interrupted State = "interrupted" // by a signal; resumable
	Failed      State = "failed"      // with Error; resumable once the cause is gone
	Finished    State = "done"
)

// Source is something that went in, known by its content.
type Source struct {
	Name   string `json:"name,omitempty"` // as the recipe wrote it
	SHA256 string `json:"sha256"`
	// Quantize is what a base is held in, nf4 or int8, where that is not what its file holds. SHA256 covers it.
	Quantize string `json:"quantize,omitempty"`
}

// String is "NAME (the sum's first digits)", with the quantisation if there is one.
func (s Source) String() string {
	if s.Quantize != "" {
		return fmt.Sprintf("%s in %s (%s)", s.Name, s.Quantize, short(s.SHA256))
	}
	return fmt.Sprintf("%s (%s)", s.Name, short(s.SHA256))
}

// Parent is a stage whose outputs went in.
type Parent struct {
	Role   string `json:"role"`   // what it served as: policy, reward, reference, judge ...
	Path   string `json:"path"`   // its stage folder; relative to the run folder where it lies inside
	SHA256 string `json:"sha256"` // OutputsHash of its manifest
}

// Machine is where a stage ran. Results do not depend on it, except on Kernels
// where a set rounds differently.
type Machine struct {
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	CPU     string `json:"cpu"`
	Kernels string `json:"kernels"`
}

// Manifest is run.json. Everything outside Timing is a function of the inputs.
type Manifest struct {
	Format  int    `json:"format"`
	Program string `json:"program"` // version of plumb
	Run     string `json:"run"`
	Stage   string `json:"stage"`
	State   State  `json:"state"`
	Error   string `json:"error,omitempty"`

	Seed      uint64          `json:"seed"`
	Base      Source          `json:"base"`
	Tokenizer Source          `json:"tokenizer"`
	Template  Source          `json:"template"`
	Data      []Source        `json:"data"`
	Parents   []Parent        `json:"parents"`
	Config    json.RawMessage `json:"config"` // the stage's resolved section

	Machine Machine `json:"machine"`

	// Step counts what the stage counts: optimizer steps or updates.
	Step             int    `json:"step"`
	NonFiniteMetrics int    `json:"nonfinite_metrics"` // metrics written as null
	Results          Values `json:"results"`
	Outputs          []File `json:"outputs"`
	// Made is the whole model that the stage made, where it is not an adapter: what stands on it has it as its base.
	Made         Source `json:"made,omitzero"`
	Timing       Timing `json:"timing"`
	templateText string
}

// WithTemplate adds the chat template's text, kept in inputs/ for a readable diff.
func (m Manifest) WithTemplate(text string) Manifest {
	m.templateText = text
	m.Template.SHA256 = HashBytes([]byte(text))
	return m
}

// Timing holds the clock readings of a stage.
type Timing struct {
	Started  string  `json:"started,omitempty"`  // RFC 3339, of the first start
	Finished string  `json:"finished,omitempty"` // RFC 3339
	Seconds  float64 `json:"seconds"`            // spent in all processes that lived to say so
	Starts   int     `json:"starts"`
	Threads  int     `json:"threads,omitempty"`
	PeakMiB  float64 `json:"peak_mib,omitempty"` // resident memory of the last process
}

// ReadManifest reads the run.json of a stage folder.
func ReadManifest(stageDir string) (Manifest, error) {
	path := filepath.Join(stageDir, ManifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("read %s: %w", path, err)
	}
	if m.Format != manifestFormat {
		return Manifest{}, fmt.Errorf("read %s: format %d, this plumb knows %d", path, m.Format, manifestFormat)
	}
	return m, nil
}

func writeManifest(stageDir string, m Manifest) error {
	m.Format = manifestFormat
	if m.Data == nil {
		m.Data = []Source{}
	}
	if m.Parents == nil {
		m.Parents = []Parent{}
	}
	if m.Outputs == nil {
		m.Outputs = []File{}
	}
	if len(m.Config) == 0 {
		m.Config = json.RawMessage("{}")
	}
	return WriteFile(filepath.Join(stageDir, ManifestName), m.encode)
}

// encode writes m as run.json has it.
func (m Manifest) encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(m)
}

// OutputsHash is one sum over the outputs' paths and sums: what a child records
// of its parent.
func (m Manifest) OutputsHash() string {
	var b bytes.Buffer
	for _, f := range m.Outputs {
		fmt.Fprintf(&b, "%s %s\n", f.SHA256, f.Path)
	}
	return HashBytes(b.Bytes())
}

// changes lists, one line each, in what the inputs of now differ from those
// recorded. Names of sources do not count, their content does; the machine,
// the program's version and the results are not inputs.
func changes(recorded, now Manifest) []string {
	var out []string
	differ := func(what, a, b string) {
		if a != b {
			out = append(out, fmt.Sprintf("%s: %s -> %s", what, short(a), short(b)))
		}
	}
	if recorded.Seed != now.Seed {
		out = append(out, fmt.Sprintf("seed: %d -> %d", recorded.Seed, now.Seed))
	}
	differ("base", recorded.Base.SHA256, now.Base.SHA256)
	differ("quantize", recorded.Base.Quantize, now.Base.Quantize)
	differ("tokenizer", recorded.Tokenizer.SHA256, now.Tokenizer.SHA256)
	differ("template", recorded.Template.SHA256, now.Template.SHA256)
	if len(recorded.Data) != len(now.Data) {
		out = append(out, fmt.Sprintf("data: %d sources -> %d", len(recorded.Data), len(now.Data)))
	} else {
		for i := range now.Data {
			name := now.Data[i].Name
			if name == "" {
				name = fmt.Sprintf("%d", i)
			}
			differ("data "+name, recorded.Data[i].SHA256, now.Data[i].SHA256)
		}
	}
	before, after := map[string]string{}, map[string]string{}
	for _, p := range recorded.Parents {
		before["parent "+p.Role] += p.SHA256
	}
	for _, p := range now.Parents {
		after["parent "+p.Role] += p.SHA256
	}
	for _, role := range keysOf(before, after) {
		differ(role, before[role], after[role])
	}
	return append(out, diffJSON(recorded.Config, now.Config)...)
}

// short is the first 12 digits of a sum, "none" for no sum.
func short(sum string) string {
	if sum == "" {
		return "none"
	}
	if len(sum) > 12 {
		return sum[:12]
	}
	return sum
}

func keysOf(maps ...map[string]string) []string {
	seen := map[string]bool{}
	var keys []string
	for _, m := range maps {
		for k := range m {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	sort.Strings(keys)
	return keys
}

// diffJSON compares two JSON objects key by key: "lr: 0.0002 -> 0.0001".
func diffJSON(a, b json.RawMessage) []string {
	before, after := map[string]string{}, map[string]string{}
	flatten("", a, before)
	flatten("", b, after)
	var out []string
	for _, k := range keysOf(before, after) {
		x, inA := before[k]
		y, inB := after[k]
		switch {
		case !inA:
			x = "unset"
		case !inB:
			y = "unset"
		case x == y:
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s -> %s", k, x, y))
	}
	return out
}

func flatten(prefix string, raw json.RawMessage, out map[string]string) {
	var obj map[string]json.RawMessage
	if json.Unmarshal(raw, &obj) == nil && obj != nil {
		for k, v := range obj {
			flatten(strings.TrimPrefix(prefix+"."+k, "."), v, out)
		}
		return
	}
	if prefix == "" && len(raw) == 0 {
		return
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		b.Write(raw)
	}
	out[prefix] = b.String()
}

// MismatchError says that a stage and one it builds on disagree on the base
// model, the tokenizer or the chat template.
type MismatchError struct {
	Parent string   // the parent's folder
	Diff   []string // one line per difference
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s was made with other inputs; use the same, or run that stage again:\n  %s",
		e.Parent, strings.Join(e.Diff, "\n  "))
}

// checkParent refuses a parent that is not whole or was made on another base,
// tokenizer or template than m. An empty sum on either side is not compared.
func checkParent(m Manifest, stageDir string) (Manifest, error) {
	p, err := ReadManifest(stageDir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("%s holds no finished stage (no %s): run that stage first", stageDir, ManifestName)
	}
	if err != nil {
		return p, err
	}
	if p.State != Finished {
		return p, fmt.Errorf("stage %s in %s is not finished (%s): run it to the end first", p.Stage, stageDir, p.State)
	}
	if err := checkFiles(stageDir, p.Outputs); err != nil {
		return p, fmt.Errorf("stage %s in %s is damaged: %w: run it again", p.Stage, stageDir, err)
	}
	var diff []string
	compare := func(what string, theirs, ours Source) {
		if theirs.SHA256 != "" && ours.SHA256 != "" && theirs.SHA256 != ours.SHA256 {
			diff = append(diff, fmt.Sprintf("%s: there %s, here %s", what, theirs, ours))
		}
	}
	base := p.Base
	if p.Made.SHA256 != "" {
		base = p.Made
	}
	compare("base", base, m.Base)
	compare("tokenizer", p.Tokenizer, m.Tokenizer)
	compare("template", p.Template, m.Template)
	if p.Template.SHA256 != m.Template.SHA256 && m.templateText != "" {
		if theirs, err := os.ReadFile(filepath.Join(stageDir, templateFile)); err == nil {
			diff = append(diff, firstDifference(string(theirs), m.templateText)...)
		}
	}
	if diff != nil {
		return p, &MismatchError{Parent: stageDir, Diff: diff}
	}
	return p, nil
}

// firstDifference shows the first line in which two texts part.
func firstDifference(there, here string) []string {
	a, b := strings.Split(there, "\n"), strings.Split(here, "\n")
	for i := 0; i < len(a) || i < len(b); i++ {
		x, y := "(nothing)", "(nothing)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return []string{
				fmt.Sprintf("template line %d there: %s", i+1, clip(x)),
				fmt.Sprintf("template line %d here:  %s", i+1, clip(y)),
			}
		}
	}
	return nil
}

func clip(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
