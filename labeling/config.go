package labeling

import (
	"fmt"
	"maps"
	"slices"

	"plumb/internal/pgurl"
)

// Config is the label section of a recipe.
type Config struct {
	// Store is the path of the label store, or the URL of a PostgreSQL database without a password, postgres://USER@HOST/DATABASE. Default labels.db.
	Store string
	// Min is the number of trainable judgements (preferences and ties) from which training may begin. Default 0: none needed.
	Min int
	// Annotator is the name judgements are filed under. Default "": the name of the user who runs the program.
	Annotator string
	// Overlap is the number of people who are to judge each item, from 1. Default 1.
	Overlap int
	// OverlapShare is the share of the items, drawn by their content, for which overlap holds; the others need one person. Default 0: all.
	OverlapShare float64
	// Order is the order of the queue: uncertain and close go by scores in the store, disagreement by what others said. Default "": as the items were added.
	Order string
	// Random is the share of all items that are asked in random order whatever the order, kept apart for unbiased measures. Default 0.
	Random float64
	// Repeat is the share of a person's items that come a second time, unsaid, to see whether they say the same. Default 0.
	Repeat float64
	// GoldEvery is after how many items one comes whose answer is known, where the store has such. Default 10.
	GoldEvery int
	// Goal is the number of judgements that a sitting aims at. Default 0: none set.
	Goal int
	// Axes are what answers are rated on in mode rate, at most nine. Default [helpful, harmless, honest].
	Axes []string
	// Tags are reasons that can be ticked by digits, at most nine. Default none.
	Tags []string
	// Guidelines is markdown shown on g. Default none.
	Guidelines string
	// Keys binds acts to other keys: act name to keys separated by spaces. Default as the help screen lists.
	Keys map[string]string
}

// Default is the configuration of a recipe that says nothing.
func Default() Config {
	return Config{Store: "labels.db", Overlap: 1, GoldEvery: 10, Axes: DefaultAxes()}
}

// Queue is what the section says of which items come, and in what order.
func (c Config) Queue() Queue {
	return Queue{Order: Order(c.Order), Random: c.Random, Overlap: c.Overlap, OverlapShare: c.OverlapShare, Repeat: c.Repeat, GoldEvery: c.GoldEvery}
}

// Validate checks ranges and what depends on each other.
func (c Config) Validate() error {
	switch {
	case c.Store == "":
		return fmt.Errorf("label.store: no path")
	case pgurl.Written(c.Store) != nil:
		return fmt.Errorf("label.store: %w", pgurl.Written(c.Store))
	case c.Min < 0:
		return fmt.Errorf("label.min: %d is negative", c.Min)
	case c.Overlap < 1:
		return fmt.Errorf("label.overlap: %d is less than 1", c.Overlap)
	case c.Goal < 0:
		return fmt.Errorf("label.goal: %d is negative", c.Goal)
	case len(c.Axes) > 9:
		return fmt.Errorf("label.axes: %d; there is room for nine", len(c.Axes))
	case len(c.Tags) > 9:
		return fmt.Errorf("label.tags: %d reasons; there are keys for nine", len(c.Tags))
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"tags", c.Tags}, {"axes", c.Axes}} {
		for i, t := range list.names {
			if t == "" || slices.Contains(list.names[:i], t) {
				return fmt.Errorf("label.%s: %q is empty or twice there", list.key, t)
			}
		}
	}
	if err := c.Queue().check(); err != nil {
		return fmt.Errorf("label: %w", err)
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
