package dataset

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// Whoever asks is told, behind each record, how much of the file has been read; behind the last it is all. What counts are the bytes
// on the disk, packed or not, and of a table that is stored by columns the share of its rows.
func TestToldHowMuchIsRead(t *testing.T) {
	var lines, table strings.Builder
	table.WriteString("text\n")
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 { // 64 hexadecimal digits, which do not pack to less than half
		x := fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
		fmt.Fprintf(&lines, "{\"text\": \"%s\"}\n", x)
		table.WriteString(x + "\n")
	}
	paths := []string{write(t, "t.csv", table.String()), "testdata/labelled.parquet"}
	for _, packing := range []string{"", ".gz", ".zst"} {
		paths = append(paths, write(t, "t.jsonl"+packing, pack(t, lines.String(), packing)))
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		var told []int64
		_, s, err := records(t, path, Options{Told: func(done, total int64) {
			if total != info.Size() || len(told) > 0 && done < told[len(told)-1] {
				t.Errorf("%s: told %d of %d behind %v, the file has %d bytes", path, done, total, told[max(0, len(told)-1):], info.Size())
			}
			told = append(told, done)
		}})
		if err != nil || len(told) != s.Read {
			t.Fatalf("%s: told %d times of %d records, %v", path, len(told), s.Read, err)
		}
		if first, last := told[0], told[len(told)-1]; first > info.Size()*9/10 || last != info.Size() {
			t.Errorf("%s: told %d at first and %d at last, the file has %d bytes", path, first, last, info.Size())
		}
	}
}
