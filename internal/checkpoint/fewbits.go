package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FewBits is a matrix in 4 or 8 bits: codes, what they stand for, and a scale for every Block values of the flattened
// matrix. The fields are those of kernels.Quantised, where the arithmetic is defined.
type FewBits struct {
	Bits  int
	Block int
	Codes []byte
	Table []float32

	Scales []float32 // nil with double quantisation
	Mins   []float32 // of GGUF's types that have minima, else nil

	ScaleCodes  []byte
	Nested      []float32
	NestedTable []float32
	Offset      float32
}

// The layout of bitsandbytes: a matrix NAME of n values is NAME (U8, the codes), NAME.absmax, NAME.quant_map and, with double
// quantisation, NAME.nested_absmax and NAME.nested_quant_map; NAME.quant_state.KIND is the JSON of quantState. int8Kind is
// Plumb's own, in the same layout: bitsandbytes stores no blockwise 8-bit matrices.
const (
	nf4Kind  = "bitsandbytes__nf4"
	fp4Kind  = "bitsandbytes__fp4"
	int8Kind = "plumb__int8"
)

// fewTypes are the types that Info names for them.
var fewTypes = map[string]DType{nf4Kind: "NF4", fp4Kind: "FP4", int8Kind: "INT8"}

type quantState struct {
	Type        string   `json:"quant_type"`
	Block       int      `json:"blocksize"`
	DType       string   `json:"dtype"`
	Shape       []int64  `json:"shape"`
	NestedBlock int      `json:"nested_blocksize,omitempty"`
	NestedDType string   `json:"nested_dtype,omitempty"`
	Offset      *float64 `json:"nested_offset,omitempty"`
}

// nestedBlock is the only number of scales that share one in double quantisation.
const nestedBlock = 256

// parts are the tensors that make a matrix in few bits.
type parts struct {
	state                                   quantState
	bits                                    int
	codes, absmax, table, nested, nestedMap *stored
}

// foldFewBits replaces the parts of matrices in few bits by one tensor each, of the matrix's shape. Hash still sees the parts.
func (s *Source) foldFewBits() error {
	byName := map[string]*stored{}
	for i := range s.tensors {
		byName[s.tensors[i].name] = &s.tensors[i]
	}
	taken := map[string]bool{}
	var whole []stored
	for i := range s.tensors {
		name, kind, ok := strings.Cut(s.tensors[i].name, ".quant_state.")
		if !ok || fewTypes[kind] == "" {
			continue
		}
		t, err := fold(byName, name, kind, taken)
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", s.tensors[i].file.name, name, err)
		}
		whole = append(whole, *t)
	}
	if whole == nil {
		return nil
	}
	s.asStored = s.tensors
	s.tensors = slices.DeleteFunc(slices.Clone(s.tensors), func(t stored) bool { return taken[t.name] })
	s.tensors = append(s.tensors, whole...)
	slices.SortFunc(s.tensors, func(a, b stored) int { return strings.Compare(a.name, b.name) })
	return nil
}

func fold(byName map[string]*stored, name, kind string, taken map[string]bool) (*stored, error) {
	part := func(suffix string) *stored {
		t := byName[name+suffix]
		if t != nil {
			taken[t.name] = true
		}
		return t
	}
	js := part(".quant_state." + kind)
	if js.dtype != U8 || js.bytes > 1<<16 {
		return nil, fmt.Errorf("its quant_state is %s of %d bytes, want the bytes of a short JSON text", js.dtype, js.bytes)
	}
	text := make([]byte, js.bytes)
	if err := js.file.readAt(text, js.off); err != nil {
		return nil, err
	}
	p := &parts{
		bits: 4, codes: part(""), absmax: part(".absmax"), table: part(".quant_map"),
		nested: part(".nested_absmax"), nestedMap: part(".nested_quant_map"),
	}
	if kind == int8Kind {
		p.bits = 8
	}
	if err := json.Unmarshal(text, &p.state); err != nil {
		return nil, fmt.Errorf("its quant_state: %w", jsonError(err))
	}
	shape, count, err := checkShape(p.state.Shape)
	if err != nil {
		return nil, err
	}
	if err := p.check(count); err != nil {
		return nil, err
	}
	bytes := p.codes.bytes + p.absmax.bytes + p.table.bytes
	return &stored{name: name, dtype: fewTypes[kind], shape: shape, count: count, file: p.codes.file, off: p.codes.off, bytes: bytes, few: p}, nil
}

// check compares the sizes and types of the parts with what count values need.
func (p *parts) check(count int) error {
	if p.codes == nil || p.absmax == nil || p.table == nil {
		return errors.New("its weight, absmax or quant_map is missing")
	}
	if p.state.Block <= 0 {
		return fmt.Errorf("blocksize %d", p.state.Block)
	}
	blocks := (count + p.state.Block - 1) / p.state.Block
	want := func(t *stored, what string, d DType, n int) error {
		if t.dtype != d || t.count != n {
			return fmt.Errorf("%s is %s of %d elements, want %s of %d", what, t.dtype, t.count, d, n)
		}
		return nil
	}
	err := errors.Join(want(p.codes, "weight", U8, (count*p.bits+7)/8), want(p.table, "quant_map", F32, 1<<p.bits))
	switch {
	case p.nested == nil && p.nestedMap == nil && p.state.Offset == nil:
		return errors.Join(err, want(p.absmax, "absmax", F32, blocks))
	case p.nested == nil || p.nestedMap == nil || p.state.Offset == nil:
		return errors.New("of double quantisation nested_absmax, nested_quant_map or nested_offset is missing")
	case p.state.NestedBlock != nestedBlock:
		return fmt.Errorf("nested_blocksize %d, only %d is read", p.state.NestedBlock, nestedBlock)
	}
	return errors.Join(err, want(p.absmax, "absmax", U8, blocks),
		want(p.nested, "nested_absmax", F32, (blocks+nestedBlock-1)/nestedBlock), want(p.nestedMap, "nested_quant_map", F32, 256))
}

// FewBits reads a matrix that is stored in few bits as it is: bitsandbytes' 4 bits, GGUF's block-quantised types;
// nil for any other tensor. Scales that are not finite are an error. The caller owns the slices.
func (s *Source) FewBits(name string) (*FewBits, error) {
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if t.few != nil {
		return t.few.read()
	}
	f, err := t.blockBits()
	return f, t.explain(err)
}

func (p *parts) read() (*FewBits, error) {
	var errs []error
	floats := func(t *stored) []float32 {
		v, err := t.float32s()
		if err == nil {
			err = CheckFinite(t.name, v)
		}
		errs = append(errs, t.explain(err))
		return v
	}
	raw := func(t *stored) []byte {
		b := make([]byte, t.bytes)
		errs = append(errs, t.file.readAt(b, t.off))
		return b
	}
	f := &FewBits{Bits: p.bits, Block: p.state.Block, Codes: raw(p.codes), Table: floats(p.table)}
	if p.nested == nil {
		f.Scales = floats(p.absmax)
	} else {
		f.ScaleCodes, f.Nested, f.NestedTable, f.Offset = raw(p.absmax), floats(p.nested), floats(p.nestedMap), float32(*p.state.Offset)
	}
	return f, errors.Join(errs...)
}

// float32s dequantises: Table[code]·scale, with minima Table[code]·scale + minimum, whose product is exact;
// scale = NestedTable[code]·Nested + Offset with double quantisation, every step
// rounded to float32.
func (f *FewBits) float32s(v []float32) {
	for i := range v {
		code := f.Codes[i*f.Bits/8]
		if f.Bits == 4 {
			code = code >> (4 * (1 - i%2)) & 15
		}
		b := i / f.Block
		if f.Mins != nil {
			v[i] = float32(f.Table[code]*f.Scales[b]) + f.Mins[b]
		} else if f.ScaleCodes == nil {
			v[i] = f.Table[code] * f.Scales[b]
		} else {
			v[i] = f.Table[code] * (float32(f.NestedTable[f.ScaleCodes[b]]*f.Nested[b/nestedBlock]) + f.Offset)
		}
	}
}

// Entries returns what has to be written for a matrix in few bits: NF4 in bitsandbytes' layout, 8 bits in the same under
// Plumb's name. codes is called when their turn comes; f.Codes is not used.
func (f *FewBits) Entries(name string, shape []int, codes func() []byte) ([]Entry, error) {
	kind, st := nf4Kind, quantState{Type: "nf4", Block: f.Block, DType: "float32"}
	if f.Bits == 8 {
		kind, st.Type = int8Kind, "int8"
	}
	n := 1
	for _, d := range shape {
		st.Shape = append(st.Shape, int64(d))
		n *= d
	}
	bytes := func(suffix string, shape []int, b func() []byte) Entry {
		return Entry{Name: name + suffix, DType: U8, Shape: shape, Bytes: b}
	}
	floats := func(suffix string, v []float32) Entry {
		return Entry{Name: name + suffix, DType: F32, Shape: []int{len(v)}, Float32: func() ([]float32, error) { return v, nil }}
	}
	out := []Entry{bytes("", []int{(n*f.Bits + 7) / 8, 1}, codes), floats(".quant_map", f.Table)}
	if f.ScaleCodes == nil {
		out = append(out, floats(".absmax", f.Scales))
	} else {
		offset := float64(f.Offset)
		st.NestedBlock, st.NestedDType, st.Offset = nestedBlock, "float32", &offset
		out = append(out, bytes(".absmax", []int{len(f.ScaleCodes)}, func() []byte { return f.ScaleCodes }),
			floats(".nested_absmax", f.Nested), floats(".nested_quant_map", f.NestedTable))
	}
	text, err := json.Marshal(st)
	return append(out, bytes(".quant_state."+kind, []int{len(text)}, func() []byte { return text })), err
}
