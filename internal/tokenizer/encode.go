package tokenizer

import "strings"

// encoder collects the tokens of one text.
type encoder struct {
	t       *Tokenizer
	ids     []int32
	offsets [][2]int
	scratch []symbol
	err     error
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// text goes through the steps that the package comment numbers.
func (e *encoder) text(text string, o EncodeOptions) {
	if text == "" {
		return
	}
	t := e.t
	e.ids = make([]int32, 0, len(text)/4+4)
	e.offsets = make([][2]int, 0, len(text)/4+4)
	token := func(tok *AddedToken, p piece) {
		e.ids = append(e.ids, tok.ID)
		e.offsets = append(e.offsets, p.original(0, len(p.text)))
	}
	words := func(p piece) {
		if p.text != "" && e.err == nil {
			e.pre(p, 0)
		}
	}
	t.added.cut(t.added.raw, piece{text: text}, o.Special, token, func(p piece) {
		if p.text == "" || e.err != nil {
			return
		}
		if t.norm != nil {
			var err error
			if p, err = t.norm.normalize(p); err != nil {
				e.fail(err)
				return
			}
		}
		t.added.cut(t.added.normalized, p, o.Special, token, words)
	})
}

// pre applies the pre-tokenizers from step on; what the last leaves goes to the model.
func (e *encoder) pre(p piece, step int) {
	if step < len(e.t.pre) {
		e.t.pre[step].apply(e, p, step+1)
		return
	}
	mark := e.t.model.boundary
	if mark == "" {
		e.word(p)
		return
	}
	start := 0
	for at := 0; ; {
		i := strings.Index(p.text[at:], mark)
		if i < 0 {
			break
		}
		if at += i; at > start && !endsIn(p.text[:at], mark) {
			e.word(p.slice(start, at))
			start = at
		}
		at += len(mark)
	}
	e.word(p.slice(start, len(p.text)))
}

func (e *encoder) word(p piece) {
	m := e.t.model
	if len(p.text) > cacheWord {
		e.scratch = m.tokens(e.scratch[:0], p.text)
		e.emit(p, e.scratch)
		return
	}
	slot, entry := m.words.slot(p.text)
	if entry == nil {
		e.scratch = m.tokens(e.scratch[:0], p.text)
		entry = newCacheEntry(p.text, e.scratch)
		slot.Store(entry)
	}
	e.emit(p, entry.tokens)
}

func (e *encoder) emit(p piece, tokens []symbol) {
	for _, s := range tokens {
		e.ids = append(e.ids, s.id)
		e.offsets = append(e.offsets, p.original(int(s.start), int(s.end)))
	}
}
