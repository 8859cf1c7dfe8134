package checkpoint

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// TestBitsandbytesFolder: a folder as transformers and bitsandbytes write it shows one tensor a matrix, in its shape, with the
// codes and the values of the reference (tolerance of nf4/four_bit.json: 1e-6 of the block's largest; here of the largest).
func TestBitsandbytesFolder(t *testing.T) {
	s := open(t, golden.Dir(t, "nf4/llama-bnb-4bit"))
	want := golden.Tensors(t, golden.Dir(t, "nf4/qlora.safetensors"))
	if n := len(s.Names()); n != 2*9+3 {
		t.Errorf("%d tensors, want those of two layers, the embedding, the last norm and the head: %v", n, s.Names())
	}
	const name = "model.layers.0.mlp.down_proj.weight"
	if d, shape, _ := s.Info(name); d != "NF4" || !slices.Equal(shape, []int{32, 100}) {
		t.Errorf("%s is %s %v", name, d, shape)
	}
	seen := 0
	for key, v := range want {
		if name, ok := strings.CutPrefix(key, "packed."); ok {
			seen++
			f, err := s.FewBits(name)
			if err != nil || f == nil || !bytes.Equal(f.Codes, v.Bytes) {
				t.Errorf("%s: codes differ (%v)", name, err)
			}
		}
		if name, ok := strings.CutPrefix(key, "dequantised."); ok {
			seen++
			got, err := s.Float32(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if d := got[i] - v.F[i]; d > 1e-6 || d < -1e-6 { // every block's largest is below 1
					t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], v.F[i])
				}
			}
		}
	}
	if seen != 14+7 {
		t.Errorf("%d tensors of the reference compared, want 21", seen)
	}
	if f, err := s.FewBits("model.norm.weight"); f != nil || err != nil {
		t.Errorf("a norm in few bits: %v, %v", f, err)
	}
}

// TestFewBitsRoundTrip: a matrix in few bits, NF4 as read and its 8-bit and singly quantised relatives, is written in the
// layout it is read from, and comes back the same.
func TestFewBitsRoundTrip(t *testing.T) {
	s := open(t, golden.Dir(t, "nf4/llama-bnb-4bit"))
	const name = "model.layers.0.self_attn.q_proj.weight"
	nf4, err := s.FewBits(name)
	if err != nil {
		t.Fatal(err)
	}
	single := *nf4
	single.ScaleCodes, single.Nested, single.NestedTable, single.Offset, single.Scales = nil, nil, nil, 0, make([]float32, 16)
	eight := single
	eight.Bits, eight.Table, eight.Codes = 8, make([]float32, 256), make([]byte, 32*32)
	for i, f := range []*FewBits{nf4, &single, &eight} {
		entries, err := f.Entries("w", []int{32, 32}, func() []byte { return f.Codes })
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := WriteSafetensors(path, entries, nil); err != nil {
			t.Fatal(err)
		}
		got, err := open(t, path).FewBits("w")
		if err != nil || !bytes.Equal(got.Codes, f.Codes) || !slices.Equal(got.Scales, f.Scales) || !bytes.Equal(got.ScaleCodes, f.ScaleCodes) ||
			!slices.Equal(got.Nested, f.Nested) || !slices.Equal(got.Table, f.Table) || got.Offset != f.Offset || got.Bits != f.Bits || got.Block != f.Block {
			t.Errorf("case %d came back as %+v (%v), was %+v", i, got, err, f)
		}
	}
}

// TestBrokenFewBits: parts that do not fit are refused by name.
func TestBrokenFewBits(t *testing.T) {
	u8 := func(name string, b []byte) Entry {
		return Entry{Name: name, DType: U8, Shape: []int{len(b)}, Bytes: func() []byte { return b }}
	}
	f32 := func(name string, n int) Entry {
		return Entry{Name: name, DType: F32, Shape: []int{n}, Float32: func() ([]float32, error) { return make([]float32, n), nil }}
	}
	const state = "w.quant_state.bitsandbytes__nf4"
	good := `{"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[2,64]}`
	for _, c := range []struct {
		entries []Entry
		want    string
	}{
		{[]Entry{u8("w", make([]byte, 64)), f32("w.quant_map", 16), u8(state, []byte(good))}, `tensor "w": its weight, absmax or quant_map is missing`},
		{[]Entry{u8("w", make([]byte, 63)), f32("w.absmax", 2), f32("w.quant_map", 16), u8(state, []byte(good))}, "weight is U8 of 63 elements, want U8 of 64"},
		{[]Entry{u8("w", make([]byte, 64)), f32("w.absmax", 1), f32("w.quant_map", 16), u8(state, []byte(good))}, "absmax is F32 of 1 elements, want F32 of 2"},
		{[]Entry{u8("w", make([]byte, 64)), f32("w.absmax", 2), f32("w.quant_map", 16), u8(state, []byte("{"))}, "quant_state"},
		{[]Entry{u8("w", make([]byte, 64)), f32("w.absmax", 2), f32("w.quant_map", 16), u8(state, []byte(strings.Replace(good, "64,", "0,", 1)))}, "blocksize 0"},
		{[]Entry{u8("w", make([]byte, 64)), u8("w.absmax", make([]byte, 2)), f32("w.nested_absmax", 1), f32("w.quant_map", 16), u8(state, []byte(good))}, "nested_quant_map or nested_offset is missing"},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := WriteSafetensors(path, c.entries, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want one that says %q", err, c.want)
		}
	}
}
