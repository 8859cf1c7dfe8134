package rollout

import (
	"context"
	"fmt"
	"slices"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

const (
	defaultBatch = 16
	// promptTokens is how many tokens of prompts go through the model in one step at most: memory only.
	promptTokens = 2048
	// sharedTokens is the shortest beginning common to all prompts that is worth computing apart.
	sharedTokens = 8
)

// Generate samples a completion for each request, in the order of requests. a may be nil. Cancelling ctx ends it between
// two steps with ctx's error.
func Generate(ctx context.Context, m *model.Model, a *peft.Adapter, reqs []Request, o Options) ([]Completion, error) {
	if err := validate(m, reqs, &o); err != nil {
		return nil, err
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = defaultBatch
	}
	g := newGenerator(m, a, reqs, &o)
	for g.next < len(reqs) || len(g.running) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := g.token(); err != nil {
			return nil, err
		}
	}
	return g.done, nil
}

type generator struct {
	m       *model.Model
	a       *peft.Adapter
	o       *Options
	decoder *model.Decoder
	tape    *tensor.Tape
	reqs    []Request
	done    []Completion

	prompts []*prompt    // of each request
	root    *model.Cache // the beginning that all prompts share, or nil
	next    int          // the first request not admitted
	ended   int          // requests that have their completion
	running []*sequence
	fresh   []*prompt // prompts that this step computes
	pages   *model.Pages

	feeds    []model.Feed // of this step
	rows     []int32      // the last row of each feed
	drawNext func(i int)  // draws running[i]'s next token
}

func newGenerator(m *model.Model, a *peft.Adapter, reqs []Request, o *Options) *generator {
	g := &generator{
		m: m, a: a, o: o, reqs: reqs, done: make([]Completion, len(reqs)),
		decoder: m.NewDecoder(a), tape: tensor.NewInferenceTape(m.Pool()), pages: m.NewPages(o.KV),
	}
	g.drawNext = g.drawOne
	g.group()
	return g
}

// token gives every running sequence its next token.
func (g *generator) token() error {
	g.admit()
	g.step()
	if err := g.draw(); err != nil {
		return err
	}
	g.retire()
	return nil
}

// prompt is the prompt of one or several requests, computed once.
type prompt struct {
	ids    []int32
	shared bool         // by several requests
	left   int          // requests not yet admitted
	cache  *model.Cache // nil until computed
	logits []float32    // after its last token
}

// sequence is a completion in the making.
type sequence struct {
	request int
	prompt  *prompt
	cache   *model.Cache // nil until the first token is drawn
	last    [1]int32
	logits  []float32
	text    string // of its ids, if there are stop strings
	sampler sampler
	ok      bool
	Completion
}

// group finds equal prompts and the beginning that all share.
func (g *generator) group() {
	same := make(map[string]*prompt)
	var key []byte
	shared := -1
	for _, r := range g.reqs {
		key = key[:0]
		for _, id := range r.Prompt {
			key = append(key, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
		}
		p := same[string(key)]
		if p == nil {
			p = &prompt{ids: r.Prompt}
			same[string(key)] = p
			if shared < 0 {
				shared = len(r.Prompt) - 1
			}
			n := 0
			for n < min(shared, len(r.Prompt)-1) && r.Prompt[n] == g.reqs[0].Prompt[n] {
				n++
			}
			shared = n
		}
		p.shared = p.left > 0
		p.left++
		g.prompts = append(g.prompts, p)
	}
	if len(same) < 2 || shared < sharedTokens {
		return
	}
	g.root = g.pages.NewCache()
	g.fill(g.root, g.reqs[0].Prompt[:shared], 0)
}

// fill computes ids into c, in pieces, until no more than rest are left.
func (g *generator) fill(c *model.Cache, ids []int32, rest int) {
	for c.Len() < len(ids)-rest {
		g.tape.Reset()
		g.decoder.Step(g.tape, []model.Feed{{Cache: c, IDs: ids[c.Len():min(c.Len()+promptTokens, len(ids))]}})
	}
}

// admit fills free places, and lists the prompts that have to be computed for them.
func (g *generator) admit() {
	g.fresh = g.fresh[:0]
	tokens := 0
	for g.next < len(g.reqs) && len(g.running) < g.o.MaxBatch {
		p := g.prompts[g.next]
		if p.cache == nil {
			n := len(p.ids)
			if g.root != nil {
				n -= g.root.Len()
			}
			if tokens > 0 && tokens+n > promptTokens {
				return // a longer prompt alone
			}
			tokens += n
			p.cache = g.pages.NewCache()
			if g.root != nil {
				p.cache.ShareFrom(g.root, g.root.Len())
			}
			g.fill(p.cache, p.ids, promptTokens)
			g.fresh = append(g.fresh, p)
		}
		p.left--
		room := min(g.o.MaxNew, 512)
		g.running = append(g.running, &sequence{request: g.next, prompt: p, Completion: Completion{
			IDs: make([]int32, 0, room), LogProbs: make([]float32, 0, room),
		}})
		g.next++
	}
}

// feed adds ids to what this step computes.
func (g *generator) feed(c *model.Cache, ids []int32) {
	row := int32(len(ids)) - 1
	if n := len(g.rows); n > 0 {
		row += g.rows[n-1] + 1
	}
	g.feeds, g.rows = append(g.feeds, model.Feed{Cache: c, IDs: ids}), append(g.rows, row)
}

// step computes the logits after every new prompt and after the last token of every sequence.
func (g *generator) step() {
	g.feeds, g.rows = g.feeds[:0], g.rows[:0]
	for _, p := range g.fresh {
		g.feed(p.cache, p.ids[p.cache.Len():])
	}
	for _, s := range g.running {
		if s.cache != nil {
			g.feed(s.cache, s.last[:])
		}
	}
	var logits *tensor.Tensor
	if len(g.feeds) > 0 {
		g.tape.Reset()
		logits = g.m.Logits(g.tape, g.a, g.decoder.Step(g.tape, g.feeds), g.rows)
	}
	i := 0
	take := func() []float32 {
		l := logits.Data[i*logits.Cols : (i+1)*logits.Cols]
		i++
		return l
	}
	for _, p := range g.fresh {
		p.logits = take()
		if p.left > 0 {
			p.logits = slices.Clone(p.logits) // the tape's memory goes with the step
		}
	}
	for _, s := range g.running {
		if s.cache != nil {
			s.logits = take()
			continue
		}
		s.logits = s.prompt.logits
		s.cache = s.prompt.cache
		if s.prompt.shared {
			s.cache = g.pages.NewCache()
			s.cache.ShareFrom(s.prompt.cache, len(s.prompt.ids))
		}
	}
}

// drawOne takes the next token of sequence i.
func (g *generator) drawOne(i int) {
	s := g.running[i]
	r, n := g.reqs[s.request], len(s.IDs)
	var banned []int32
	if n < g.o.MinNew && !g.o.IgnoreStop {
		banned = g.o.StopIDs
	}
	var logp float32
	s.last[0], logp, s.ok = s.sampler.draw(s.logits, g.o, banned, rng.At(g.o.Seed, r.Episode, r.Sample, uint64(n)))
	s.IDs, s.LogProbs = append(s.IDs, s.last[0]), append(s.LogProbs, logp)
}

// draw takes one token for each sequence.
func (g *generator) draw() error {
	g.m.Pool().Do(len(g.running), g.drawNext)
	for _, s := range g.running {
		if !s.ok {
			return fmt.Errorf("request %d, new token %d: no token can be drawn, the logits are not finite: the weights or the adapter are damaged", s.request, len(s.IDs))
		}
		if g.o.Token != nil {
			g.o.Token(s.request, s.last[0], s.LogProbs[len(s.LogProbs)-1])
		}
	}
	return nil
}

// retire takes out the sequences that ended and gives their pages back.
func (g *generator) retire() {
	before := g.ended
	g.running = slices.DeleteFunc(g.running, func(s *sequence) bool {
		s.Stop, s.StopString = g.stop(s)
		if s.prompt.shared && s.prompt.left == 0 && s.prompt.cache != nil && len(s.IDs) == 1 {
			s.prompt.cache.Truncate(0) // the last of its requests has it now
			s.prompt.cache, s.prompt.logits = nil, nil
		}
		if s.Stop == "" {
			return false
		}
		g.done[s.request] = s.Completion
		s.cache.Truncate(0)
		g.ended++
		return true
	})
	if g.o.Ended != nil && g.ended > before {
		g.o.Ended(g.ended)
	}
}
