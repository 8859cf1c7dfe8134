package dataset

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"plumb/internal/chat"
)

// table makes records of lines of cells.
type table struct {
	names []string
	first []string // the first line, when it is not a header
	at    Origin   // of first
	file  string
	read  func() ([]string, Origin, error)
}

// newTable reads the first line: names of columns, or, if it does not look like that, a record whose columns are then
// called 1, 2 and so on.
func (f *openFile) newTable(read func() ([]string, Origin, error), o Options) (rowReader, error) {
	t := &table{file: f.name, read: read}
	cells, at, err := read()
	if err == io.EOF {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", at.Line, err)
	}
	if isHeader(cells, o) {
		for i, name := range cells {
			name = strings.TrimSpace(name)
			if name == "" {
				name = strconv.Itoa(i + 1)
			}
			if slices.Contains(t.names, name) {
				return nil, fmt.Errorf("column %q is there twice", name)
			}
			t.names = append(t.names, name)
		}
		return t, nil
	}
	t.first, t.at = cells, at
	for i := range cells {
		t.names = append(t.names, strconv.Itoa(i+1))
	}
	if text, label := textAndLabel(cells); label != "" && len(o.Columns) == 0 {
		i, _ := strconv.Atoi(text)
		k, _ := strconv.Atoi(label)
		t.names[i-1], t.names[k-1] = "text", "label"
		f.notes = append(f.notes, fmt.Sprintf("there is no line of column names; column %s is taken for the text, column %s for its label", text, label))
	} else {
		f.notes = append(f.notes, "there is no line of column names; columns are called 1, 2, …")
	}
	return t, nil
}

// isHeader reports whether cells are names of columns: one is a name that records here have, or that the caller names.
func isHeader(cells []string, o Options) bool {
	for _, c := range cells {
		c = strings.TrimSpace(c)
		if slices.Contains(knownFields, strings.ToLower(c)) {
			return true
		}
		for _, name := range o.Columns {
			if name == c {
				_, err := strconv.Atoi(c)
				return err != nil
			}
		}
	}
	return false
}

// textAndLabel recognises lines of a text and a small number, in any order; the results are names of columns.
func textAndLabel(cells []string) (text, label string) {
	if len(cells) != 2 {
		return "", ""
	}
	for i := range cells {
		_, isNumber := strconv.ParseFloat(cells[i], 64)
		_, otherIsNumber := strconv.ParseFloat(cells[1-i], 64)
		if isNumber == nil && otherIsNumber != nil {
			return strconv.Itoa(2 - i), strconv.Itoa(i + 1)
		}
	}
	return "", ""
}

func (t *table) next() (Row, error) {
	cells, at := t.first, t.at
	t.first = nil
	for cells == nil {
		var err error
		if cells, at, err = t.read(); err != nil {
			return Row{Origin: at}, err
		}
		if len(cells) == 1 && strings.TrimSpace(cells[0]) == "" && len(t.names) > 1 {
			cells = nil // an empty line
		}
	}
	if len(cells) != len(t.names) {
		return Row{Origin: at}, &rowError{fmt.Errorf("%d columns, where the first line has %d", len(cells), len(t.names))}
	}
	r := Row{at, make(chat.Object, len(cells))}
	for i, c := range cells {
		r.Fields[i] = chat.Field{Key: t.names[i], Value: c}
	}
	return r, nil
}

// newTSV reads tab-separated values as they are published: no quotes, one record a line.
func (f *openFile) newTSV(in lineReader, o Options) (rowReader, error) {
	return f.newTable(func() ([]string, Origin, error) {
		line, at, err := in.read()
		if err != nil {
			return nil, at, err
		}
		return strings.Split(string(line), "\t"), at, nil
	}, o)
}

// newCSV reads comma-separated values with quotes (RFC 4180).
func (f *openFile) newCSV(in *bufio.Reader, limit int, o Options) (rowReader, error) {
	src := &meter{in, limit}
	r := csv.NewReader(src)
	r.FieldsPerRecord = -1 // table.next says it better
	return f.newTable(func() ([]string, Origin, error) {
		src.left = limit
		cells, err := r.Read()
		var p *csv.ParseError
		switch {
		case errors.As(err, &p):
			return nil, Origin{f.name, p.StartLine}, p.Err
		case errors.Is(err, errLong):
			return nil, Origin{f.name, 0}, fmt.Errorf("a record is longer than %d bytes: a quote may be missing", limit)
		case err != nil:
			return nil, Origin{f.name, 0}, err
		}
		line, _ := r.FieldPos(0)
		at := Origin{f.name, line}
		for _, c := range cells {
			if !utf8.ValidString(c) {
				return nil, at, &rowError{errors.New("the record is not valid UTF-8")}
			}
		}
		return cells, at, nil
	}, o)
}
