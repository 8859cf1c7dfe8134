package peft

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind says what a module does with its weight.
type Kind int

const (
	Linear    Kind = iota // y = x Wᵀ (+ b)
	Head                  // the linear layer that gives the logits; "all-linear" leaves it out
	Embedding             // y = W[id]
	Norm                  // a vector of gains
	Bias                  // a vector added to a linear layer's output
)

// Module is one weight of a model that can be adapted or replaced.
type Module struct {
	// Name is the path in transformers' model, for example model.layers.0.self_attn.q_proj.
	Name string
	Kind Kind
	// Out and In are the shape of the weight [Out,In]; an embedding is [vocabulary, hidden], a Norm or Bias [Out].
	Out, In int
	// Layer is the block's number; -1 before the first block (the embedding), the number of blocks after the last (the
	// final norm, the head).
	Layer int
	// Tied marks a head that has no weight of its own but uses the embedding's.
	Tied bool
	// Base writes the frozen weight to dst, [Out,In] row by row.
	Base func(dst []float32)
}

// param is the name of the module's weight in a checkpoint.
func (m Module) param() string {
	if m.Kind == Bias {
		return m.Name + ".bias"
	}
	return m.Name + ".weight"
}

func (m Module) size() int {
	if m.Kind == Norm || m.Kind == Bias {
		return m.Out
	}
	return m.Out * m.In
}

// rule is a Config with its expressions compiled.
type rule struct {
	Config
	whole, exclude *regexp.Regexp
	rank, alpha    []*regexp.Regexp
	layers         []*regexp.Regexp
}

// anyLayer is the number that follows the first-to-last dotted word before it, as PEFT reads it.
const anyLayer = `^.*\.[^.]*\.(\d+)\.`

func compile(c Config) (*rule, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &rule{Config: c}
	var err error
	if r.whole, err = wholeMatch("target_modules", c.Targets.Regex); err != nil {
		return nil, err
	}
	if r.exclude, err = wholeMatch("exclude_modules", c.Exclude.Regex); err != nil {
		return nil, err
	}
	if r.rank, err = endMatch("rank_pattern", c.RankPattern); err != nil {
		return nil, err
	}
	if r.alpha, err = endMatch("alpha_pattern", c.AlphaPattern); err != nil {
		return nil, err
	}
	if len(c.LayersPattern) == 0 {
		r.layers = []*regexp.Regexp{regexp.MustCompile(anyLayer)}
	}
	for _, p := range c.LayersPattern {
		re, err := expression("layers_pattern", p, `^.*\.`+p+`\.(\d+)\.`)
		if err != nil {
			return nil, err
		}
		r.layers = append(r.layers, re)
	}
	return r, nil
}

func expression(field, shown, expr string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%s: %q: %w (expressions here have no look-around and no back-references)", field, shown, err)
	}
	return re, nil
}

func wholeMatch(field, expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	return expression(field, expr, `^(?:`+expr+`)$`)
}

func endMatch(field string, patterns []Pattern) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, p := range patterns {
		re, err := expression(field, p.Expr, `^(.*\.)?(`+p.Expr+`)$`)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

// targets says whether the module gets a pair. The rules are PEFT's (BaseTuner.check_target_module_exists): a name that
// equals a target counts whatever its layer; one that ends in a target is subject to layers_to_transform.
func (r *rule) targets(m Module) bool {
	if m.Kind == Norm || m.Kind == Bias {
		return false
	}
	if named(r.exclude, r.Exclude.Names, m.Name) {
		return false
	}
	switch {
	case r.Targets.AllLinear:
		if m.Kind != Linear {
			return false
		}
	case r.whole != nil:
		return r.whole.MatchString(m.Name)
	case slices.Contains(r.Targets.Names, m.Name):
		return true
	case !named(nil, r.Targets.Names, m.Name):
		return false
	}
	return r.layerWanted(m.Name)
}

func named(re *regexp.Regexp, names []string, name string) bool {
	if re != nil {
		return re.MatchString(name)
	}
	return slices.ContainsFunc(names, func(n string) bool { return n == name || strings.HasSuffix(name, "."+n) })
}

func (r *rule) layerWanted(name string) bool {
	if r.LayersToTransform == nil {
		return true
	}
	for _, re := range r.layers {
		if m := re.FindStringSubmatch(name); m != nil {
			n, err := strconv.Atoi(m[1])
			return err == nil && slices.Contains(r.LayersToTransform, n)
		}
	}
	return false
}

// saved says whether the module is trained whole.
func (r *rule) saved(m Module) bool {
	return slices.ContainsFunc(r.ModulesToSave, func(n string) bool { return strings.HasSuffix(m.Name, n) })
}

// rankOf is the rank of the module's pair.
func (r *rule) rankOf(name string) int {
	for i, re := range r.rank {
		if re.MatchString(name) {
			return int(r.RankPattern[i].Value)
		}
	}
	return r.R
}

// scaleOf is the factor of the module's update: alpha/r, with rsLoRA alpha/sqrt(r).
func (r *rule) scaleOf(name string) float64 {
	alpha, rank := r.Alpha, float64(r.rankOf(name))
	for i, re := range r.alpha {
		if re.MatchString(name) {
			alpha = r.AlphaPattern[i].Value
			break
		}
	}
	if r.UseRSLoRA {
		rank = math.Sqrt(rank)
	}
	return alpha / rank
}
