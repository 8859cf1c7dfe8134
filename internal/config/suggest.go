package config

import "strings"

// didYouMean is the end of a message about an unknown name; empty for no idea.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// nearest is the candidate a person most likely meant by name: fewest edits,
// separators not counting; empty where nothing is near.
func nearest(name string, candidates []string) string {
	best, bestAt := "", 1<<30
	plain := strings.NewReplacer(".", "_", "-", "_")
	want := plain.Replace(strings.ToLower(name))
	for _, c := range candidates {
		have := plain.Replace(strings.ToLower(c))
		d := edits(want, have)
		if d < bestAt {
			best, bestAt = c, d
		}
	}
	if bestAt > max(2, len(name)/3) {
		return ""
	}
	return best
}

// nearestKey looks among the siblings of an unknown key first, then among all
// keys, then for the same last name elsewhere.
func nearestKey(root, parent *field, name string) string {
	prefix := ""
	if parent.key != "" {
		prefix = parent.key + "."
	}
	if n := nearest(name, names(parent.fields)); n != "" {
		return prefix + n
	}
	var all []string
	root.leaves(func(f *field) { all = append(all, f.key) })
	if n := nearest(prefix+name, all); n != "" {
		return n
	}
	for _, k := range all {
		if strings.HasSuffix(k, "."+name) {
			return k
		}
	}
	return ""
}

// edits is the number of insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func edits(a, b string) int {
	prev2, prev, cur := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, make([]int, len(b)+1)
	}
	return prev[len(b)]
}

// Nearest is the candidate most likely meant by a mistyped name, or "".
func Nearest(name string, candidates []string) string { return nearest(name, candidates) }
