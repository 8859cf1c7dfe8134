package dataset

import (
	"errors"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"plumb/internal/chat"
)

// splitConversations parts two conversations behind the turns they have in common, in front of an assistant's turn.
func splitConversations(a, b []chat.Message) (prompt, restA, restB Passage, err error) {
	n := 0
	for n < min(len(a), len(b)) && reflect.DeepEqual(a[n], b[n]) {
		n++
	}
	if n == len(a) && n == len(b) {
		return prompt, restA, restB, errSame
	}
	n = min(n, len(a)-1, len(b)-1)
	for n > 0 && (a[n].Role != assistant || b[n].Role != assistant) {
		n--
	}
	if n == 0 {
		return prompt, restA, restB, errors.New("chosen and rejected have no turns in common in front of an answer")
	}
	return Passage{Messages: a[:n:n]}, Passage{Messages: a[n:]}, Passage{Messages: b[n:]}, nil
}

// splitTexts parts two texts behind what they have in common, in front of a word and the white space before it.
//
// Deviation: TRL's extract_prompt parts them inside a word where that is where they differ ("word1", "word2"), so that
// the continuations begin with tokens no model would have written there.
func splitTexts(a, b string) (prompt, restA, restB Passage) {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	n = wordStart(a, b, n)
	return Passage{Text: a[:n]}, Passage{Text: a[n:]}, Passage{Text: b[n:]}
}

// wordStart moves n, the length of what a and b have in common, back to where the word begins with which one of them
// goes on, and further to the last of the white space before that word. Neither a[n:] nor b[n:] is left empty.
func wordStart(a, b string, n int) int {
	for n > 0 && (n < len(a) && !utf8.RuneStart(a[n]) || n < len(b) && !utf8.RuneStart(b[n])) {
		n--
	}
	ends := n == len(a) || n == len(b) // then the last word they have in common goes to the continuations
	if ends {
		n = len(strings.TrimRightFunc(a[:n], unicode.IsSpace))
	}
	if ends || wordAt(a, n) || wordAt(b, n) {
		for n > 0 {
			r, size := utf8.DecodeLastRuneInString(a[:n])
			if ends && unicode.IsSpace(r) || !ends && !isWord(r) {
				break
			}
			n -= size
		}
	}
	if n > 0 && (a[n-1] == ' ' || a[n-1] == '\n' || a[n-1] == '\t') && !spaceAt(a, n) && !spaceAt(b, n) {
		n--
	}
	return n
}

func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) || r == '\'' || r == '’' || r == '_'
}

func wordAt(s string, i int) bool {
	r, size := utf8.DecodeRuneInString(s[i:])
	return size > 0 && isWord(r)
}

func spaceAt(s string, i int) bool {
	r, size := utf8.DecodeRuneInString(s[i:])
	return size > 0 && unicode.IsSpace(r)
}
