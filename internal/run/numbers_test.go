package run

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestResultsKeepTheirOrderAndNaNIsNull(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	finish(t, d, "eval", "x", Manifest{})
	data, err := os.ReadFile(d.Path("eval", ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	if want := "\"results\": {\n    \"b\": 2,\n    \"a\": 0.5,\n    \"nan\": null\n  }"; !strings.Contains(string(data), want) {
		t.Errorf("%s\nis not in\n%s", want, data)
	}
	m, err := ReadManifest(d.Path("eval"))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := m.Results.Lookup("a"); !ok || v != 0.5 || len(m.Results) != 3 || !math.IsNaN(m.Results[2].Value) {
		t.Errorf("read back %v", m.Results)
	}
}

func TestNumbers(t *testing.T) {
	// Shortest forms that read back as the same double, JSON's grammar (RFC 8259 §6).
	for x, want := range map[float64]string{
		0: "0", 1: "1", -3: "-3", 0.1: "0.1", 1e-5: "1e-05", 123456789012: "123456789012",
		1e300: "1e+300", 1.0 / 3: "0.3333333333333333", 1e15: "1e+15",
	} {
		if got := string(appendNumber(nil, x)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%g: %s, want %s", x, got, want)
		}
	}
}

func TestMaskedCRC(t *testing.T) {
	// RFC 3720 B.4: CRC32C of 32 zero bytes is 8a9136aa. The masked value of the
	// length field 18 00 00 00 00 00 00 00 is a3 7f 4b 22 in files TensorFlow wrote.
	if got := maskedCRC(make([]byte, 32)) - 0xa282ead8; got>>17|got<<15 != 0x8a9136aa {
		t.Errorf("CRC32C of 32 zeros is %08x", got>>17|got<<15)
	}
	if got := maskedCRC([]byte{0x18, 0, 0, 0, 0, 0, 0, 0}); got != 0x224b7fa3 {
		t.Errorf("masked sum of the length 24: %08x, want 224b7fa3", got)
	}
}

func TestEventsReadBack(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	s := d.Stage("sft")
	begin(t, s, Manifest{})
	for step := 1; step <= 2; step++ {
		if err := s.Log(step, []KV{{"loss", 0.5 * float64(step)}, {"bad", math.Inf(1)}, {"objective/kl", 3}}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(s.Path(eventsFile))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(data) > 0 {
		n := binary.LittleEndian.Uint64(data)
		if binary.LittleEndian.Uint32(data[8:]) != maskedCRC(data[:8]) || binary.LittleEndian.Uint32(data[12+n:]) != maskedCRC(data[12:12+n]) {
			t.Fatal("a sum is wrong")
		}
		got = append(got, decodeMessage(t, data[12:12+n], 0))
		data = data[16+n:]
	}
	want := []string{
		"1:0 3:brain.Event:2 ",
		"1:1 2:1 5:{1:{1:loss 2:0.5 }1:{1:objective/kl 2:3 }}",
		"1:2 2:2 5:{1:{1:loss 2:1 }1:{1:objective/kl 2:3 }}",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// decodeMessage prints a protobuf message: depth 0 is Event, 1 Summary, 2 Value.
func decodeMessage(t *testing.T, b []byte, depth int) string {
	t.Helper()
	var out strings.Builder
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal("bad tag")
		}
		b = b[n:]
		switch typ {
		case protowire.Fixed64Type:
			v, n := protowire.ConsumeFixed64(b)
			fmt.Fprintf(&out, "%d:%g ", num, math.Float64frombits(v))
			b = b[n:]
		case protowire.Fixed32Type:
			v, n := protowire.ConsumeFixed32(b)
			fmt.Fprintf(&out, "%d:%g ", num, math.Float32frombits(v))
			b = b[n:]
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			fmt.Fprintf(&out, "%d:%d ", num, v)
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if depth == 0 && num == 5 || depth == 1 {
				fmt.Fprintf(&out, "%d:{%s}", num, decodeMessage(t, v, depth+1))
			} else {
				fmt.Fprintf(&out, "%d:%s ", num, v)
			}
			b = b[n:]
		default:
			t.Fatalf("wire type %d", typ)
		}
	}
	return out.String()
}
