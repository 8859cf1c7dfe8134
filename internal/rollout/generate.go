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

// Generate samples a completion for each request, in the order of requests. Requests of several adapters go through the model together,
// which is read once for all; an adapter may be nil, the bare model, and no adapters are one that is. Cancelling ctx ends it
// between two steps with ctx's error.
func Generate(ctx context.Context, m *model.Model, adapters []*peft.Adapter, reqs []Request, o Options) ([]Completion, error) {
	if err := validate(m, len(adapters), reqs, &o); err != nil {
		return nil, err
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = defaultBatch
	}
	g := newGenerator(m, adapters, reqs, &o)
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
	o       *Options
	decoder *model.Decoder
	tape    *tensor.Tape
	reqs    []Request
	done    []Completion

	prompts []*prompt      // of each request
	roots   []*model.Cache // by adapter, the beginning that all its prompts share, or nil
	next    int            // the first request not admitted
	ended   int            // requests that have their completion
	running []*sequence
	fresh   []*prompt // prompts that this step computes
	pages   *model.Pages

	feeds    []model.Feed // of this step
	wanted   []*[]float32 // where the logits of each feed go
	drawNext func(i int)  // draws running[i]'s next token
}

func newGenerator(m *model.Model, adapters []*peft.Adapter, reqs []Request, o *Options) *generator {
	g := &generator{
		m: m, o: o, reqs: reqs, done: make([]Completion, len(reqs)),
		decoder: m.NewDecoder(adapters...), tape: tensor.NewInferenceTape(m.Pool()), pages: m.NewPages(o.KV),
	}
	g.drawNext = g.drawOne
	g.roots, g.prompts = make([]*model.Cache, max(len(adapters), 1)), make([]*prompt, len(reqs))
	for a := range g.roots {
		g.group(a)
	}
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
	ids     []int32
	adapter int
	shared  bool         // by several requests
	left    int          // requests not yet admitted
	cache   *model.Cache // nil until computed
	logits  []float32    // after its last token
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

// group finds equal prompts of an adapter and the beginning that all of them share.
func (g *generator) group(adapter int) {
	same := make(map[string]*prompt)
	var key []byte
	var first []int32
	shared := 0
	for i, r := range g.reqs {
		if r.Adapter != adapter {
			continue
		}
		key = key[:0]
		for _, id := range r.Prompt {
			key = append(key, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
		}
		p := same[string(key)]
		if p == nil {
			p = &prompt{ids: r.Prompt, adapter: adapter}
			same[string(key)] = p
			if first == nil {
				first, shared = r.Prompt, len(r.Prompt)-1
			}
			n := 0
			for n < min(shared, len(r.Prompt)-1) && r.Prompt[n] == first[n] {
				n++
			}
			shared = n
		}
		p.shared = p.left > 0
		p.left++
		g.prompts[i] = p
	}
	if len(same) < 2 || shared < sharedTokens {
		return
	}
	g.roots[adapter] = g.pages.NewCache()
	g.fill(g.roots[adapter], adapter, first[:shared], 0)
}

// fill computes ids into c, in pieces, until no more than rest are left.
func (g *generator) fill(c *model.Cache, adapter int, ids []int32, rest int) {
	for c.Len() < len(ids)-rest {
		g.tape.Reset()
		g.decoder.Step(g.tape, []model.Feed{{Cache: c, Adapter: adapter, IDs: ids[c.Len():min(c.Len()+promptTokens, len(ids))]}})
	}
}

// admit fills free places, and lists the prompts that have to be computed for them.
func (g *generator) admit() {
	g.fresh = g.fresh[:0]
	tokens := 0
	for g.next < len(g.reqs) && len(g.running) < g.o.MaxBatch {
		p := g.prompts[g.next]
		if p.cache == nil {
			n, root := len(p.ids), g.roots[p.adapter]
			if root != nil {
				n -= root.Len()
			}
			if tokens > 0 && tokens+n > promptTokens {
				return // a longer prompt alone
			}
			tokens += n
			p.cache = g.pages.NewCache()
			if root != nil {
				p.cache.ShareFrom(root, root.Len())
			}
			g.fill(p.cache, p.adapter, p.ids, promptTokens)
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

// feed adds ids to what this step computes, for the logits after the last of them.
func (g *generator) feed(p *prompt, c *model.Cache, ids []int32, logits *[]float32) {
	g.feeds = append(g.feeds, model.Feed{Cache: c, IDs: ids, Adapter: p.adapter})
	g.wanted = append(g.wanted, logits)
}

// step computes the logits after every new prompt and after the last token of every sequence, one adapter's after another's.
func (g *generator) step() {
	g.feeds, g.wanted = g.feeds[:0], g.wanted[:0]
	for a := range g.roots {
		for _, p := range g.fresh {
			if p.adapter == a {
				g.feed(p, p.cache, p.ids[p.cache.Len():], &p.logits)
			}
		}
		for _, s := range g.running {
			if s.prompt.adapter == a && s.cache != nil {
				g.feed(s.prompt, s.cache, s.last[:], &s.logits)
			}
		}
	}
	if len(g.feeds) > 0 {
		g.tape.Reset()
		logits := g.decoder.Logits(g.tape, g.decoder.Step(g.tape, g.feeds), g.feeds)
		for i, to := range g.wanted {
			*to = logits.Data[i*logits.Cols : (i+1)*logits.Cols]
		}
	}
	for _, p := range g.fresh {
		if p.left > 0 {
			p.logits = slices.Clone(p.logits) // the tape's memory goes with the step
		}
	}
	for _, s := range g.running {
		if s.cache != nil {
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

// NotFinite says that no token can be drawn for a request.
type NotFinite struct{ Request, Token int }

func (e *NotFinite) Error() string {
	return fmt.Sprintf("request %d, new token %d: no token can be drawn, the logits are not finite: the weights or the adapter are damaged", e.Request, e.Token)
}

// draw takes one token for each sequence.
func (g *generator) draw() error {
	g.m.Pool().Do(len(g.running), g.drawNext)
	for _, s := range g.running {
		if !s.ok {
			return &NotFinite{Request: s.request, Token: len(s.IDs)}
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
