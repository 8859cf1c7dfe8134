package rollout

import (
	"fmt"
	"testing"

	"plumb/internal/golden"
)

// BenchmarkGenerate samples 32 new tokens from prompts of 32 on SmolLM2-135M in bfloat16: tokens per second of the whole
// call, prompts included.
func BenchmarkGenerate(b *testing.B) {
	m := openFolder(b, golden.SmolLM2(b, "hf"))
	for _, batch := range []int{1, 16} {
		reqs := make([]Request, batch)
		for i := range reqs {
			reqs[i].Episode = uint64(i)
			for k := range 32 {
				reqs[i].Prompt = append(reqs[i].Prompt, int32(100+37*i+k*k%977))
			}
		}
		for name, o := range map[string]Options{"whole": {Temperature: 1}, "top-p": {Temperature: 1, TopP: 0.95}} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, batch), func(b *testing.B) {
				o.MaxNew, o.MaxBatch = 32, batch
				for b.Loop() {
					generate(b, m, nil, reqs, o)
				}
				b.ReportMetric(float64(batch*32*b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
