package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// Cut says what happens to rows longer than the limit.
type Cut string

// What happens to rows that are too long.
const (
	KeepStart Cut = "keep_start" // the end is cut off
	KeepEnd   Cut = "keep_end"   // the start is cut off
	DropLong  Cut = "drop"       // the row is left out
	RefuseAny Cut = "error"      // the data set is refused
)

// Length is a policy for long rows.
type Length struct {
	Max int // ids; 0: no limit
	Cut Cut // "" is KeepStart
}

// Counts says what became of the records of a data set.
type Counts struct {
	Read      int
	Kept      int
	Truncated int // of those kept
	Tokens    int // ids kept
	Learnable int // ids learned
	// NoStop counts whole rows that teach no id that ends a turn, see Encoder.UntrainedStop.
	NoStop  int
	FirstNo Origin // the first of them
	Dropped []Drop // by reason, in the order they first came up
}

// Drop is a number of records left out for one reason.
type Drop struct {
	Reason string
	Count  int
	First  Origin
}

// Why rows are dropped.
const (
	droppedLong    = "longer than the limit"
	droppedCut     = "nothing to learn is left within the limit"
	droppedNothing = "nothing to learn in it"
)

func (c *Counts) drop(reason string, o Origin) {
	for i := range c.Dropped {
		if c.Dropped[i].Reason == reason {
			c.Dropped[i].Count++
			return
		}
	}
	c.Dropped = append(c.Dropped, Drop{reason, 1, o})
}

// String is one line for a person.
func (c Counts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records, %d kept", c.Read, c.Kept)
	if c.Truncated > 0 {
		fmt.Fprintf(&b, " (%d of them cut)", c.Truncated)
	}
	fmt.Fprintf(&b, ", %d tokens, %d learned", c.Tokens, c.Learnable)
	for _, d := range c.Dropped {
		fmt.Fprintf(&b, "; %d dropped: %s (first %s)", d.Count, d.Reason, d.First)
	}
	if c.NoStop > 0 {
		fmt.Fprintf(&b, "; %d teach no stop token (first %s)", c.NoStop, c.FirstNo)
	}
	return b.String()
}

func (l Length) validate() error {
	switch l.Cut {
	case "", KeepStart, KeepEnd, DropLong, RefuseAny:
	default:
		return fmt.Errorf("length: %q is not one of keep_start, keep_end, drop, error", l.Cut)
	}
	if l.Max < 0 || l.Max == 1 {
		return fmt.Errorf("length: a limit of %d leaves nothing to learn from", l.Max)
	}
	return nil
}

// apply cuts a row to the limit. ok is false if it is to be dropped.
func (l Length) apply(x Example) (cut Example, ok bool, err error) {
	n := len(x.IDs)
	if l.Max == 0 || n <= l.Max {
		return x, true, nil
	}
	switch l.Cut {
	case DropLong:
		return x, false, nil
	case RefuseAny:
		return x, false, fmt.Errorf("%s: %d tokens, more than %d", x.Origin, n, l.Max)
	case KeepEnd:
		x.IDs, x.Weights = x.IDs[n-l.Max:], x.Weights[n-l.Max:]
		x.Prompt = max(0, x.Prompt-(n-l.Max))
	default:
		x.IDs, x.Weights = x.IDs[:l.Max], x.Weights[:l.Max]
		x.Prompt = min(x.Prompt, l.Max)
	}
	x.Truncated = true
	return x, true, nil
}

// Demonstrations encodes a data set. Rows without anything to learn are dropped and counted; that none is left is
// an error.
func (e *Encoder) Demonstrations(ds []Demonstration, l Length) ([]Example, Counts, error) {
	return e.collect(len(ds), l, func(i int) (Example, error) { return e.Demonstration(ds[i]) })
}

// Texts encodes plain texts in the same way.
func (e *Encoder) Texts(ts []Text, l Length) ([]Example, Counts, error) {
	return e.collect(len(ts), l, func(i int) (Example, error) { return e.Text(ts[i]) })
}

func (e *Encoder) collect(n int, l Length, encode func(i int) (Example, error)) ([]Example, Counts, error) {
	c := Counts{Read: n}
	if err := l.validate(); err != nil {
		return nil, c, err
	}
	var out []Example
	for i := range n {
		e.told(i, n)
		whole, err := encode(i)
		if err != nil {
			return nil, c, err
		}
		x, ok, err := l.apply(whole)
		switch {
		case err != nil:
			return nil, c, err
		case !ok:
			c.drop(droppedLong, whole.Origin)
			continue
		case whole.Learnable() == 0:
			c.drop(droppedNothing, whole.Origin)
			continue
		case x.Learnable() == 0:
			c.drop(droppedCut, whole.Origin)
			continue
		}
		if e.UntrainedStop(x) {
			if c.NoStop++; c.NoStop == 1 {
				c.FirstNo = x.Origin
			}
		}
		if x.Truncated {
			c.Truncated++
		}
		c.Tokens += len(x.IDs)
		c.Learnable += x.Learnable()
		x.Record = i
		out = append(out, x)
	}
	e.told(n, n)
	c.Kept = len(out)
	if c.Kept == 0 {
		return nil, c, noneLeft(c)
	}
	return out, c, nil
}

func noneLeft(c Counts) error {
	if c.Read == 0 {
		return errors.New("the data set has no records")
	}
	return fmt.Errorf("the data set has nothing to learn: %s", c)
}

// Comparisons encodes comparisons. A pair is never cut, which would hide how an answer ends: pairs of which one
// row is longer than limit (0: none) are dropped and counted, and so are those whose two rows are the same.
func (e *Encoder) Comparisons(cs []Comparison, limit int) ([]Pair, Counts, error) {
	c := Counts{Read: len(cs)}
	var out []Pair
	for i, record := range cs {
		e.told(i, len(cs))
		p, err := e.Comparison(record)
		if err != nil {
			return nil, c, err
		}
		a, b := p.Chosen.IDs, p.Rejected.IDs
		if limit > 0 && max(len(a), len(b)) > limit {
			c.drop(droppedLong, record.Origin)
			continue
		}
		if n := samePrefix(a, b); n == len(a) && n == len(b) {
			c.drop("both answers are the same", record.Origin)
			continue
		}
		c.Tokens += len(a) + len(b)
		c.Learnable += p.Chosen.Learnable() + p.Rejected.Learnable()
		p.Chosen.Record, p.Rejected.Record = i, i
		out = append(out, p)
	}
	e.told(len(cs), len(cs))
	c.Kept = len(out)
	if c.Kept == 0 {
		return nil, c, noneLeft(c)
	}
	return out, c, nil
}

// EncodedPrompt is a prompt with its ids.
type EncodedPrompt struct {
	Prompt
	IDs []int32
}

// Prompts encodes prompts. Those longer than limit (0: none) are dropped and counted: a cut prompt is another
// question.
func (e *Encoder) Prompts(ps []Prompt, limit int) ([]EncodedPrompt, Counts, error) {
	c := Counts{Read: len(ps)}
	var out []EncodedPrompt
	for i, p := range ps {
		e.told(i, len(ps))
		ids, err := e.Prompt(p)
		if err != nil {
			return nil, c, err
		}
		if limit > 0 && len(ids) > limit {
			c.drop(droppedLong, p.Origin)
			continue
		}
		c.Tokens += len(ids)
		out = append(out, EncodedPrompt{p, ids})
	}
	e.told(len(ps), len(ps))
	c.Kept = len(out)
	if c.Kept == 0 {
		return nil, c, noneLeft(c)
	}
	return out, c, nil
}
