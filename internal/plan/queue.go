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

// MostPages follows the same queue and returns the most pages of so many positions that the sequences of one moment take together: each
// takes them as it grows, prompt and answer, and gives them back at its end. Requests come samples to a prompt; they have the prompt's
// full pages in common, and while some of them wait it keeps its last page too.
func MostPages(prompts, answers []int, samples, places, positions int) int {
	type sequence struct{ request, tokens, left int }
	var running []sequence
	next, most := 0, 0
	for next < len(answers) || len(running) > 0 {
		for next < len(answers) && len(running) < places {
			running = append(running, sequence{next, prompts[next], max(answers[next], 1)})
			next++
		}
		least := running[0].left
		for _, s := range running {
			least = min(least, s.left)
		}
		pages, counted := 0, -1
		for _, s := range running { // in the order of requests
			prompt := prompts[s.request]
			full := prompt / positions
			pages += (s.tokens+least+positions-1)/positions - full
			if of := s.request / samples; of != counted {
				counted = of
				pages += full
				if next < min((of+1)*samples, len(answers)) && prompt%positions > 0 {
					pages++
				}
			}
		}
		most = max(most, pages)
		kept := running[:0]
		for _, s := range running {
			if s.left > least {
				kept = append(kept, sequence{s.request, s.tokens + least, s.left - least})
			}
		}
		running = kept
	}
	return most
}
