package labeling

import (
	"fmt"
	"maps"
	"slices"
)

// Config is the label section of a recipe.
type Config struct {
	// Store is the path of the label store. Default labels.db.
	Store string
	// Min is the number of trainable judgements (preferences and ties) from which training may begin. Default 0: none needed.
	Min int
	// Annotator is the name judgements are filed under. Default "": the name of the user who runs the program.
	Annotator string
	// Overlap is the number of people who are to judge each item, from 1. Default 1.
	Overlap int
	// Tags are reasons that can be ticked by digits, at most nine. Default none.
	Tags []string
	// Guidelines is markdown shown on g. Default none.
	Guidelines string
	// Keys binds acts to other keys: act name to keys separated by spaces. Default as the help screen lists.
	Keys map[string]string
}

// Default is the configuration of a recipe that says nothing.
func Default() Config { return Config{Store: "labels.db", Overlap: 1} }

// Validate checks ranges and what depends on each other.
func (c Config) Validate() error {
	switch {
	case c.Store == "":
		return fmt.Errorf("label.store: no path")
	case c.Min < 0:
		return fmt.Errorf("label.min: %d is negative", c.Min)
	case c.Overlap < 1:
		return fmt.Errorf("label.overlap: %d is less than 1", c.Overlap)
	case len(c.Tags) > 9:
		return fmt.Errorf("label.tags: %d reasons; there are keys for nine", len(c.Tags))
	}
	seen := map[string]bool{}
	for _, t := range c.Tags {
		if t == "" || seen[t] {
			return fmt.Errorf("label.tags: %q is empty or twice there", t)
		}
		seen[t] = true
	}
	if _, err := newKeymap(c.Keys); err != nil {
		return fmt.Errorf("label.%w", err)
	}
	return nil
}

// Acts are the names under which Keys can bind.
func Acts() []string {
	names := map[string]bool{}
	for _, b := range defaultBindings() {
		if b.act != "" {
			names[string(b.act)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
