package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ggufFile assembles a GGUF header by hand.
type ggufFile struct{ bytes.Buffer }

func newGGUF(version uint32, tensors, keys uint64) *ggufFile {
	f := &ggufFile{}
	f.WriteString("GGUF")
	f.put(version, tensors, keys)
	return f
}

func (f *ggufFile) put(values ...any) *ggufFile {
	for _, v := range values {
		if s, ok := v.(string); ok {
			f.put(uint64(len(s)))
			f.WriteString(s)
			continue
		}
		_ = binary.Write(&f.Buffer, binary.LittleEndian, v)
	}
	return f
}

// pad aligns to 32 and appends n bytes of data.
func (f *ggufFile) pad(n int) *ggufFile {
	for f.Len()%32 != 0 {
		f.WriteByte(0)
	}
	f.Write(make([]byte, n))
	return f
}

func TestHostileGGUF(t *testing.T) {
	u32, u64 := func(v uint32) uint32 { return v }, func(v uint64) uint64 { return v }
	tensor := func(f *ggufFile, name string, kind uint32, off uint64, dims ...uint64) *ggufFile {
		return f.put(name, uint32(len(dims)), dims, kind, off)
	}
	for name, c := range map[string]struct {
		file *ggufFile
		want string
	}{
		"empty":           {&ggufFile{}, "not a GGUF file"},
		"version-1":       {newGGUF(1, 0, 0), "version 1"},
		"big-endian":      {newGGUF(3<<24, 0, 0), "big-endian"},
		"keys":            {newGGUF(3, 0, math.MaxUint64), "metadata keys claimed"},
		"tensors":         {newGGUF(3, 1<<60, 0), "tensors claimed"},
		"key-length":      {newGGUF(3, 0, 1).put(u64(1<<62), "xxxxxxxx"), "bytes of text claimed"},
		"string-length":   {newGGUF(3, 0, 1).put("k", u32(ggufString), u64(1<<40)), `"k": 1099511627776 bytes of text claimed`},
		"array-length":    {newGGUF(3, 0, 1).put("k", u32(ggufArray), u32(ggufFloat32), u64(1<<61)), "array elements claimed"},
		"strings-length":  {newGGUF(3, 0, 1).put("k", u32(ggufArray), u32(ggufString), u64(1<<60)), "strings claimed"},
		"bool-length":     {newGGUF(3, 0, 1).put("k", u32(ggufArray), u32(ggufBool), u64(1<<63)), "array elements claimed"},
		"arrays-length":   {newGGUF(3, 0, 1).put("k", u32(ggufArray), u32(ggufArray), u64(1<<60)), "arrays claimed"},
		"deep":            {newGGUF(3, 0, 1).put("k", u32(ggufArray), []uint32{9, 1, 0, 9, 1, 0, 9, 1, 0, 9, 1, 0, 9, 1, 0, 9, 1, 0}), "nested"},
		"type":            {newGGUF(3, 0, 1).put("kk", u32(77), u64(0)), "unknown metadata type 77"},
		"array-type":      {newGGUF(3, 0, 1).put("k", u32(ggufArray), u32(55), u64(0)), "unknown array type 55"},
		"key-twice":       {newGGUF(3, 0, 2).put("k", u32(ggufUint32), u32(1), "k", u32(ggufUint32), u32(1)), `"k" occurs twice`},
		"alignment":       {newGGUF(3, 0, 1).put("general.alignment", u32(ggufUint32), u32(0)), "general.alignment"},
		"alignment-type":  {newGGUF(3, 0, 1).put("general.alignment", u32(ggufString), "32"), "general.alignment"},
		"rank":            {newGGUF(3, 1, 0).put("t", u32(1<<31), u64(0), u64(0)), "dimensions"},
		"overflow":        {tensor(newGGUF(3, 1, 0), "t", 0, 0, 1<<40, 1<<40).pad(32), "overflows"},
		"overflow-blocks": {tensor(newGGUF(3, 1, 0), "t", 28, 0, 1<<62, 1).pad(32), "out of range"},
		"block":           {tensor(newGGUF(3, 1, 0), "t", 2, 0, 33).pad(64), "blocks of 32"},
		"tensor-type":     {tensor(newGGUF(3, 1, 0), "t", 200, 0, 32).pad(64), "unknown type 200"},
		"removed-type":    {tensor(newGGUF(3, 1, 0), "t", 4, 0, 32).pad(64), "unknown type 4"},
		"truncated":       {tensor(newGGUF(3, 1, 0), "t", 0, 0, 32).pad(127), "truncated"},
		"no-data":         {tensor(newGGUF(3, 1, 0), "t", 0, 0, 32), "truncated"},
		"offset":          {tensor(newGGUF(3, 1, 0), "t", 0, 1<<63, 32).pad(128), "out of range"},
		"unaligned":       {tensor(newGGUF(3, 1, 0), "t", 0, 4, 8).pad(128), "not a multiple of 32"},
		"overlap":         {tensor(tensor(newGGUF(3, 2, 0), "t", 0, 0, 32), "u", 0, 32, 8).pad(128), `tensor "u" starts inside tensor "t"`},
		"tensor-twice":    {tensor(tensor(newGGUF(3, 2, 0), "t", 0, 0, 8), "t", 0, 32, 8).pad(128), `tensor "t" occurs twice`},
		"no-arch":         {newGGUF(3, 0, 0).put(u32(0), u32(0), u32(0)), `architecture ""`},
		"other-arch":      {newGGUF(3, 0, 1).put("general.architecture", u32(ggufString), "mamba"), `architecture "mamba"`},
		"no-layers":       {newGGUF(3, 0, 1).put("general.architecture", u32(ggufString), "llama"), "llama.block_count is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.gguf")
			if err := os.WriteFile(path, c.file.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, path, c.want)
		})
	}
}

// Every proper prefix of a sound file is refused.
func TestTruncatedGGUF(t *testing.T) {
	whole := []byte(mustRead(t, "testdata/tiny-llama.gguf"))
	path := filepath.Join(t.TempDir(), "model.gguf")
	for n := 0; n < len(whole)-32; n += 1 + n/64 { // the last tensor may be followed by up to 31 bytes of padding
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Errorf("the first %d of %d bytes open", n, len(whole))
		}
	}
}

// llamaGGUF is a llama header without tensors but for rope_freqs, with more keys appended.
func llamaGGUF(tensors uint64, keys int, more func(*ggufFile)) []byte {
	f := newGGUF(3, tensors, uint64(6+keys))
	f.put("general.architecture", uint32(ggufString), "llama")
	for key, v := range map[string]uint32{
		"block_count": 1, "embedding_length": 32, "feed_forward_length": 64, "attention.head_count": 4, "context_length": 128,
	} {
		f.put("llama."+key, uint32(ggufUint32), v)
	}
	more(f)
	return f.pad(128).Bytes()
}

// What Hugging Face's Llama has no place for is refused by name; what it has a place for is taken over.
func TestLlamaSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	for name, c := range map[string]struct {
		keys int
		more func(*ggufFile)
		want string // part of the error, or of the config after "="
	}{
		"experts": {1, func(f *ggufFile) { f.put("llama.expert_count", uint32(ggufUint32), uint32(8)) }, "llama.expert_count is 8"},
		"softcap": {1, func(f *ggufFile) { f.put("llama.final_logit_softcapping", uint32(ggufFloat32), float32(30)) }, "llama.final_logit_softcapping is 30"},
		"partial": {1, func(f *ggufFile) { f.put("llama.rope.dimension_count", uint32(ggufUint32), uint32(4)) }, "llama.rope.dimension_count is 4"},
		"kv":      {1, func(f *ggufFile) { f.put("llama.attention.head_count_kv", uint32(ggufUint32), uint32(3)) }, "4 heads of 8 on 3 key heads"},
		"kv-mixed": {1, func(f *ggufFile) {
			f.put("llama.attention.head_count_kv", uint32(ggufArray), uint32(ggufInt32), uint64(2), []int32{4, 2})
		}, "differs between layers"},
		"kv-list": {1, func(f *ggufFile) {
			f.put("llama.attention.head_count_kv", uint32(ggufArray), uint32(ggufInt32), uint64(2), []int32{2, 2})
		}, `="num_key_value_heads": 2`},
		"nan":      {1, func(f *ggufFile) { f.put("llama.rope.freq_base", uint32(ggufFloat32), float32(math.NaN())) }, "llama.rope.freq_base is NaN"},
		"heads-0":  {1, func(f *ggufFile) { f.put("llama.attention.head_count_kv", uint32(ggufUint32), uint32(0)) }, "0 key heads"},
		"longrope": {1, func(f *ggufFile) { f.put("llama.rope.scaling.type", uint32(ggufString), "longrope") }, `"longrope"`},
		"linear": {2, func(f *ggufFile) {
			f.put("llama.rope.scaling.type", uint32(ggufString), "linear", "llama.rope.scaling.factor", uint32(ggufFloat32), float32(4))
		}, "=\"rope_scaling\": {\n    \"factor\": 4,\n    \"rope_type\": \"linear\"\n  }"},
		"yarn": {3, func(f *ggufFile) {
			f.put("llama.rope.scaling.type", uint32(ggufString), "yarn", "llama.rope.scaling.factor", uint32(ggufFloat32), float32(4))
			f.put("llama.rope.scaling.original_context_length", uint32(ggufUint32), uint32(32))
		}, "=\"rope_scaling\": {\n    \"factor\": 4,\n    \"original_max_position_embeddings\": 32,\n    \"rope_type\": \"yarn\"\n  }"},
		"window":  {1, func(f *ggufFile) { f.put("llama.attention.sliding_window", uint32(ggufUint32), uint32(16)) }, `="model_type": "mistral"`},
		"default": {0, func(f *ggufFile) {}, `="rope_theta": 10000,`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, llamaGGUF(0, c.keys, c.more), 0o644); err != nil {
				t.Fatal(err)
			}
			config, ok := strings.CutPrefix(c.want, "=")
			if !ok {
				mustRefuse(t, path, c.want)
			} else if s := open(t, path); !strings.Contains(string(s.ConfigJSON), config) {
				t.Errorf("config %s, want %s in it", s.ConfigJSON, config)
			}
		})
	}
	t.Run("rope_freqs", func(t *testing.T) {
		b := llamaGGUF(1, 0, func(f *ggufFile) { f.put("rope_freqs.weight", uint32(1), uint64(4), uint32(0), uint64(0)) })
		for i, v := range []float32{1, 1, 3, 8} {
			binary.LittleEndian.PutUint32(b[len(b)-128+4*i:], math.Float32bits(v))
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, path, "rope_freqs.weight does not follow")
	})
	t.Run("tensor", func(t *testing.T) {
		b := llamaGGUF(1, 0, func(f *ggufFile) { f.put("blk.0.ssm_a", uint32(1), uint64(4), uint32(0), uint64(0)) })
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, path, `tensor "blk.0.ssm_a" has no place`)
	})
}
