package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"plumb/internal/chat"
)

// jsonLines are objects, or strings, one a line. Empty lines are passed over.
type jsonLines struct{ lineReader }

func (j *jsonLines) next() (Row, error) {
	for {
		line, at, err := j.read()
		if err != nil {
			return Row{Origin: at}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		return jsonRow(line, at)
	}
}

// jsonRow decodes a record.
func jsonRow(raw []byte, at Origin) (Row, error) {
	v, err := chat.DecodeJSON(raw)
	if err != nil {
		return Row{Origin: at}, &rowError{err}
	}
	switch v := v.(type) {
	case chat.Object:
		return Row{at, v}, nil
	case string:
		return Row{at, chat.Object{{Key: "text", Value: v}}}, nil
	}
	return Row{Origin: at}, &rowError{fmt.Errorf("a record is an object or a string, not %s", jsonName(v))}
}

// jsonName names a decoded value's type.
func jsonName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case string:
		return "a string"
	case []any:
		return "a list"
	case chat.Object:
		return "an object"
	default:
		_ = v
		return "a number"
	}
}

// recordLists are the fields of a single object that hold its file's records.
var recordLists = []string{"data", "rows", "train", "examples", "instances"}

// jsonRows are the elements of an array. A .json file may also hold objects one after the other, or one object with a
// list of records in a field named "data" or the like.
type jsonRows struct {
	dec   *json.Decoder
	src   *meter
	file  string
	row   int
	limit int
	array bool
}

// meter bounds how much is read for one record.
type meter struct {
	in   io.Reader
	left int
}

var errLong = errors.New("record too long")

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errLong
	}
	n, err := m.in.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

func newJSONRows(in *bufio.Reader, file string, limit int) (rowReader, error) {
	first, err := firstByte(in)
	if err != nil {
		if err == io.EOF {
			return nil, errors.New("the file is empty")
		}
		return nil, err
	}
	src := &meter{in, limit}
	j := &jsonRows{dec: json.NewDecoder(src), src: src, file: file, limit: limit}
	switch first {
	case '[':
		j.array = true
		if _, err := j.dec.Token(); err != nil {
			return nil, err
		}
		return j, nil
	case '{':
		return &jsonObjects{jsonRows: j}, nil
	}
	return nil, fmt.Errorf("a .json file begins with [ or {, not %q", first)
}

func firstByte(in *bufio.Reader) (byte, error) {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c, in.UnreadByte()
		}
	}
}

func (j *jsonRows) next() (Row, error) {
	at := Origin{j.file, j.row + 1}
	if !j.dec.More() {
		if _, err := j.dec.Token(); j.array && err != nil {
			return Row{Origin: at}, j.fault(err)
		}
		return Row{Origin: at}, io.EOF
	}
	raw, err := j.value()
	if err != nil {
		return Row{Origin: at}, err
	}
	j.row++
	return jsonRow(raw, at)
}

// value reads one value. What the decoder reads ahead counts for the record before.
func (j *jsonRows) value() (json.RawMessage, error) {
	j.src.left = j.limit
	var raw json.RawMessage
	if err := j.dec.Decode(&raw); err != nil {
		return nil, j.fault(err)
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("the record is not valid UTF-8")
	}
	return raw, nil
}

func (j *jsonRows) fault(err error) error {
	switch {
	case errors.Is(err, errLong):
		return fmt.Errorf("the record is longer than %d bytes", j.limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the file ends in the middle of a record, at byte %d", j.dec.InputOffset())
	}
	return fmt.Errorf("byte %d: %w", j.dec.InputOffset(), err)
}

// jsonObjects are objects that follow each other, or the records inside a single one.
type jsonObjects struct {
	*jsonRows
	started bool
	inner   []any // records of a single object
	pending json.RawMessage
}

func (j *jsonObjects) next() (Row, error) {
	if !j.started {
		j.started = true
		raw, err := j.value()
		if err != nil {
			return Row{Origin: Origin{j.file, 1}}, err
		}
		if j.dec.More() {
			j.pending = raw
		} else if err := j.single(raw); err != nil {
			return Row{Origin: Origin{j.file, 1}}, err
		}
	}
	at := Origin{j.file, j.row + 1}
	if j.pending != nil {
		raw := j.pending
		j.pending = nil
		j.row++
		return jsonRow(raw, at)
	}
	if j.inner == nil {
		return j.jsonRows.next()
	}
	if j.row == len(j.inner) {
		return Row{Origin: at}, io.EOF
	}
	v := j.inner[j.row]
	j.row++
	switch v := v.(type) {
	case chat.Object:
		return Row{at, v}, nil
	case string:
		return Row{at, chat.Object{{Key: "text", Value: v}}}, nil
	}
	return Row{Origin: at}, &rowError{fmt.Errorf("a record is an object or a string, not %s", jsonName(v))}
}

// single looks for the list of records in the only object of a file; without one the object is the only record.
func (j *jsonObjects) single(raw json.RawMessage) error {
	v, err := chat.DecodeJSON(raw)
	if err != nil {
		return err
	}
	for _, f := range v.(chat.Object) {
		list, ok := f.Value.([]any)
		if ok && slices.Contains(recordLists, strings.ToLower(f.Key)) {
			j.inner = list
			return nil
		}
	}
	j.pending = raw
	return nil
}
