// Chaos kills `plumb run` and looks whether it matters.
//
//	chaos [-kills 10] [-seed 1] [-out chaos.json] PLUMB RECIPE DIR [FLAG ...]
//
// The recipe is run undisturbed under DIR/run, which is then kept as DIR/whole. Then it is run again and again under
// DIR/run (an exported adapter names the folder of its base: other folders give other bytes), each time from nothing: in
// every stage of it the program is killed (SIGKILL) at a random moment and started again, until it ends, and every file
// of the run folder is compared with the undisturbed run's; the last that differs is kept as DIR/differs. The moments of a stage are spread over its time: of n kills
// the i-th falls into the i-th n-th part of it. The time of a stage runs from the line that says it began to the line of
// the next stage; the first one's from the start of the program.
//
// What is compared is told in docs/formats.md. FLAGs go to plumb run. The exit status is 1 where anything differs.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// order is the order of the stages in a run.
var order = []string{"sft", "pairs", "label", "reward", "ppo", "eval", "export"}

// result is what chaos.json says of a stage.
type result struct {
	Kills     int      `json:"kills"`
	Differing []string `json:"differing_files"`
}

type chaos struct {
	plumb, recipe, dir string
	flags              []string
	kills              int
	rng                *rand.Rand

	stages  []string
	window  map[string]time.Duration
	results map[string]*result
	missed  int // the stage was over before its kill came
}

func main() {
	c := chaos{results: map[string]*result{}, window: map[string]time.Duration{}}
	flag.IntVar(&c.kills, "kills", 10, "kills in each stage")
	seed := flag.Uint64("seed", 1, "seed of the moments")
	out := flag.String("out", "chaos.json", "where the result goes")
	flag.Parse()
	if flag.NArg() < 3 {
		fmt.Fprintln(os.Stderr, "usage: chaos [-kills N] [-seed N] [-out FILE] PLUMB RECIPE DIR [FLAG ...]")
		os.Exit(2)
	}
	c.plumb, c.recipe, c.dir, c.flags = flag.Arg(0), flag.Arg(1), flag.Arg(2), flag.Args()[3:]
	c.rng = rand.New(rand.NewPCG(*seed, 0))
	err := c.run()
	if werr := c.write(*out); err == nil {
		err = werr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func (c *chaos) run() error {
	began := time.Now()
	want, err := c.undisturbed()
	if err != nil {
		return fmt.Errorf("undisturbed: %w", err)
	}
	fmt.Printf("undisturbed: %d files, %.1f s\n", len(want), time.Since(began).Seconds())
	for _, s := range c.stages {
		fmt.Printf("  %-7s %6.2f s\n", s, c.window[s].Seconds())
	}
	// A kill that comes too late is tried again: in three times the rounds there is room for that.
	for round := 0; round < 3*c.kills && c.fewest() < c.kills; round++ {
		hits, starts, err := c.disturbed()
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		got, err := c.files(filepath.Join(c.dir, "run"))
		if err != nil {
			return err
		}
		n := c.compare(want, got)
		if n > 0 {
			kept := filepath.Join(c.dir, "differs")
			if err := errors.Join(os.RemoveAll(kept), os.Rename(filepath.Join(c.dir, "run"), kept)); err != nil {
				return err
			}
		}
		fmt.Printf("round %d: killed %d times, started %d times; %d files differ (%.0f s)\n", round+1, hits, starts, n, time.Since(began).Seconds())
	}
	return c.verdict()
}

func (c *chaos) fewest() int {
	least := c.kills
	for _, s := range c.stages {
		least = min(least, c.results[s].Kills)
	}
	return least
}

func (c *chaos) verdict() error {
	total := 0
	for _, s := range c.stages {
		r := c.results[s]
		total += r.Kills
		fmt.Printf("%-7s %3d kills, %d differing files\n", s, r.Kills, len(r.Differing))
		for _, f := range r.Differing {
			fmt.Println("   ", f)
		}
	}
	fmt.Printf("%d kills; %d came too late and were tried again\n", total, c.missed)
	for _, s := range c.stages {
		if len(c.results[s].Differing) > 0 {
			return errors.New("the killed runs end with other bytes than the undisturbed one")
		}
	}
	if c.fewest() < c.kills {
		return errors.New("too few kills hit a stage; is the machine very busy?")
	}
	return nil
}

func (c *chaos) write(path string) error {
	data, err := json.MarshalIndent(c.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// process is one plumb run, with the lines it prints.
type process struct {
	cmd   *exec.Cmd
	lines chan string // closed when it has ended
	text  []string
}

// start starts plumb run.
func (c *chaos) start() (*process, error) {
	args := append([]string{"run", c.recipe, "--runs", filepath.Join(c.dir, "run")}, c.flags...)
	p := &process{cmd: exec.Command(c.plumb, args...), lines: make(chan string)}
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		r := bufio.NewReader(pipe)
		for {
			line, err := r.ReadString('\n')
			if line != "" {
				p.lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	return p, nil
}

// end waits for a process whose lines have all been read.
func (p *process) end() error {
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(p.text, "\n"))
	}
	return nil
}

// wasKilled reports whether a process that has ended was ended by SIGKILL.
func (p *process) wasKilled() bool {
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// begins is the stage that a line of plumb run says to have begun, or "".
func begins(line string) string {
	name, rest, _ := strings.Cut(line, ": ")
	if slices.Contains(order, name) && (strings.HasPrefix(rest, "runs") || strings.HasPrefix(rest, "goes on")) {
		return name
	}
	return ""
}

// undisturbed runs the recipe once, notes how long each stage takes and returns its files.
func (c *chaos) undisturbed() (map[string]string, error) {
	live, whole := filepath.Join(c.dir, "run"), filepath.Join(c.dir, "whole")
	if err := errors.Join(os.RemoveAll(live), os.RemoveAll(whole)); err != nil {
		return nil, err
	}
	from := time.Now()
	p, err := c.start()
	if err != nil {
		return nil, err
	}
	for line := range p.lines {
		p.text = append(p.text, line)
		s := begins(line)
		if s == "" {
			continue
		}
		if n := len(c.stages); n > 0 {
			c.window[c.stages[n-1]] = time.Since(from)
			from = time.Now()
		}
		c.stages = append(c.stages, s)
		c.results[s] = &result{Differing: []string{}}
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	if len(c.stages) == 0 {
		return nil, errors.New("no stage began")
	}
	c.window[c.stages[len(c.stages)-1]] = time.Since(from)
	files, err := c.files(live)
	if err != nil {
		return nil, err
	}
	return files, os.Rename(live, whole)
}

// disturbed runs the recipe from nothing to its end, with one kill in every stage that still lacks some.
func (c *chaos) disturbed() (hits, starts int, err error) {
	if err := os.RemoveAll(filepath.Join(c.dir, "run")); err != nil {
		return 0, 0, err
	}
	var todo []string
	for _, s := range c.stages {
		if c.results[s].Kills < c.kills {
			todo = append(todo, s)
		}
	}
	for {
		starts++
		p, err := c.start()
		if err != nil {
			return hits, starts, err
		}
		killed := c.watch(p, &todo)
		err = p.end()
		if killed == "" || err == nil || !p.wasKilled() {
			if killed != "" {
				c.miss(killed)
			}
			return hits, starts, err
		}
		c.results[killed].Kills++
		hits++
	}
}

// watch reads what a process prints and kills it at the moment drawn for the first stage of todo; that stage is then
// taken from todo. Where the process ends by itself before that, the result is empty.
func (c *chaos) watch(p *process, todo *[]string) (killed string) {
	var timer <-chan time.Time
	arm := func(stage string) {
		for len(*todo) > 0 && slices.Index(c.stages, (*todo)[0]) < slices.Index(c.stages, stage) {
			c.miss((*todo)[0])
			*todo, timer = (*todo)[1:], nil
		}
		if len(*todo) > 0 && (*todo)[0] == stage && timer == nil {
			part := (float64(c.results[stage].Kills) + c.rng.Float64()) / float64(c.kills)
			timer = time.After(time.Duration(part * float64(c.window[stage])))
		}
	}
	arm(c.stages[0]) // Its time begins with the program's.
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				if timer != nil {
					c.miss((*todo)[0])
					*todo = (*todo)[1:]
				}
				return ""
			}
			p.text = append(p.text, line)
			if s := begins(line); s != "" {
				arm(s)
			}
		case <-timer:
			killed, *todo = (*todo)[0], (*todo)[1:]
			_ = p.cmd.Process.Kill() // It may have ended: then there was no kill, and Wait tells.
			for range p.lines {
			}
			return killed
		}
	}
}

// miss notes that a stage was over before its kill came: it takes less time than it did, because the machine is less busy.
func (c *chaos) miss(stage string) {
	c.missed++
	c.window[stage] = c.window[stage] * 3 / 4
}

// What clocks say in files that are otherwise the same from run to run.
var (
	timing  = regexp.MustCompile(`(?s)"timing": \{.*?\}`)
	seconds = regexp.MustCompile(`"seconds": [-+.0-9e]+`)
)

// files reads every file under root that is to be the same from run to run: path to content.
func (c *chaos) files(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := e.Name()
		switch {
		case name == ".lock", name == "timing.jsonl", strings.HasSuffix(name, ".db-wal"), strings.HasSuffix(name, ".db-shm"):
			return nil
		case strings.HasSuffix(name, ".db"):
			files[rel], err = c.dump(path)
			return err
		}
		data, err := os.ReadFile(path)
		switch name {
		case "run.json":
			data = timing.ReplaceAll(data, nil)
		case "summary.json":
			data = seconds.ReplaceAll(data, nil)
		}
		files[rel] = string(data)
		return err
	})
	return files, err
}

// dump is what a label store says, in order, without times; sessions are numbered as they appear.
func (c *chaos) dump(path string) (string, error) {
	var msg bytes.Buffer
	cmd := exec.Command(c.plumb, "label", "export", "--format", "log", "--store", path)
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", path, err, msg.String())
	}
	sessions := map[any]int{}
	var b strings.Builder
	for line := range bytes.Lines(out) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			return "", fmt.Errorf("%s: dump: %w", path, err)
		}
		for _, key := range []string{"at", "ms", "started"} {
			delete(record, key)
		}
		if id, ok := record["session"].(string); ok {
			if sessions[id] == 0 {
				sessions[id] = len(sessions) + 1
			}
			record["session"] = sessions[id]
		}
		data, err := json.Marshal(record) // Keys sorted.
		if err != nil {
			return "", err
		}
		b.Write(append(data, '\n'))
	}
	return b.String(), nil
}

// compare notes every file that differs, is missing or is too many, with the stage whose it is, and returns how many.
func (c *chaos) compare(want, got map[string]string) (n int) {
	note := func(path, what string) {
		n++
		r := c.results[c.owner(path)]
		if entry := path + what; !slices.Contains(r.Differing, entry) {
			r.Differing = append(r.Differing, entry)
			slices.Sort(r.Differing)
		}
	}
	for path, data := range want {
		if other, ok := got[path]; !ok {
			note(path, " (missing)")
		} else if other != data {
			note(path, "")
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			note(path, " (not in the undisturbed run)")
		}
	}
	return n
}

// owner is the stage that a file, RUN/STAGE/..., belongs to: its folder's, the label store's is label, and what lies
// beside the stages counts with the first of them.
func (c *chaos) owner(path string) string {
	parts := strings.Split(filepath.ToSlash(path), "/")
	name := ""
	if len(parts) > 1 {
		name, _, _ = strings.Cut(parts[1], ".")
	}
	if name == "labels" {
		name = "label"
	}
	if c.results[name] == nil {
		name = c.stages[0]
	}
	return name
}
