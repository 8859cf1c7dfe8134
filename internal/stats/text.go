package stats

// Distinct is the share of different n-grams among all n-grams of the texts together (Li et al. 2016). 0 when there is none.
func Distinct(texts [][]int32, n int) float64 {
	seen, all := map[string]bool{}, 0
	for _, t := range texts {
		for _, g := range ngrams(t, n) {
			seen[g] = true
			all++
		}
	}
	if all == 0 {
		return 0
	}
	return float64(len(seen)) / float64(all)
}

// Repeated is the share of a text's n-grams that occurred earlier in it: 1 - distinct/all. 0 for texts shorter than n.
func Repeated(text []int32, n int) float64 {
	gs := ngrams(text, n)
	if len(gs) == 0 {
		return 0
	}
	seen := map[string]bool{}
	for _, g := range gs {
		seen[g] = true
	}
	return 1 - float64(len(seen))/float64(len(gs))
}

func ngrams(ids []int32, n int) []string {
	var out []string
	b := make([]byte, 0, 4*n)
	for i := 0; i+n <= len(ids); i++ {
		b = b[:0]
		for _, id := range ids[i : i+n] {
			b = append(b, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
		}
		out = append(out, string(b))
	}
	return out
}
