package main

import "plumb/internal/config"

// presetNames are the names that preset knows.
func presetNames() []string { return []string{"guanaco", "guanaco-33b"} }

// preset is the defaults with the settings of a published training worked in, for config init.
//
// guanaco is QLoRA's for 7 and 13 billion parameters, guanaco-33b for 33 and 65 (Dettmers et al. 2023, section 5 and appendix
// B.2; scripts/finetune_guanaco_7b.sh and _33b.sh of github.com/artidoro/qlora): NF4 with double quantisation, LoRA of rank
// 64, alpha 16 on every linear layer, paged AdamW in 32 bits, 1875 steps of 16 rows at a constant rate, on OASST1. Their
// group_by_length saves padding, of which there is none here; their warm-up has no effect under a constant schedule of
// transformers, so it is 0.
func preset(name string) (*recipe, error) {
	r := recipeDefaults()
	switch name {
	case "":
		return r, nil
	case "guanaco", "guanaco-33b":
	default:
		return nil, usagef("no preset is called %q%s", name, didYouMean(config.Nearest(name, presetNames())))
	}
	r.Quantize = "nf4"
	s := r.SFT
	s.MaxLength = 528 // 16 of a source that is empty, 512 of the conversation
	s.Peft.R, s.Peft.Alpha, s.Peft.Dropout, s.Peft.Targets = 64, 16, 0.1, []string{"all-linear"}
	s.Batch, s.Epochs, s.MaxSteps, s.Recompute = 16, 4, 1875, true
	s.LR, s.Schedule, s.Warmup, s.MaxGradNorm = 2e-4, "constant", 0, 0.3
	s.Optimizer.Beta2, s.Optimizer.WeightDecay, s.Optimizer.Bits, s.Optimizer.Paged = 0.999, 0, 32, true
	s.EvalEvery, s.SaveEvery = 187, 500
	if name == "guanaco-33b" {
		s.LR, s.Peft.Dropout, s.SaveEvery = 1e-4, 0.05, 200
	}
	return r, nil
}
