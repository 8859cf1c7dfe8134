package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
)

// maxLine bounds one record of JSON lines read from a pipe, in bytes.
const maxLine = 64 << 20

// record is a JSON object whose fields keep their order and their digits.
type record struct {
	line   int
	fields []recordField
}

type recordField struct {
	key   string
	value json.RawMessage
}

// parseRecord reads one line.
func parseRecord(line int, data []byte) (*record, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil || start != json.Delim('{') {
		return nil, fmt.Errorf("line %d: want a JSON object", line)
	}
	r := &record{line: line}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		r.set(key.(string), v) // An object's keys are strings.
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: more than one JSON value", line)
	}
	return r, nil
}

// has reports whether the record has a field that is not null.
func (r *record) has(key string) bool {
	v, ok := r.get(key)
	return ok && string(v) != "null"
}

func (r *record) get(key string) (json.RawMessage, bool) {
	for _, f := range r.fields {
		if f.key == key {
			return f.value, true
		}
	}
	return nil, false
}

// set replaces a field where it stands, or adds it at the end.
func (r *record) set(key string, value json.RawMessage) {
	for i := range r.fields {
		if r.fields[i].key == key {
			r.fields[i].value = value
			return
		}
	}
	r.fields = append(r.fields, recordField{key, value})
}

func (r *record) clone() *record {
	return &record{line: r.line, fields: append([]recordField(nil), r.fields...)}
}

// decode reads a field into v.
func (r *record) decode(key string, v any) error {
	raw, ok := r.get(key)
	if !ok {
		return fmt.Errorf("no field %q", key)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			return fmt.Errorf("field %q: want %s, found %s", key, jsonTypeName(v), typ.Value)
		}
		return fmt.Errorf("field %q: %w", key, err)
	}
	return nil
}

func jsonTypeName(v any) string {
	switch v.(type) {
	case *string:
		return "a string"
	case *[]int32:
		return "a list of token ids"
	}
	return "another type"
}

func (r *record) setString(key, s string) { r.set(key, encodeString(s)) }

func (r *record) setIDs(key string, ids []int32) {
	b := []byte{'['}
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	r.set(key, append(b, ']'))
}

// setFloats writes the shortest decimals that read back as the same float32.
func (r *record) setFloats(key string, v []float32) {
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, float64(x), 32)
	}
	r.set(key, append(b, ']'))
}

func (r *record) setFloat(key string, x float64) { r.set(key, appendFloat(nil, x, 64)) }

func appendFloat(b []byte, x float64, bits int) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, x, 'g', -1, bits)
}

func encodeString(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("plumb: a string cannot be written as JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendTo writes the record as one line.
func (r *record) appendTo(b []byte) []byte {
	b = append(b, '{')
	for i, f := range r.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, encodeString(f.key)...), ':')
		var c bytes.Buffer
		if json.Compact(&c, f.value) == nil {
			b = append(b, c.Bytes()...)
		} else {
			b = append(b, f.value...)
		}
	}
	return append(b, '}', '\n')
}

// readRecords reads JSON lines and calls each with batches of up to size
// records, in order; empty lines are passed over. What each returns is written
// before the next batch is read, so that a stream goes through as it comes.
func (a *app) readRecords(ctx context.Context, size int, each func([]*record) ([]*record, error)) error {
	in := bufio.NewReaderSize(a.in, 1<<16)
	out := bufio.NewWriterSize(a.out, 1<<16)
	line := 0
	for {
		if err := ctx.Err(); err != nil {
			return errors.Join(out.Flush(), err)
		}
		batch, readErr := nextRecords(in, size, &line)
		if len(batch) > 0 { // Also those before a line that cannot be read.
			done, err := each(batch)
			for _, r := range done {
				if _, err := out.Write(r.appendTo(nil)); err != nil {
					return err
				}
			}
			if err := errors.Join(err, out.Flush()); err != nil {
				return err
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// recordsAhead counts the lines that readRecords will find where they come from a file, for the time left; else 0.
func (a *app) recordsAhead() int {
	f, ok := a.in.(*os.File)
	if !ok {
		return 0
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	lines, blank := 0, true
	in := bufio.NewReader(io.NewSectionReader(f, at, st.Size()-at))
	for {
		c, err := in.ReadByte()
		if err != nil || c == '\n' {
			if !blank {
				lines++
			}
			blank = true
		} else if c != ' ' && c != '\t' && c != '\r' {
			blank = false
		}
		if err != nil {
			return lines
		}
	}
}

func nextRecords(in *bufio.Reader, size int, line *int) ([]*record, error) {
	var batch []*record
	for len(batch) < size {
		data, err := readLine(in)
		*line++
		if len(bytes.TrimSpace(data)) > 0 {
			r, perr := parseRecord(*line, data)
			if perr != nil {
				return batch, perr
			}
			batch = append(batch, r)
		}
		if errors.Is(err, errLineTooLong) {
			return batch, fmt.Errorf("line %d: %w", *line, err)
		}
		if err != nil {
			return batch, err
		}
	}
	return batch, nil
}

var errLineTooLong = fmt.Errorf("longer than %d MiB", maxLine>>20)

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
