package run

import (
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
	"testing"
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
			Seed: 1, Base: Source{Name: "b", SHA256: HashBytes([]byte("b"))}, Data: []Source{{Name: "d.jsonl", SHA256: HashBytes([]byte("d"))}},
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
	other.Data = []Source{{Name: "d.jsonl", SHA256: HashBytes([]byte("e"))}}
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
	finish(t, d, "sft", "x", Manifest{Base: Source{Name: "base-a", SHA256: "aa"}, Tokenizer: Source{Name: "t", SHA256: "tt"}}.WithTemplate("one\ntwo\n"))
	m := Manifest{
		Base: Source{Name: "base-b", SHA256: "bb"}, Tokenizer: Source{Name: "t", SHA256: "tt"},
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
	m.Base, m.templateText, m.Template = Source{Name: "base-a", SHA256: "aa"}, "", Source{}
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
