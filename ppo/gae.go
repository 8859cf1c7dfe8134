package ppo

// Advantages returns generalized advantage estimates and returns, both [N] (Schulman et al. 2016, eq. 16), from rewards and
// values V(s_t), both [N]. Within each response, from its last real token backwards,
//
//	delta_t = r_t + gamma*V_{t+1} - V_t        A_t = delta_t + gamma*lambda*A_{t+1}        R_t = A_t + V_t
//
// with V and A zero after the last token, whether the response ended by itself or was cut: a cut response is not bootstrapped,
// it pays by the missing-stop rule instead. gamma and lambda are in [0,1].
func Advantages(rewards, values []float64, starts Starts, gamma, lambda float64) (advantages, returns []float64) {
	advantages, returns = make([]float64, len(rewards)), make([]float64, len(rewards))
	for row := range starts.Len() {
		a, b := starts.Row(row)
		next, advantage := 0.0, 0.0 // V_{t+1}, A_{t+1}
		for t := b - 1; t >= a; t-- {
			delta := rewards[t] + gamma*next - values[t]
			advantage = delta + gamma*lambda*advantage
			advantages[t], returns[t] = advantage, advantage+values[t]
			next = values[t]
		}
	}
	return advantages, returns
}
