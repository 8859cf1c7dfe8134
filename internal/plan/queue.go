package plan

// Occupancy counts the steps of continuous batching by how many sequences run in them: steps[n] steps with n sequences. Requests
// are admitted in order into free places; each takes as many steps as it has tokens, the first of which is drawn from the logits
// of its prompt.
func Occupancy(lengths []int, places int) (steps []int) {
	steps = make([]int, min(places, len(lengths))+1)
	var running []int
	next := 0
	for next < len(lengths) || len(running) > 0 {
		for next < len(lengths) && len(running) < places {
			running = append(running, lengths[next])
			next++
		}
		// Until the shortest ends, the same sequences run.
		least := running[0]
		for _, n := range running {
			least = min(least, n)
		}
		least = max(least, 1)
		steps[len(running)] += least
		kept := running[:0]
		for _, n := range running {
			if n > least {
				kept = append(kept, n-least)
			}
		}
		running = kept
	}
	return steps
}
