package tokenizer

import "strings"

// Stream decodes ids as they come, never giving out a part of a character. All that it gave out, and Rest, is what
// Decode makes of all the ids.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	ids         []int32 // those whose text may still depend on what comes
	prefix      string  // what Decode makes of ids[:given], and was given out
	given       int
}

// NewStream begins a text. A stream is for one goroutine.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{t: t, skipSpecial: skipSpecial}
}

// Next takes an id and returns the text that is now certain, "" while a character is incomplete. The last ids are
// decoded again with the new one, because a token's text may depend on the one before it (DecodeStream of Hugging Face
// tokenizers).
func (s *Stream) Next(id int32) string {
	if s.prefix == "" && len(s.ids) > 0 {
		if p := s.t.Decode(s.ids, s.skipSpecial); !strings.HasSuffix(p, "\uFFFD") {
			s.prefix, s.given = p, len(s.ids)
		}
	}
	s.ids = append(s.ids, id)
	text := s.t.Decode(s.ids, s.skipSpecial)
	if len(text) <= len(s.prefix) || strings.HasSuffix(text, "\uFFFD") || !strings.HasPrefix(text, s.prefix) {
		return ""
	}
	out := text[len(s.prefix):]
	given := len(s.ids) - s.given
	s.ids = append(s.ids[:0], s.ids[s.given:]...)
	s.prefix, s.given = s.t.Decode(s.ids, s.skipSpecial), given
	return out
}

// Rest returns the text that Next held back, to be called once at the end.
func (s *Stream) Rest() string {
	text := s.t.Decode(s.ids, s.skipSpecial)
	if !strings.HasPrefix(text, s.prefix) {
		return ""
	}
	return text[len(s.prefix):]
}
