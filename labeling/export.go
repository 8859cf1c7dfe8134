package labeling

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Formats that Export writes besides TRL, Argilla and LabelStudio.
const (
	KTO   Format = "kto"   // {prompt, completion, label}
	Demos Format = "demos" // {prompt, completion} of edited answers
	Log   Format = "log"   // every item, session and event of the store
)

// Exported says what an export wrote and what it could not.
type Exported struct {
	Rows          int
	LeftOut       map[string]int // judgements without a row in this format, by choice
	Unnamed       map[string]int // ratings without a place in this format, by axis: it has no name for the axis
	Text          int            // rows whose prompt is text
	Conversations int            // rows whose prompt is a list of messages; a file with both kinds does not load everywhere
}

// Export writes what EachLabel gives, in the order of the queue.
//
//   - trl: a line {prompt, chosen, rejected, margin} for every preference. Ties, both bad and can't say are left out.
//   - kto: a line {prompt, completion, label} for every answer judged by itself, two for every preference, two with label
//     false for both bad. Rankings are left out: they say nothing of an answer by itself.
//   - demos: a line {prompt, completion} for every edited answer.
//   - argilla, label-studio: a JSON array as those tools import it, all choices of every mode; ratings as far as the tool has names for
//     their axes.
//   - log: everything, one line for an item, a session or an event.
func (s *Store) Export(ctx context.Context, w io.Writer, f Format) (Exported, error) {
	bw := bufio.NewWriterSize(w, 1<<16)
	x := exporter{w: bw, out: Exported{LeftOut: map[string]int{}}}
	var err error
	switch f {
	case TRL:
		err = s.EachLabel(ctx, x.trl)
	case KTO:
		if err = s.each(ctx, `labels`, `true`, nil, x.kto); err == nil {
			err = s.EachLabel(ctx, func(j Judgement) error {
				if j.Event.Kind != Edit {
					return nil
				}
				return x.kto(j)
			})
		}
	case Demos:
		err = s.eachEdit(ctx, func(j Judgement) error {
			x.count(j.Item.Prompt)
			return x.line(struct {
				Prompt     Prompt `json:"prompt"`
				Completion any    `json:"completion"`
			}{j.Item.Prompt, completion(j.Item.Prompt, Answer{Text: j.Event.Data.Edit.Text})})
		})
	case Argilla, LabelStudio:
		err = x.array(ctx, s, f)
	case Log:
		err = s.log(ctx, x.line, true)
	default:
		return Exported{}, fmt.Errorf("unknown export format %q (trl, kto, demos, argilla, label-studio, log)", f)
	}
	if err == nil {
		err = bw.Flush()
	}
	if err != nil {
		return Exported{}, fmt.Errorf("export %s as %s: %w", s.path, f, whole(err))
	}
	return x.out, nil
}

type exporter struct {
	w   *bufio.Writer
	out Exported
}

func (x *exporter) line(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	x.out.Rows++
	if _, err := x.w.Write(b); err != nil {
		return err
	}
	return x.w.WriteByte('\n')
}

// completion is an answer in the shape of its prompt: text to text, messages to a conversation.
func completion(p Prompt, a Answer) any {
	switch {
	case len(p.Messages) == 0:
		return a.String()
	case len(a.Turns) > 0:
		return a.Turns
	}
	return []Message{{"assistant", a.Text}}
}

func (x *exporter) count(p Prompt) {
	if len(p.Messages) > 0 {
		x.out.Conversations++
	} else {
		x.out.Text++
	}
}

func (x *exporter) trl(j Judgement) error {
	if j.Event.Choice != Win || len(j.Item.Answers) != 2 {
		x.out.LeftOut[string(j.Event.Choice)]++
		return nil
	}
	x.count(j.Item.Prompt)
	return x.line(struct {
		Prompt   Prompt  `json:"prompt"`
		Chosen   any     `json:"chosen"`
		Rejected any     `json:"rejected"`
		Margin   float64 `json:"margin"`
	}{
		j.Item.Prompt, completion(j.Item.Prompt, j.Item.Answers[j.Event.Ranking[0]]),
		completion(j.Item.Prompt, j.Item.Answers[j.Event.Ranking[1]]), j.Margin(),
	})
}

func (x *exporter) kto(j Judgement) error {
	type row struct {
		Prompt     Prompt `json:"prompt"`
		Completion any    `json:"completion"`
		Label      bool   `json:"label"`
	}
	var order []int
	switch {
	case len(j.Item.Answers) == 2 && j.Event.Choice == Win:
		order = j.Event.Ranking
	case len(j.Item.Answers) == 2 && j.Event.Choice == BothBad:
		order = []int{0, 1}
	case j.Event.Choice == Good || j.Event.Choice == Bad:
		order = []int{0}
	case len(j.Item.Answers) > 2:
		x.out.LeftOut[string(Rank)]++
		return nil
	default:
		x.out.LeftOut[string(j.Event.Choice)]++
		return nil
	}
	for i, a := range order {
		x.count(j.Item.Prompt)
		label := i == 0 && (j.Event.Choice == Win || j.Event.Choice == Good)
		if err := x.line(row{j.Item.Prompt, completion(j.Item.Prompt, j.Item.Answers[a]), label}); err != nil {
			return err
		}
	}
	return nil
}

// array writes a JSON array, one element a line.
func (x *exporter) array(ctx context.Context, s *Store, f Format) error {
	put := func(v any) error {
		b, err := marshal(v)
		if err != nil {
			return err
		}
		lead := ",\n"
		if x.out.Rows == 0 {
			lead = "[\n"
		}
		x.out.Rows++
		_, err = x.w.WriteString(lead + string(b))
		return err
	}
	var group []Judgement // of one item, for Label Studio
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		task, ok := x.studioTask(group)
		group = nil
		if !ok {
			return nil
		}
		return put(task)
	}
	err := s.each(ctx, `labels`, `true`, nil, func(j Judgement) error {
		if f == Argilla {
			rec, ok := x.argillaRecord(j)
			if !ok {
				x.out.LeftOut[string(j.Event.Choice)]++
				return nil
			}
			x.count(j.Item.Prompt)
			return put(rec)
		}
		x.count(j.Item.Prompt)
		if len(group) > 0 && group[0].Item.Seq != j.Item.Seq {
			if err := flush(); err != nil {
				return err
			}
		}
		group = append(group, j)
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	end := "\n]\n"
	if x.out.Rows == 0 {
		end = "[]\n"
	}
	_, err = x.w.WriteString(end)
	return err
}

// argillaRecord is what one person says of an item; ok is false where none of it has a place.
func (x *exporter) argillaRecord(j Judgement) (rec any, ok bool) {
	switch {
	case j.Item.mode() == Rate:
		return x.argillaRating(j)
	case j.Item.mode() == Single:
		return argillaSingle(j), true
	case len(j.Item.Answers) > 2:
		return argillaRanking(j), true
	}
	return argillaComparison(j), true
}

// studioTask is what everyone says of one item; ok is false where none of it has a place.
func (x *exporter) studioTask(js []Judgement) (task any, ok bool) {
	switch it := js[0].Item; {
	case it.mode() == Rate:
		return x.studioRatings(js)
	case it.mode() == Single:
		return studioSingle(js), true
	case len(it.Answers) > 2:
		return studioRanking(js), true
	}
	return studioComparison(js), true
}

type logItem struct {
	Type    string   `json:"type"`
	Item    int64    `json:"item"`
	Hash    string   `json:"hash"`
	Mode    Mode     `json:"mode"`
	Group   string   `json:"group,omitempty"`
	Prompt  Prompt   `json:"prompt"`
	Answers []Answer `json:"answers"`
	Tags    []string `json:"tags,omitempty"`
	Meta    any      `json:"meta,omitempty"`
}

type logEvent struct {
	Type      string   `json:"type"`
	Session   any      `json:"session"` // random id; its ordinal in a dump
	N         int      `json:"n"`
	At        string   `json:"at,omitempty"`
	Annotator string   `json:"annotator"`
	Kind      Kind     `json:"kind"`
	Item      int64    `json:"item"`
	Shown     []int    `json:"shown,omitempty"`
	Choice    Choice   `json:"choice,omitempty"`
	Ranking   []int    `json:"ranking,omitempty"`
	Strength  int      `json:"strength,omitempty"`
	Margin    *float64 `json:"margin,omitempty"`
	Ms        *int64   `json:"ms,omitempty"`
	Data      *Data    `json:"data,omitempty"`
	Target    any      `json:"target,omitempty"` // {session, n} of what undo and redo act on
}

// log passes every item, then every event to put. Without times, session ids become ordinals and all clock readings go.
func (s *Store) log(ctx context.Context, put func(any) error, times bool) error {
	rows, err := s.rows(ctx, `SELECT `+itemColumns+` FROM items i ORDER BY i.seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		it, err := scanItem(rows)
		if err != nil {
			return err
		}
		l := logItem{"item", it.Seq, it.Hash, it.Mode, it.Group, it.Prompt, it.Answers, it.Tags, nil}
		if len(it.Meta) > 0 {
			l.Meta = it.Meta
		}
		if err := put(l); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	events, err := s.Events(ctx)
	if err != nil {
		return err
	}
	ordinals := map[string]int{}
	session := func(id string) any {
		if times {
			return id
		}
		if ordinals[id] == 0 {
			ordinals[id] = len(ordinals) + 1
		}
		return ordinals[id]
	}
	for _, e := range events {
		l := logEvent{
			Type: "event", Session: session(e.Session), N: e.N, Annotator: e.Annotator, Kind: e.Kind, Item: e.Item, Shown: e.Shown,
			Choice: e.Choice, Ranking: e.Ranking, Strength: e.Strength, Margin: e.Decision.Margin,
		}
		if times {
			ms := e.Elapsed.Milliseconds()
			l.At, l.Ms = e.At.Format(time.RFC3339Nano), &ms
		}
		if !e.Data.empty() {
			l.Data = &e.Data
		}
		if e.Target.Session != "" {
			l.Target = map[string]any{"session": session(e.Target.Session), "n": e.Target.N}
		}
		if err := put(l); err != nil {
			return err
		}
	}
	return nil
}

// Dump writes the log without anything read from a clock and with sessions numbered in the order they appear: two stores in
// which the same was done in the same order give the same bytes.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	bw := bufio.NewWriterSize(w, 1<<16)
	x := exporter{w: bw}
	if err := s.log(ctx, x.line, false); err != nil {
		return fmt.Errorf("dump %s: %w", s.path, err)
	}
	return bw.Flush()
}

// Hash is the SHA-256 of Dump, hex: what a later stage records of the labels it was trained on.
func (s *Store) Hash(ctx context.Context) (string, error) {
	h := sha256.New()
	if err := s.Dump(ctx, h); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
