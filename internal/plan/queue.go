package plan

// sequence is a request in its place: its number, the tokens it has and those that are to come.
type sequence struct{ request, tokens, left int }

// follow is continuous batching: requests are admitted in order into free places; each takes as many steps as its answer has tokens, the
// first of which is drawn from the logits of its prompt. It calls visit for every stretch of steps in which the same sequences run, in the
// order of requests, before they have grown.
func follow(prompts, answers []int, places int, visit func(running []sequence, steps int)) {
	var running []sequence
	next := 0
	for next < len(answers) || len(running) > 0 {
		for next < len(answers) && len(running) < places {
			running = append(running, sequence{next, prompts[next], max(answers[next], 1)})
			next++
		}
		least := running[0].left
		for _, s := range running {
			least = min(least, s.left)
		}
		visit(running, least)
		kept := running[:0]
		for _, s := range running {
			if s.left > least {
				kept = append(kept, sequence{s.request, s.tokens + least, s.left - least})
			}
		}
		running = kept
	}
}

// Occupancy counts the steps of continuous batching by how many sequences run in them: steps[n] steps with n sequences.
func Occupancy(answers []int, places int) (steps []int) {
	steps = make([]int, min(places, len(answers))+1)
	follow(make([]int, len(answers)), answers, places, func(running []sequence, n int) { steps[len(running)] += n })
	return steps
}

// MostPages returns the most pages of so many positions that the sequences of one moment take together: each takes them as it grows,
// prompt and answer, and gives them back at its end. Requests come samples to a prompt; they have the prompt's full pages in common, and
// while some of them wait it keeps its last page too.
func MostPages(prompts, answers []int, samples, places, positions int) int {
	most := 0
	follow(prompts, answers, places, func(running []sequence, steps int) {
		next := running[len(running)-1].request + 1
		pages, counted := 0, -1
		for _, s := range running {
			prompt := prompts[s.request]
			full := prompt / positions
			pages += (s.tokens+steps+positions-1)/positions - full
			if of := s.request / samples; of != counted {
				counted = of
				pages += full
				if next < min((of+1)*samples, len(answers)) && prompt%positions > 0 {
					pages++
				}
			}
		}
		most = max(most, pages)
	})
	return most
}
