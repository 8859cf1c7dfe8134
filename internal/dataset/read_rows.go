package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"plumb/internal/chat"
)

// Row is one record of a file as it stands there.
type Row struct {
	Origin
	// Fields in the order of the file. A row that is no object (a line of text, a string in an array) is {"text": …}.
	Fields chat.Object
}

// rowReader yields the rows of a file; io.EOF ends it. After any other error there are no more rows, unless it is a
// *rowError.
type rowReader interface {
	next() (Row, error)
}

// rowError is a fault of one row that leaves the next ones readable.
type rowError struct{ err error }

func (e *rowError) Error() string { return e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

// defaultMaxRecord bounds a single record: more is a damaged or a hostile file.
const defaultMaxRecord = 64 << 20

// zstdMemory bounds the window a .zst file may ask for.
const zstdMemory = 256 << 20

// openFile is a file being read.
type openFile struct {
	name      string
	container string // jsonl, json, csv, tsv, parquet, txt
	rows      rowReader
	notes     []string
	closers   []func() error
	at        func() (done, total int64) // bytes of the file that have been read, and all
}

// counted counts what is read of a file.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

func (f *openFile) close() error {
	var first error
	for i := len(f.closers) - 1; i >= 0; i-- {
		if err := f.closers[i](); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// open begins to read a file. The kind of file is told by its name.
func open(path string, o Options) (*openFile, error) {
	name := strings.ToLower(filepath.Base(path))
	packing := ""
	for _, ext := range []string{".gz", ".zst"} {
		if strings.HasSuffix(name, ext) {
			packing = ext
			name = strings.TrimSuffix(name, ext)
		}
	}
	f := &openFile{name: path, container: strings.TrimPrefix(filepath.Ext(name), ".")}
	switch f.container {
	case "jsonl", "json", "csv", "tsv", "parquet", "txt":
	case "ndjson":
		f.container = "jsonl"
	default:
		return nil, fmt.Errorf("%s: the name ends in none of .jsonl, .json, .csv, .tsv, .parquet, .txt (each also with .gz or .zst)", path)
	}
	if err := f.start(path, packing, o); err != nil {
		f.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (f *openFile) start(path, packing string, o Options) error {
	file, err := os.Open(path)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err // the path is in the message already
		}
		return err
	}
	f.closers = append(f.closers, file.Close)
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return fmt.Errorf("is a folder, not a file of records")
	}
	raw := &counted{Reader: file}
	f.at = func() (int64, int64) { return raw.n, st.Size() }
	limit := o.MaxRecord
	if limit == 0 {
		limit = defaultMaxRecord
	}
	var plain io.Reader = raw
	switch packing {
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReader(raw))
		if err != nil {
			return fmt.Errorf("not a gzip file: %w", err)
		}
		plain = z
	case ".zst":
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMemory))
		if err != nil {
			return err
		}
		f.closers = append(f.closers, func() error { z.Close(); return nil })
		plain = z
	}
	if f.container == "parquet" {
		return f.startParquet(file, plain, packing != "")
	}
	in := bufio.NewReaderSize(plain, 1<<16)
	if bom, _ := in.Peek(3); bytes.Equal(bom, []byte("\ufeff")) {
		in.Discard(3)
	}
	switch f.container {
	case "jsonl":
		f.rows = &jsonLines{lineReader{in: in, file: path, limit: limit}}
	case "json":
		f.rows, err = newJSONRows(in, path, limit)
	case "csv":
		f.rows, err = f.newCSV(in, limit, o)
	case "tsv":
		f.rows, err = f.newTSV(lineReader{in: in, file: path, limit: limit}, o)
	case "txt":
		f.rows, err = f.newDocuments(in, limit, o)
	}
	return err
}

// lineReader yields lines with their numbers.
type lineReader struct {
	in    *bufio.Reader
	file  string
	limit int
	line  int // of the line last read
}

// read returns the next line without its end.
func (l *lineReader) read() ([]byte, Origin, error) {
	l.line++
	at := Origin{l.file, l.line}
	var long []byte
	for {
		part, err := l.in.ReadSlice('\n')
		if len(long)+len(part) > l.limit {
			return nil, at, fmt.Errorf("the line is longer than %d bytes", l.limit)
		}
		if err == bufio.ErrBufferFull {
			long = append(long, part...)
			continue
		}
		if err != nil && err != io.EOF {
			return nil, at, err
		}
		if err == io.EOF && len(long)+len(part) == 0 {
			return nil, at, io.EOF
		}
		if long != nil {
			part = append(long, part...)
		}
		part = bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r"))
		if !utf8.Valid(part) {
			return nil, at, &rowError{errors.New("the line is not valid UTF-8")}
		}
		return part, at, nil
	}
}

// documents are the parts of a plain text.
type documents struct {
	in        io.Reader
	file      string
	separator string // "": the file is one document
	limit     int

	buf      []byte // read and not handed out
	searched int    // no separator begins before it
	line     int    // of the beginning of buf
	end      bool   // the file has been read to its end
}

// endOfText parts documents in the plain text files of language models.
const endOfText = "<|endoftext|>"

func (f *openFile) newDocuments(in *bufio.Reader, limit int, o Options) (rowReader, error) {
	d := &documents{in: in, file: f.name, separator: o.Separator, limit: limit, line: 1}
	if d.separator != "" {
		return d, nil
	}
	for !d.end && len(d.buf) < 1<<20 {
		if err := d.more(); err != nil {
			return nil, err
		}
	}
	if bytes.Contains(d.buf, []byte(endOfText)) {
		d.separator = endOfText
		f.notes = append(f.notes, "documents are parted by "+endOfText)
	} else {
		f.notes = append(f.notes, "the file is one document: there is no "+endOfText+" in its first MiB and no separator is given")
	}
	return d, nil
}

func (d *documents) more() error {
	chunk := make([]byte, 1<<16)
	n, err := d.in.Read(chunk)
	d.buf = append(d.buf, chunk[:n]...)
	if err == io.EOF {
		d.end, err = true, nil
	}
	return err
}

func (d *documents) next() (Row, error) {
	for {
		text, at, err := d.document()
		if err != nil {
			return Row{Origin: at}, err
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue // what stands between two separators, or behind the last
		}
		if !utf8.Valid(text) {
			return Row{Origin: at}, &rowError{errors.New("the document is not valid UTF-8")}
		}
		return Row{at, chat.Object{{Key: "text", Value: string(text)}}}, nil
	}
}

func (d *documents) document() ([]byte, Origin, error) {
	at := Origin{d.file, d.line}
	for {
		if d.separator != "" {
			if i := bytes.Index(d.buf[d.searched:], []byte(d.separator)); i >= 0 {
				return d.take(d.searched+i, len(d.separator)), at, nil
			}
			d.searched = max(0, len(d.buf)-len(d.separator)+1)
		}
		if len(d.buf) > d.limit {
			return nil, at, fmt.Errorf("the document is longer than %d bytes; say what separates documents", d.limit)
		}
		if d.end {
			if len(d.buf) == 0 {
				return nil, at, io.EOF
			}
			return d.take(len(d.buf), 0), at, nil
		}
		if err := d.more(); err != nil {
			return nil, at, err
		}
	}
}

// take hands out n bytes and leaves out the next skip.
func (d *documents) take(n, skip int) []byte {
	text := d.buf[:n:n]
	d.line += bytes.Count(d.buf[:n+skip], []byte("\n"))
	d.buf = d.buf[n+skip:]
	d.searched = 0
	return text
}
