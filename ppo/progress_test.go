package ppo

import (
	"context"
	"testing"
)

// lastShown is a progress line that keeps what it showed last.
type lastShown struct {
	silent
	total, done int
}

func (p *lastShown) Start(_, _ string, done, total int) { p.done, p.total = done, total }
func (p *lastShown) Set(done int, _ string)             { p.done = done }

// The line that stays when a training is over says that all episodes are done, also where the last update has fewer than a batch.
func TestProgressEndsAtTheEnd(t *testing.T) {
	shown := &lastShown{}
	in, c := toy(t, func(in *Inputs, c *Config) { in.Progress, c.Episodes, c.Batch = shown, 20, 8 })
	if _, err := Train(context.Background(), c, in, stage(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if shown.done != 20 || shown.total != 20 {
		t.Errorf("the last line says %d of %d episodes, want 20 of 20", shown.done, shown.total)
	}
}
