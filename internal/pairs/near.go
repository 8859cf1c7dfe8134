package pairs

import (
	"slices"
	"strings"
	"unicode"
)

// Counts says what became of the answers.
type Counts struct {
	Prompts   int `json:"prompts"`
	Answers   int `json:"answers"`
	Identical int `json:"identical"` // dropped: equal to an earlier answer but for white space
	Near      int `json:"near"`      // dropped: at least as similar as the limit
	Single    int `json:"single"`    // prompts of which fewer than two answers were left
	Pairs     int `json:"pairs"`
	Tokens    int `json:"tokens"` // sampled
	Stopped   int `json:"stopped"`
}

// Add adds d to c.
func (c *Counts) Add(d Counts) {
	c.Prompts += d.Prompts
	c.Answers += d.Answers
	c.Identical += d.Identical
	c.Near += d.Near
	c.Single += d.Single
	c.Pairs += d.Pairs
	c.Tokens += d.Tokens
	c.Stopped += d.Stopped
}

// Make is steps 2 and 3 for the answers of one prompt: the pairs, each the numbers of two answers, the earlier first.
func Make(c *Config, answers []Answer) (made [][2]int, n Counts) {
	n = Counts{Prompts: 1, Answers: len(answers)}
	var kept []int
	var texts [][]string
	for j, a := range answers {
		n.Tokens += len(a.IDs)
		if a.Stop != "length" {
			n.Stopped++
		}
		ws := words(a.Text)
		space := spaceless(a.Text)
		same, near := false, false
		for i, k := range kept {
			same = same || spaceless(answers[k].Text) == space
			near = near || Near(texts[i], ws, c.Near)
		}
		switch {
		case same:
			n.Identical++
		case near:
			n.Near++
		default:
			kept, texts = append(kept, j), append(texts, ws)
		}
	}
	for i, a := range kept {
		for _, b := range kept[i+1:] {
			made = append(made, [2]int{a, b})
			if c.Pair == Next {
				break
			}
		}
	}
	if len(kept) < 2 {
		n.Single++
	}
	n.Pairs = len(made)
	return made, n
}

// spaceless is a text with every run of white space made one space and none at its ends.
func spaceless(text string) string { return strings.Join(strings.Fields(text), " ") }

// Near reports whether two texts, as words, are at least limit similar: 1 - d/n >= limit, d the Levenshtein distance in
// words, n the length of the longer.
func Near(a, b []string, limit float64) bool {
	n := max(len(a), len(b))
	if n == 0 {
		return true
	}
	// 1 - d/n >= limit  <=>  d <= (1-limit)·n; the small term is for limits like 0.95 that are no binary fractions.
	most := int((1-limit)*float64(n) + 1e-9)
	if n-min(len(a), len(b)) > most {
		return false // the difference in length alone is a distance
	}
	return distance(a, b, most) <= most
}

// distance is the Levenshtein distance, or something above most where it is above most (Ukkonen 1985: only the band of
// most cells beside the diagonal can matter).
func distance(a, b []string, most int) int {
	if len(b) == 0 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		from, to := max(1, i-most), min(len(b), i+most)
		if from > to {
			return most + 1
		}
		diagonal := row[from-1]
		if from == 1 {
			row[0] = i
		} else {
			row[from-1] = most + 1
		}
		for j := from; j <= to; j++ {
			up := row[j] // still j > most where the row above did not reach
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, up+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// unspaced are scripts written without spaces between words: each letter counts as a word.
var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// words cuts a text into words: runs of letters, marks and digits, each other sign by itself, white space left out. They
// are of the text, not of a tokenizer, so that answers of any two models compare.
func words(text string) []string {
	var out []string
	start := -1
	end := func(i int) {
		if start >= 0 {
			out = append(out, text[start:i])
			start = -1
		}
	}
	for i, r := range text {
		part := unicode.In(r, unicode.L, unicode.M, unicode.N)
		switch {
		case part && !unicode.IsOneOf(unspaced, r):
			if start < 0 {
				start = i
			}
		default:
			end(i)
			if !unicode.IsSpace(r) {
				out = append(out, string(r))
			}
		}
	}
	end(len(text))
	return slices.Clip(out)
}
