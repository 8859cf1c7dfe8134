package dataset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Reading is the part of a recipe that says how one of its files is read.
type Reading struct {
	// Local is the file's name under --data-dir, where the copy there is called otherwise than the source. Default: as the source.
	Local string
	// Format of the records, one of those that docs/formats.md lists. Default: told from the first record.
	Format string
	// Columns maps our field names to the file's.
	Columns map[string]string
	// Part takes only the records that a hash of their prompt puts there: k/n is the k-th of n equal parts, k-m/n the k-th to
	// the m-th. Parts that do not overlap have no prompt in common, in whichever recipes they stand. Of conversations what
	// comes before the first answer counts as prompt, of plain and labelled texts the whole text. Default: all.
	Part string
	// Opening is how many words of a plain or labelled text make the prompt, >= 0; the rest is the completion. Default 0: a text
	// has no prompt.
	Opening int
	// Words cuts plain and labelled texts behind the last sentence that ends within that many words, or behind so many words
	// where none does, >= 0. Default 0: whole texts.
	Words int
}

// Validate names every value that cannot be.
func (r Reading) Validate() error {
	var errs []error
	if _, err := ParsePart(r.Part); err != nil {
		errs = append(errs, err)
	}
	if r.Opening < 0 {
		errs = append(errs, fmt.Errorf("opening: %d, want at least 0", r.Opening))
	}
	if r.Words < 0 || r.Words > 0 && r.Words <= r.Opening {
		errs = append(errs, fmt.Errorf("words: %d, want 0 (whole texts) or more than opening, %d", r.Words, r.Opening))
	}
	return errors.Join(errs...)
}

// Options are those of a reader. The caller has validated r.
func (r Reading) Options(limit int, seed uint64) Options {
	part, err := ParsePart(r.Part)
	if err != nil {
		panic("dataset: Options: the part was not validated")
	}
	return Options{Format: Format(r.Format), Columns: r.Columns, Part: part, Opening: r.Opening, Words: r.Words, Limit: limit, Seed: seed}
}

// Part is some of the N equal parts into which a hash divides all prompts: those from First to Last, counted from 0. The
// zero Part is everything.
type Part struct{ First, Last, N int }

// maxParts keeps a part far larger than the hash is fine.
const maxParts = 1 << 20

// ParsePart reads "k/n" or "k-m/n", counted from 1; "" is everything.
func ParsePart(s string) (Part, error) {
	if s == "" {
		return Part{}, nil
	}
	which, of, ok := strings.Cut(s, "/")
	from, to, isRange := strings.Cut(which, "-")
	if !isRange {
		to = from
	}
	n, err1 := strconv.Atoi(of)
	first, err2 := strconv.Atoi(from)
	last, err3 := strconv.Atoi(to)
	if !ok || errors.Join(err1, err2, err3) != nil || n < 1 || n > maxParts || first < 1 || last < first || last > n {
		return Part{}, fmt.Errorf("part: %q, want k/n or k-m/n with 1 <= k <= m <= n <= %d, such as 1/2", s, maxParts)
	}
	return Part{first - 1, last - 1, n}, nil
}

// String is what ParsePart reads.
func (p Part) String() string {
	switch {
	case p.N == 0:
		return ""
	case p.First == p.Last:
		return fmt.Sprintf("%d/%d", p.First+1, p.N)
	}
	return fmt.Sprintf("%d-%d/%d", p.First+1, p.Last+1, p.N)
}

// partSeed tells the hash that makes parts from those of Split: held-out prompts of a part are not all in one finer part.
const partSeed = 0x74726170

// holds reports whether a record with this key belongs to the part. It does not depend on any recipe's seed.
func (p Part) holds(key string) bool {
	if p.N == 0 {
		return true
	}
	at := int(keyPlace(partSeed, key) >> 32 * uint64(p.N) >> 32)
	return p.First <= at && at <= p.Last
}

// partKey is what decides in which part a record lies.
func partKey(record any) string {
	begin := func(p Passage) string {
		if p.IsChat() {
			return messagesKey(opening(p.Messages))
		}
		return textKey(p.Text)
	}
	switch r := record.(type) {
	case Demonstration:
		if r.Conversation == nil && !r.Prompt.Empty() {
			return begin(r.Prompt)
		}
		return r.PromptKey()
	case []Comparison:
		if !r[0].Prompt.Empty() {
			return begin(r[0].Prompt)
		}
		return r[0].PromptKey()
	case Judgement:
		if !r.Prompt.Empty() {
			return begin(r.Prompt)
		}
		return r.PromptKey()
	case Prompt:
		return begin(r.Prompt)
	case Text:
		return textKey(r.Text)
	case Labelled:
		return textKey(r.Text)
	}
	panic("dataset: partKey: unknown record")
}

// shortened cuts a text record to whole sentences within a number of words, 0 for no limit.
func shortened(record any, words int) any {
	if words == 0 {
		return record
	}
	switch r := record.(type) {
	case Text:
		r.Text = r.Text[:sentencesWithin(r.Text, words)]
		return r
	case Labelled:
		r.Text = r.Text[:sentencesWithin(r.Text, words)]
		return r
	}
	return record
}

// sentencesWithin is the length of s up to the end of the last sentence that ends within its first n words; where none
// does, of those words; all of s where it has no more words.
func sentencesWithin(s string, n int) int {
	end := openingWords(s, n)
	if strings.TrimSpace(s[end:]) == "" {
		return len(s)
	}
	last, from := 0, 0
	for i, r := range s[:end] + " " {
		if !unicode.IsSpace(r) {
			continue
		}
		if endsSentence(s[from:i]) {
			last = i
		}
		from = i + len(string(r))
	}
	if last > 0 {
		return last
	}
	return end
}

// endsSentence reports whether a word ends with a full stop, an exclamation or a question mark, quotation marks and
// brackets behind it aside.
func endsSentence(word string) bool {
	word = strings.TrimRight(word, "\"')]”’»")
	return strings.HasSuffix(word, ".") || strings.HasSuffix(word, "!") || strings.HasSuffix(word, "?")
}
