package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"
)

// postProcessor is what happens to a text's tokens at the end.
type postProcessor struct {
	before, after []int32 // special tokens around a text
	trimOffsets   bool    // offsets leave out the spaces a token begins and ends with
	prefixSpace   bool    // but not the space that was put before the text
}

func (pp *postProcessor) add(raw json.RawMessage, t *Tokenizer, depth int) error {
	c, ok, err := parseComponent(raw, "post-processor")
	if err != nil || !ok {
		return err
	}
	switch c.Type {
	case "Sequence":
		if depth == maxNesting {
			return fmt.Errorf("post-processor Sequences are nested deeper than %d", maxNesting)
		}
		for _, raw := range c.Processors {
			if err := pp.add(raw, t, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel":
		pp.trimOffsets = pp.trimOffsets || isTrue(c.TrimOffsets, true)
		pp.prefixSpace = isTrue(c.AddPrefixSpace, true)
		return nil
	case "TemplateProcessing":
		return pp.template(&c, t)
	}
	return unsupported("post-processor", c.Type)
}

// template reads TemplateProcessing's form for a single text.
func (pp *postProcessor) template(c *component, t *Tokenizer) error {
	var before, after []int32
	text := false
	for _, item := range c.Single {
		for kind, v := range item {
			switch {
			case kind == "Sequence" && v.ID == "A" && !text:
				text = true
			case kind == "SpecialToken":
				tok, ok := c.SpecialTokens[v.ID]
				if !ok {
					return fmt.Errorf("TemplateProcessing uses token %q, which it does not define", v.ID)
				}
				for _, id := range tok.IDs {
					if _, ok := t.Token(id); !ok {
						return fmt.Errorf("TemplateProcessing token %q: there is no id %d", v.ID, id)
					}
				}
				if text {
					after = append(after, tok.IDs...)
				} else {
					before = append(before, tok.IDs...)
				}
			default:
				return fmt.Errorf("TemplateProcessing: %s %q is not supported", kind, v.ID)
			}
		}
	}
	if !text {
		return fmt.Errorf("TemplateProcessing has no place for the text")
	}
	pp.before = append(before, pp.before...)
	pp.after = append(pp.after, after...)
	return nil
}

// wrap puts the special tokens around e.
func (pp *postProcessor) wrap(e Encoding) Encoding {
	if len(pp.before)+len(pp.after) == 0 {
		return e
	}
	n := len(pp.before) + len(e.IDs) + len(pp.after)
	out := Encoding{IDs: make([]int32, 0, n), Offsets: make([][2]int, len(pp.before), n)}
	out.IDs = append(append(append(out.IDs, pp.before...), e.IDs...), pp.after...)
	out.Offsets = append(out.Offsets, e.Offsets...)
	out.Offsets = out.Offsets[:n]
	return out
}

// trim takes the spaces off the offsets. A token's spaces are counted in characters and taken off as bytes, as
// Hugging Face tokenizers does: it matters only for added tokens that begin or end with white space beyond ASCII.
func (t *Tokenizer) trim(e *encoder, original string) {
	blank := func(r rune) bool { return r == byteAlphabet[' '] || unicode.IsSpace(r) }
	for i, id := range e.ids {
		text, _ := t.Token(id)
		o := &e.offsets[i]
		lead, trail, seen := 0, 0, false
		for _, r := range text {
			switch {
			case !blank(r):
				seen, trail = true, 0
			case seen:
				trail++
			default:
				lead++
			}
		}
		if !seen { // nothing but spaces: they count at both ends
			trail = lead
		}
		if lead > 0 {
			if (i == 0 || o[0] == 0) && t.post.prefixSpace {
				lead--
			}
			o[0] = min(o[0]+lead, o[1])
		}
		if trail > 0 && o[1] >= trail {
			o[1] = max(o[1]-trail, o[0])
		}
		for k, at := range o { // inside a character, they go to its beginning
			if at < len(original) {
				o[k], _ = charAround(original, at)
			}
		}
	}
}
