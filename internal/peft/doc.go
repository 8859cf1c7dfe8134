// Package peft holds what is trained: LoRA pairs on frozen matrices, whole modules that replace frozen ones
// (modules_to_save, full fine-tuning, the scalar head of a reward model or critic), all in one flat vector with one flat
// gradient, and PEFT's on-disk layout both ways (adapter_config.json, adapter_model.safetensors).
//
// In: a Config and the modules of a model, or an adapter folder. Out: an Adapter, which model reads and optim moves.
//
// Papers: Hu et al. 2021 (LoRA, arXiv 2106.09685), Kalajdzievski 2023 (rsLoRA, arXiv 2312.03732). Names of fields, keys
// and rules of matching are those of the PEFT library, version 0.21.
package peft
