package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"plumb/internal/golden"
)

// equalToGolden compares a Source with an independent reader of the files at paths.
func equalToGolden(t *testing.T, s *Source, paths ...string) {
	t.Helper()
	count := 0
	for _, path := range paths {
		for name, want := range golden.Tensors(t, path) {
			count++
			dtype, shape, ok := s.Info(name)
			if !ok || dtype != want.DType || !slices.Equal(shape, want.Shape) {
				t.Fatalf("%s: %s is %s %v (%v), want %s %v", s.Path, name, dtype, shape, ok, want.DType, want.Shape)
			}
			if want.F == nil {
				continue
			}
			got, err := s.Float32(name)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, name, got, want.F)
			if dtype == "BF16" {
				raw, err := s.BF16(name)
				if err != nil {
					t.Fatal(err)
				}
				for i, h := range raw {
					if math.Float32bits(want.F[i])>>16 != uint32(h) {
						t.Fatalf("%s[%d]: bfloat16 %04x, want the upper half of %v", name, i, h, want.F[i])
					}
				}
			}
		}
	}
	if count != len(s.Names()) {
		t.Errorf("%s: %d tensors, want %d", s.Path, len(s.Names()), count)
	}
}

func sameBits(t *testing.T, name string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s[%d] = %v, want %v", name, i, got[i], want[i])
		}
	}
}

func open(t *testing.T, path string) *Source {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestGoldenModelsOpen(t *testing.T) {
	root := golden.Dir(t, "models/summary.json")
	folders, err := filepath.Glob(filepath.Join(filepath.Dir(root), "*", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != 24 {
		t.Errorf("%d model folders, want 24", len(folders))
	}
	for _, config := range folders {
		dir := filepath.Dir(config)
		s := open(t, dir)
		weights, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
		equalToGolden(t, s, weights...)
		text, err := os.ReadFile(config)
		if err != nil || string(text) != string(s.ConfigJSON) {
			t.Errorf("%s: config.json differs (%v)", dir, err)
		}
	}
}

func TestShardedIsLlama(t *testing.T) {
	s := open(t, golden.Dir(t, "models/llama-sharded"))
	equalToGolden(t, s, filepath.Join(golden.Dir(t, "models/llama"), "model.safetensors"))
}

func TestRealModelsOpen(t *testing.T) {
	for name, want := range map[string]struct {
		special SpecialTokens
		eos     []int32
		chat    bool
	}{
		"stories260k":                  {SpecialTokens{BOS: "<s>", EOS: "</s>", UNK: "<unk>"}, []int32{2}, false},
		"stories3m":                    {SpecialTokens{BOS: "<s>", EOS: "</s>", UNK: "<unk>"}, []int32{2}, false},
		"tinystories-656k":             {SpecialTokens{BOS: "<|start_story|>", EOS: "<|end_story|>", UNK: "<unk>", PAD: "<unk>"}, []int32{2}, false},
		"tinystories-instruct-3m-chat": {SpecialTokens{BOS: "<|endoftext|>", EOS: "<|endoftext|>", UNK: "<|endoftext|>"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := golden.Shared(t, "models/"+name)
			s := open(t, dir)
			equalToGolden(t, s, filepath.Join(dir, "model.safetensors"))
			if s.Special != want.special {
				t.Errorf("special tokens %+v, want %+v", s.Special, want.special)
			}
			if want.eos != nil && !slices.Equal(s.Generation.EOS, want.eos) {
				t.Errorf("eos ids %v, want %v", s.Generation.EOS, want.eos)
			}
			if (s.ChatTemplate != "") != want.chat {
				t.Errorf("chat template %q", s.ChatTemplate)
			}
			if s.Tokenizer.JSON == nil {
				t.Error("no tokenizer.json")
			}
		})
	}
}
