package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plumb/internal/golden"
)

// slowly runs a command line as on a machine that takes three seconds for everything, and returns what it said of how far it was:
// of each piece of work the last line, which stays.
func slowly(t *testing.T, in io.Reader, args ...string) string {
	t.Helper()
	var looks atomic.Int64
	var errOut bytes.Buffer
	a := &app{in: in, out: io.Discard, err: &errOut, now: func() time.Time { return time.Unix(3*looks.Add(1), 0) }}
	if code := a.execute(context.Background(), args); code != exitOK {
		t.Fatalf("plumb %s: exit %d: %s", strings.Join(args, " "), code, errOut.String())
	}
	return errOut.String()
}

// shown checks that pieces of work ended in lines that say that all of it is done, how fast it went and how long it took.
func shown(t *testing.T, what, said string, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		if !regexp.MustCompile(`(?m)^` + p + `  100%  \S+ \S+/s  in \S+`).MatchString(said) {
			t.Errorf("%s: no line says %q was done:\n%s", what, p, said)
		}
	}
}

// dying is a context that ends when it has been asked so often.
type dying struct {
	context.Context
	left atomic.Int64
}

func (d *dying) Err() error {
	if d.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// An export that a signal ends, wherever it is, leaves nothing, so that the same command can be given again.
func TestExportEndsWithASignal(t *testing.T) {
	dir := t.TempDir()
	out, trained := filepath.Join(dir, "new", "out"), tinyGGUFAdapter(t, dir)
	// Hashing and reading the model asks 22 + 16 times, writing or comparing its weights 21 and reading it again 16.
	for format, least := range map[string]int{formatMerged: 22 + 16 + 21 + 21 + 16, formatPEFT: 22 + 16 + 21 + 16} {
		ended := 0
		for n := int64(0); ; n += 9 {
			ctx := &dying{Context: context.Background()}
			ctx.left.Store(n)
			var errOut bytes.Buffer
			code := plumb(ctx, []string{"export", trained, "--out", out, "--format", format, "-q"}, strings.NewReader(""), io.Discard, &errOut)
			if code == exitOK {
				break
			}
			if code != exitInterrupted {
				t.Fatalf("%s: exit %d, want %d: %s", format, code, exitInterrupted, errOut.String())
			}
			if left, err := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
				t.Errorf("%s: left behind: %v, %v", format, left, err)
			}
			ended++
		}
		if ended < least/9 {
			t.Errorf("%s: could be ended at %d places, 9 questions apart, want %d", format, ended, least/9)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

// Everything that may take longer than two seconds shows how far it is: texts and data sets that go through a tokenizer; a model that
// is hashed, read, quantised, kept and found again; a merge with all that is compared in it.
func TestProgressOfLongWork(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	restore(t, base, golden.Shared(t, "models/stories260k"))
	demos := filepath.Join(dir, "demos.jsonl")
	var texts strings.Builder
	for i := range 12 {
		fmt.Fprintf(&texts, "{\"prompt\": \"Once upon a time %d Tom\", \"completion\": \" saw a dog.%s\", \"text\": \"x\"}\n", i, strings.Repeat(" It ran.", 10))
	}
	put(t, demos, texts.String())
	in, err := os.Open(demos)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	shown(t, "tokenize", slowly(t, in, "tokenize", base), `tokenize  12/12 records`)
	said := slowly(t, nil, "data", "check", demos, "--format", "prompt-completion", "--model", base)
	shown(t, "data check", said, `read demos.jsonl  1/1 KiB`, `encode  12/12 records`)

	recipe := filepath.Join(dir, "recipe.yaml")
	put(t, recipe, fmt.Sprintf("name: t\nbase: %s\nquantize: nf4\nsft: {data: [{path: %s, format: prompt-completion}], eval: 0, batch: 4, peft: {r: 2, alpha: 4}}\n", base, demos))
	runs := filepath.Join(dir, "runs")
	const cache = `plumb-nf4-\S+.safetensors`
	// 5 layers of 7 matrices, and the embedding, which is the head; 35 matrices of codes with their scales and tables are kept.
	said = slowly(t, nil, "sft", recipe, "--runs", runs)
	shown(t, "sft", said, `hash base  \d+/\d+ KiB`, `quantise base  36/36 tensors`, `write `+cache+`  (\d+)/\d+ tensors`, `hash `+cache+`  \d+/\d+ KiB`,
		`read demos.jsonl  1/1 KiB`, `encode  12/12 records`, `sft  3/3 steps`)
	said = slowly(t, nil, "export", filepath.Join(runs, "t", "sft"), "--out", filepath.Join(dir, "merged"))
	shown(t, "export", said, `hash base  \d+/\d+ KiB`, `hash `+cache+`  \d+/\d+ KiB`, `load base  36/36 tensors`, `merge and write  47/47 tensors`,
		`read back  47/47 tensors`, `load merged  36/36 tensors`, `compare logits  2/2 models`, `perplexity  32/32 documents`)
	if n := strings.Count(said, "perplexity  32/32"); n != 2 {
		t.Errorf("perplexity was shown %d times, want before and after", n)
	}
	said = slowly(t, nil, "export", tinyGGUFAdapter(t, dir), "--out", filepath.Join(dir, "peft"), "--format", "peft")
	shown(t, "export of an adapter", said, `load tiny-llama.gguf  16/16 tensors`, `write the base  21/21 tensors`, `load base  16/16 tensors`, `compare logits  2/2 models`)
}
