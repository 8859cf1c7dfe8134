package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRecord: no line makes parseRecord panic; a line that is taken comes out as a line of JSON that is read the same again.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{`{"prompt":"a","n":1.50,"x":null}`, `{"a":1,"a":2}`, `{}`, `[1]`, `{"a":}`, `{"a":1} {"b":2}`, "{\"a\":\"\xff\"}", `{"ids":[1,2],"é":{"b":[]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRecord(7, line)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line 7: ") {
				t.Errorf("error %q names no line", err)
			}
			return
		}
		out := r.appendTo(nil)
		if !json.Valid(out) || bytes.IndexByte(out, '\n') != len(out)-1 {
			t.Fatalf("%q is written as %q", line, out)
		}
		again, err := parseRecord(7, out)
		if err != nil {
			t.Fatal(err)
		}
		if second := again.appendTo(nil); !bytes.Equal(second, out) {
			t.Errorf("%q, read again %q", out, second)
		}
	})
}

// TestRecordsAhead: what is left of a file is counted as readRecords will find it, and the file stands where it stood; of a pipe
// nothing is known.
func TestRecordsAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte("{}\n\n  \t\r\n{\"a\": 1}\n{}\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	a := &app{in: in}
	if got := a.recordsAhead(); got != 4 {
		t.Errorf("%d records, want 4", got)
	}
	if _, err := in.Seek(3, 0); err != nil {
		t.Fatal(err)
	}
	if got := a.recordsAhead(); got != 3 {
		t.Errorf("%d records after the first line, want 3", got)
	}
	if at, _ := in.Seek(0, 1); at != 3 {
		t.Errorf("the file stands at %d, want 3", at)
	}
	if got := (&app{in: strings.NewReader("{}\n")}).recordsAhead(); got != 0 {
		t.Errorf("%d records in a pipe", got)
	}
}
