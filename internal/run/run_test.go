package run

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func openRun(t *testing.T, root, name string) *Dir {
	t.Helper()
	d, err := Open(root, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func begin(t *testing.T, s *Stage, m Manifest) Begun {
	t.Helper()
	b, err := s.Begin(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeText(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func TestSecondProcessIsRefusedAndTold(t *testing.T) {
	root := t.TempDir()
	d := openRun(t, root, "toy")
	if pid, held := Held(d.Path()); !held || pid != os.Getpid() {
		t.Errorf("Held = %d, %v; want this process", pid, held)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), toyEnv+"="+root)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("a second process got the run folder")
	}
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); !strings.Contains(string(out), want) {
		t.Errorf("it was told %q, want %q in it", out, want)
	}
	d.Close()
	if _, held := Held(filepath.Join(root, "toy")); held {
		t.Error("held after Close")
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), toyEnv+"="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("after Close: %v: %s", err, out)
	}
}

// A killed process may leave half-written files beside the stages, in stages that are done, and deep inside them.
func TestOpenRemovesWhatAKilledProcessLeft(t *testing.T) {
	root := t.TempDir()
	left := []string{".tmp-a", "embedded/.tmp-b.jsonl-1", "sft/inputs/.tmp-c", "sft/.tmp-adapter-2/x.bin", "sft/state/.tmp-old-step-00000001/y"}
	kept := []string{"embedded/b.jsonl", "sft/adapter/x.tmp-y", "sft/run.json"}
	for _, name := range slices.Concat(left, kept) {
		p := filepath.Join(root, "r", filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(root, "r")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range left {
		if exists(d.Path(filepath.FromSlash(name))) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range kept {
		if !exists(d.Path(filepath.FromSlash(name))) {
			t.Errorf("%s was removed", name)
		}
	}
}

func TestRunNames(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", ".x", "-x", "a b", strings.Repeat("a", 101)} {
		if _, err := Open(t.TempDir(), name); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

// finish makes a finished stage with one output.
func finish(t *testing.T, d *Dir, stage, output string, m Manifest) *Stage {
	t.Helper()
	s := d.Stage(stage)
	begin(t, s, m)
	if err := s.WriteFile("out.txt", writeText(output)); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(1, []KV{{"b", 2}, {"a", 0.5}, {"nan", math.NaN()}}, "out.txt"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDoneNeedsEqualInputsAndWholeOutputs(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	base := func() Manifest {
		return Manifest{
			Seed: 1, Base: Source{"b", HashBytes([]byte("b"))}, Data: []Source{{"d.jsonl", HashBytes([]byte("d"))}},
			Config: json.RawMessage(`{"lr":0.1,"peft":{"r":8}}`),
		}.WithTemplate("{{x}}")
	}
	finish(t, d, "sft", "hello", base())
	child := base()
	child.Parents = []Parent{{Role: "policy", Path: d.Path("sft")}}
	finish(t, d, "ppo", "hi", child)

	check := func(stage string, m Manifest, want string) {
		t.Helper()
		done, why, err := d.Stage(stage).Done(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(why, "\n"); done != (want == "") || got != want {
			t.Errorf("done %v, why %q; want %q", done, got, want)
		}
	}
	check("sft", base(), "")
	check("ppo", child, "")
	check("reward", base(), "not run yet")
	other := base()
	other.Base.Name, other.Machine.CPU, other.Program = "moved", "another", "v2" // Not inputs.
	check("sft", other, "")
	other.Seed = 2
	check("sft", other, "seed: 1 -> 2")
	other = base()
	other.Config = json.RawMessage(`{"peft":{"r":16},"lr":0.1,"epochs":1}`)
	check("sft", other, "epochs: unset -> 1\npeft.r: 8 -> 16")
	other = base()
	other.Data = []Source{{"d.jsonl", HashBytes([]byte("e"))}}
	check("sft", other, "data d.jsonl: 18ac3e7343f0 -> 3f79bb7b435b") // sha256sum of d and e

	// The parent run again with another result: the child is out of date.
	s := d.Stage("sft")
	begin(t, s, base())
	if err := s.WriteFile("out.txt", writeText("other")); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(1, nil, "out.txt"); err != nil {
		t.Fatal(err)
	}
	if done, why, _ := d.Stage("ppo").Done(child); done || !strings.HasPrefix(why[0], "parent policy: ") {
		t.Errorf("after its parent changed: done %v, %q", done, why)
	}
	link, err := Lineage(d.Path("ppo"))
	if err != nil || len(link.Parents) != 1 || !link.Parents[0].Stale || link.Parents[0].Role != "policy" {
		t.Errorf("lineage %+v, %v; want one stale parent", link, err)
	}

	// An output that somebody touched.
	if err := os.WriteFile(d.Path("sft", "out.txt"), []byte("othes"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("sft", base(), "an output is not whole: out.txt has changed since it was written")
	if _, _, err := d.Stage("ppo").Done(child); err == nil || !strings.Contains(err.Error(), "out.txt has changed") {
		t.Errorf("a damaged parent: %v", err)
	}
}

func TestChangedInputsMoveTheOldStageAside(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	finish(t, d, "sft", "one", Manifest{Seed: 1})
	s := d.Stage("sft")
	b := begin(t, s, Manifest{Seed: 2})
	if b.Resumed || len(b.Changed) != 1 || b.MovedTo != d.Path("sft.previous") {
		t.Errorf("begun %+v", b)
	}
	if data, _ := os.ReadFile(d.Path("sft.previous", "out.txt")); string(data) != "one" {
		t.Errorf("sft.previous/out.txt holds %q", data)
	}
	if exists(s.Path("out.txt")) {
		t.Error("the old output is still in place")
	}
	sum, err := Inspect(d.Path())
	if err != nil || len(sum.Stages) != 1 {
		t.Errorf("%d stages listed (%v), want 1: what was moved aside is none", len(sum.Stages), err)
	}
}

func TestParentMadeOnAnotherTemplateIsRefusedWithADiff(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	finish(t, d, "sft", "x", Manifest{Base: Source{"base-a", "aa"}, Tokenizer: Source{"t", "tt"}}.WithTemplate("one\ntwo\n"))
	m := Manifest{
		Base: Source{"base-b", "bb"}, Tokenizer: Source{"t", "tt"},
		Parents: []Parent{{Role: "policy", Path: "sft"}},
	}.WithTemplate("one\nthree\n")
	_, err := d.Stage("reward").Begin(m)
	var mis *MismatchError
	if !errors.As(err, &mis) {
		t.Fatalf("error %v, want a MismatchError", err)
	}
	for _, want := range []string{"base: there base-a (aa), here base-b (bb)", "template: there", "template line 2 there: two", "template line 2 here:  three"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "tokenizer") {
		t.Errorf("the tokenizer, which is the same, is in:\n%v", err)
	}
	m.Base, m.templateText, m.Template = Source{"base-a", "aa"}, "", Source{}
	m = m.WithTemplate("one\ntwo\n")
	b := begin(t, d.Stage("reward"), m)
	if b.Resumed {
		t.Error("a new stage says it resumes")
	}
	got, err := ReadManifest(d.Path("reward"))
	if err != nil || got.Parents[0].Path != "sft" || got.Parents[0].SHA256 == "" {
		t.Errorf("recorded parents %+v, %v", got.Parents, err)
	}
}

func TestUnfinishedParentIsRefused(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	m := Manifest{Parents: []Parent{{Role: "policy", Path: d.Path("sft")}}}
	if _, err := d.Stage("ppo").Begin(m); err == nil || !strings.Contains(err.Error(), "no finished stage") {
		t.Errorf("absent parent: %v", err)
	}
	begin(t, d.Stage("sft"), Manifest{})
	if _, err := d.Stage("ppo").Begin(m); err == nil || !strings.Contains(err.Error(), "not finished (running)") {
		t.Errorf("running parent: %v", err)
	}
}

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

// smallDisk mounts a file system of 256 KiB, or skips where that is not allowed.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := mountTmpfs(dir, "size=256k"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { unmount(dir) })
	return dir
}

func TestFullDiskLeavesNothingHalfWritten(t *testing.T) {
	root := smallDisk(t)
	d := openRun(t, root, "r")
	s := d.Stage("sft")
	begin(t, s, Manifest{})
	if err := s.WriteFile("keep.txt", writeText("kept")); err != nil {
		t.Fatal(err)
	}
	small := func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), []byte("1"), 0o644) }
	if err := s.Checkpoint(1, small); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 1<<20)
	noSpace := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
			t.Errorf("%s: error %v, want one that says to free space", what, err)
		}
	}
	noSpace("WriteFile", s.WriteFile("keep.txt", func(w io.Writer) error { _, err := w.Write(big); return err }))
	noSpace("Checkpoint", s.Checkpoint(2, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "x"), big, 0o644)
	}))
	if data, _ := os.ReadFile(s.Path("keep.txt")); string(data) != "kept" {
		t.Errorf("keep.txt holds %d bytes", len(data))
	}
	if step, dir, ok := s.Latest(); !ok || step != 1 || !exists(filepath.Join(dir, "x")) {
		t.Errorf("latest %d %v", step, ok)
	}
	a, err := s.Append("log.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 5000) + "\n")
	for err == nil {
		_, err = a.Write(line)
	}
	noSpace("Append", err)
	info, _ := os.Stat(s.Path("log.jsonl"))
	if info.Size() != a.Size() || a.Size()%int64(len(line)) != 0 {
		t.Errorf("log.jsonl has %d bytes, %d recorded; want whole lines of %d", info.Size(), a.Size(), len(line))
	}
	for _, dir := range []string{s.Path(), s.Path(stateDir)} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tempPrefix) {
				t.Errorf("%s was left behind", e.Name())
			}
		}
	}
	// Space again: it goes on.
	if err := os.Truncate(s.Path("log.jsonl"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(2, small); err != nil {
		t.Errorf("after space was freed: %v", err)
	}
}

// A stage whose files cannot be closed is not finished, and can still be told to have failed.
func TestFinishThatFailsCanBeRecorded(t *testing.T) {
	d, err := Open(t.TempDir(), "r")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := d.Stage("sft")
	if _, err := s.Begin(Manifest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Timing(1, []KV{{Key: "seconds", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	s.timing.f.Close() // as a disk that gives out
	if err := s.Finish(1, nil); err == nil {
		t.Fatal("a file that could not be closed was passed over")
	}
	if err := s.Fail(Failed, errors.New("disk")); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(s.Path())
	if err != nil || m.State != Failed || m.Error != "disk" {
		t.Errorf("state %s, error %q, %v", m.State, m.Error, err)
	}
}

func TestTornTimingLineIsDropped(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	s := d.Stage("sft")
	begin(t, s, Manifest{})
	if err := os.WriteFile(s.Path(timingFile), []byte("{\"step\":1}\n{\"st"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Timing(2, []KV{{"tokens_per_second", 10}}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(s.Path(timingFile))
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[0] != `{"step":1}` || !strings.HasPrefix(lines[1], `{"step":2,"time":"`) || !strings.HasSuffix(lines[1], `,"tokens_per_second":10}`) {
		t.Errorf("%q", data)
	}
}
