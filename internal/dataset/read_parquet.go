package dataset

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"plumb/internal/chat"
)

// maxUnpacked bounds what a .parquet.gz or .parquet.zst may unpack to: such a file has to be there as a whole.
const maxUnpacked = 16 << 30

// parquetRows are the rows of a .parquet file.
type parquetRows struct {
	reader *parquet.GenericReader[map[string]any]
	schema *parquet.Schema
	file   string
	row    int
	buf    [64]map[string]any
	have   []map[string]any
	ended  bool
}

func (f *openFile) startParquet(file *os.File, plain io.Reader, packed bool) (err error) {
	if packed {
		tmp, err := os.CreateTemp("", "plumb-*.parquet")
		if err != nil {
			return err
		}
		f.closers = append(f.closers, func() error { tmp.Close(); return os.Remove(tmp.Name()) })
		n, err := io.Copy(tmp, io.LimitReader(plain, maxUnpacked+1))
		if err != nil {
			return err
		}
		if n > maxUnpacked {
			return fmt.Errorf("unpacks to more than %d bytes", int64(maxUnpacked))
		}
		file = tmp
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	defer parquetFault(&err)
	pf, err := parquet.OpenFile(file, st.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	p := &parquetRows{reader: parquet.NewGenericReader[map[string]any](pf, pf.Schema()), schema: pf.Schema(), file: f.name}
	f.closers = append(f.closers, p.reader.Close)
	f.rows = p
	f.at = func() (int64, int64) { // columns lie apart: what counts are the rows
		return int64(float64(st.Size()) * float64(p.row) / float64(max(pf.NumRows(), 1))), st.Size()
	}
	return nil
}

// parquetFault turns the library's panics on damaged files into errors.
func parquetFault(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the parquet file is damaged: %v", r)
	}
}

func (p *parquetRows) next() (row Row, err error) {
	row.Origin = Origin{p.file, p.row + 1}
	defer parquetFault(&err)
	if len(p.have) == 0 {
		if p.ended {
			return row, io.EOF
		}
		for i := range p.buf {
			p.buf[i] = map[string]any{}
		}
		n, err := p.reader.Read(p.buf[:])
		if errors.Is(err, io.EOF) {
			p.ended = true
		} else if err != nil {
			return row, err
		}
		if p.have = p.buf[:n]; n == 0 {
			return row, io.EOF
		}
	}
	m := p.have[0]
	p.have = p.have[1:]
	p.row++
	row.Fields, err = parquetObject(m, p.schema)
	if err != nil {
		return row, &rowError{err}
	}
	return row, nil
}

// parquetObject gives a group's fields their order back; node is the group, as far as that is known.
func parquetObject(m map[string]any, node parquet.Node) (chat.Object, error) {
	nodes := map[string]parquet.Node{}
	var names []string
	if node != nil && !node.Leaf() {
		for _, f := range node.Fields() {
			if _, ok := m[f.Name()]; ok {
				names, nodes[f.Name()] = append(names, f.Name()), f
			}
		}
	}
	if len(names) < len(m) {
		names = slices.Sorted(maps.Keys(m))
	}
	o := make(chat.Object, 0, len(m))
	for _, name := range names {
		v, err := parquetValue(m[name], nodes[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		o = append(o, chat.Field{Key: name, Value: v})
	}
	return o, nil
}

// parquetValue makes of a value what DecodeJSON would have made of it.
func parquetValue(v any, node parquet.Node) (any, error) {
	switch v := v.(type) {
	case nil, bool, int, float64:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, errors.New("not valid UTF-8")
		}
		return v, nil
	case []byte:
		if !utf8.Valid(v) {
			return nil, errors.New("not valid UTF-8")
		}
		return string(v), nil
	case int8:
		return int(v), nil
	case int16:
		return int(v), nil
	case int32:
		return int(v), nil
	case int64:
		return int(v), nil
	case uint8:
		return int(v), nil
	case uint16:
		return int(v), nil
	case uint32:
		return int(v), nil
	case uint64:
		if v > math.MaxInt {
			return new(big.Int).SetUint64(v), nil
		}
		return int(v), nil
	case float32:
		return float64(v), nil
	case map[string]any:
		return parquetObject(v, node)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			y, err := parquetValue(x, elementOf(node))
			if err != nil {
				return nil, err
			}
			out[i] = y
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of type %T is not supported", v)
}

// elementOf goes down through the groups that a list is spelled with (list and element, bag and array …).
func elementOf(node parquet.Node) parquet.Node {
	for node != nil && !node.Leaf() {
		fields := node.Fields()
		if len(fields) != 1 || !slices.Contains([]string{"list", "element", "array", "item", "bag", "array_element"}, fields[0].Name()) {
			break
		}
		node = fields[0]
	}
	return node
}
