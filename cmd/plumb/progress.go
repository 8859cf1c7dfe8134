package main

import (
	"context"
	"path/filepath"
	"slices"
	"sync"

	"plumb/internal/checkpoint"
	"plumb/internal/dataset"
	"plumb/internal/ui"
)

// What is read, hashed, encoded and written takes its time where models and data sets are large. It is shown like the steps of a
// training; a signal ends what is told here between two tensors or pieces of a file.

// bytesOf shows a piece of work that is told in bytes. It ends with the next one, or with Done.
func (a *app) bytesOf(what string) func(done, total int64) {
	var mu sync.Mutex
	most := int64(-1)
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if most < 0 {
			a.progress.Start(what, "KiB", 0, int(total>>10))
		}
		if done > most { // of several goroutines the one that is further may be heard first
			most = done
			a.progress.Set(int(done>>10), ui.Bytes(done))
		}
	}
}

// reading shows how far the reading of a data set is.
func (a *app) reading(path string, o dataset.Options) dataset.Options {
	o.Told = a.bytesOf("read " + filepath.Base(path))
	return o
}

// encoding shows how many records of a data set have been encoded.
func (a *app) encoding(done, total int) {
	if done == 0 {
		a.progress.Start("encode", "records", 0, total)
	}
	a.progress.Set(done, "")
	if done == total {
		a.progress.Done()
	}
}

// tensorsOf shows a piece of work on so many tensors: what it returns is to be called before each, and its error ends the work.
func (a *app) tensorsOf(ctx context.Context, what string, total int) func() error {
	a.progress.Start(what, "tensors", 0, total)
	done := -1
	return func() error {
		done++
		a.progress.Set(done, "")
		return ctx.Err()
	}
}

// shownEntries are tensors to be written, or compared, of which each is shown when its values have been computed.
func (a *app) shownEntries(ctx context.Context, what string, entries []checkpoint.Entry) []checkpoint.Entry {
	a.progress.Start(what, "tensors", 0, len(entries))
	out := slices.Clone(entries)
	for i, e := range entries {
		if e.Bytes != nil {
			out[i].Bytes = func() []byte {
				defer a.progress.Set(i+1, "")
				return e.Bytes()
			}
			continue
		}
		out[i].Float32 = func() ([]float32, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			defer a.progress.Set(i+1, "")
			return e.Float32()
		}
	}
	return out
}
