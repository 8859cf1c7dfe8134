package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"plumb/eval"
	"plumb/internal/config"
	"plumb/internal/pairs"
	"plumb/internal/run"
	"plumb/ppo"
	"plumb/reward"
	"plumb/sft"
)

//go:generate go test -run TestDocsAreCurrent -update .

// configDocs holds the comments of the recipe's fields.
//
//go:embed configdoc.json
var configDocs []byte

// recipe is a whole recipe. A section is nil where the file does not have it.
type recipe struct {
	// Version of the recipe format. Default 1.
	Version int
	// Name of the run: its folder is runs/NAME. Default: the recipe file's name.
	Name string
	// Base is the model that everything stands on: a folder, a GGUF file, embedded:NAME, a hub name or an https address.
	Base string
	// SHA256 of the base, where it comes by https.
	SHA256 string `yaml:"sha256"`
	// Quantize holds the linear layers of the base's blocks in few bits: nf4 (4 bits, blocks of 64, scales in 8 bits: QLoRA) or
	// int8 (blocks of 64). Embeddings, norms and heads stay as they are. Default: as the base stores them.
	Quantize string
	// Template is a file with the chat template to use instead of the base's own.
	Template string
	// Seed of every draw. The same seed gives the same bytes. Default 1.
	Seed uint64

	// Memory bounds what a run takes.
	Memory memoryConfig

	// SFT tunes the base on demonstrations.
	SFT *sft.Config `yaml:"sft"`
	// Pairs samples answers to be compared.
	Pairs *pairs.Config
	// Label has them judged.
	Label *labelConfig
	// Reward learns to score from the judgements.
	Reward *reward.Config
	// PPO improves the policy against the reward model, under a KL penalty.
	PPO *ppo.Config `yaml:"ppo"`
	// Eval measures what came out.
	Eval *eval.Config
	// Export writes the result for other programs.
	Export *exportConfig
}

// stageOrder is the order in which the stages of a recipe run.
var stageOrder = []string{"sft", "pairs", "label", "reward", "ppo", "eval", "export"}

// recipeDefaults has every section with its defaults.
func recipeDefaults() *recipe {
	s, q, l, w, p, e, x := sft.Default(), pairs.Default(), defaultLabel(), reward.Default(), ppo.Default(), eval.Default(), defaultExport()
	return &recipe{Version: 1, Seed: 1, SFT: &s, Pairs: &q, Label: &l, Reward: &w, PPO: &p, Eval: &e, Export: &x}
}

// Validate checks what no section can see by itself.
func (r *recipe) Validate() error {
	var errs []error
	if r.Version != 1 {
		errs = append(errs, fmt.Errorf("version: %d: this plumb reads version 1", r.Version))
	}
	if r.Base == "" {
		errs = append(errs, errors.New("base: name the model to start from: a folder, a GGUF file, embedded:NAME, a hub name or an https address"))
	}
	if err := r.checkQuantize(); err != nil {
		errs = append(errs, err)
	}
	if _, err := r.Memory.bytes(); err != nil {
		errs = append(errs, fmt.Errorf("memory.budget: %w", err))
	}
	if r.Name != "" {
		if err := run.CheckName(r.Name); err != nil {
			errs = append(errs, fmt.Errorf("name: %w", err))
		}
	}
	return errors.Join(errs...)
}

// recipeFlags are the flags of every verb that takes a recipe: --KEY for each of
// its keys, and where the run and the data lie.
type recipeFlags struct {
	keys    []config.Flag
	run     string
	dataDir string
}

// keyFlag collects one key's values in the order they were typed.
type keyFlag struct {
	key string
	all *[]config.Flag
}

func (k keyFlag) String() string { return "" }
func (k keyFlag) Type() string   { return "value" }
func (k keyFlag) Set(v string) error {
	*k.all = append(*k.all, config.Flag{Key: k.key, Value: v})
	return nil
}

func (o *recipeFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.run, "run", "", "name of the run; by default the recipe's")
	f.StringVar(&o.dataDir, "data-dir", "", "folder where the recipe's data lie, for those that are not found as written")
	for _, e := range config.Entries(recipeDefaults(), nil) {
		if e.Flag == "" {
			continue
		}
		fl := f.VarPF(keyFlag{e.Key, &o.keys}, e.Key, "", "")
		fl.Hidden = true
		if e.Type == "true or false" {
			fl.NoOptDefVal = "true"
		}
	}
	cmd.Long += `

Any key of the recipe may be given as a flag (--ppo.kl.coef 0.1) or a variable
(PLUMB_PPO_KL_COEF); flags go before variables, variables before the file.
"plumb config explain KEY" says what a key means.`
}

// loadRecipe reads a recipe with its flags.
func (a *app) loadRecipe(path string, o recipeFlags) (*recipe, *config.Recipe, error) {
	into := recipeDefaults()
	data, err := readRecipe(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := config.Parse(path, data, into, config.Options{Flags: o.keys})
	if err != nil {
		return nil, nil, usageError{err}
	}
	for _, n := range r.Notes {
		a.warn("%s", n)
	}
	if o.run != "" {
		if err := run.CheckName(o.run); err != nil {
			return nil, nil, usageError{err}
		}
		into.Name = o.run
	}
	if into.Name == "" {
		into.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	return into, r, nil
}

// readRecipe reads the file, and helps where a name was meant for a file.
func readRecipe(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	candidates, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.yaml"))
	if filepath.Ext(path) == "" {
		path += ".yaml"
	}
	inRecipes, _ := filepath.Glob("recipes/*.yaml")
	for _, c := range inRecipes {
		if filepath.Base(c) == filepath.Base(path) {
			return nil, usagef("no recipe %s%s", path, didYouMean(c))
		}
	}
	return nil, usagef("no recipe %s%s", path, didYouMean(config.Nearest(path, candidates)))
}

func docs() config.Docs {
	d, err := config.ReadDocs(configDocs)
	if err != nil {
		panic("plumb: configdoc.json is broken: " + err.Error())
	}
	return d
}
