package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// disjoint refuses tensors that share bytes.
func (g *GGUF) disjoint() error {
	order := make([]*stored, len(g.tensors))
	for i := range g.tensors {
		order[i] = &g.tensors[i]
	}
	slices.SortStableFunc(order, func(a, b *stored) int { return int(min(max(a.off-b.off, -1), 1)) })
	var last *stored
	for _, t := range order {
		if last != nil && t.bytes > 0 && t.off < last.off+last.bytes {
			return fmt.Errorf("tensor %q starts inside tensor %q", t.name, last.name)
		}
		if t.bytes > 0 {
			last = t
		}
	}
	return nil
}

// openGGUFSource makes a Source of a GGUF file of the llama architecture.
func openGGUFSource(path string) (*Source, error) {
	g, err := OpenGGUF(path)
	if err != nil {
		return nil, err
	}
	s := &Source{Path: path, Format: "gguf", GGUF: g, files: []*file{g.file}}
	if err := s.fromGGUF(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), s.Close())
	}
	s.index()
	return s, nil
}

func (s *Source) fromGGUF() error {
	arch, _ := s.GGUF.Metadata["general.architecture"].(string)
	if arch != "llama" {
		return fmt.Errorf("architecture %q: only llama is read from GGUF; use the model's Hugging Face folder", arch)
	}
	l, err := s.GGUF.llama()
	if err != nil {
		return err
	}
	if s.tensors, err = l.tensors(s.GGUF.tensors); err != nil {
		return err
	}
	if s.ConfigJSON, err = l.config(); err != nil {
		return err
	}
	s.ggufSides()
	return nil
}

// ggufSides fills the special tokens, the ids and the chat templates from the metadata.
func (s *Source) ggufSides() {
	meta := s.GGUF.Metadata
	tokens, _ := meta["tokenizer.ggml.tokens"].([]string)
	id := func(key string) int32 {
		v, ok := whole(meta["tokenizer.ggml."+key])
		if !ok || v < 0 || v >= int64(len(tokens)) {
			return -1
		}
		return int32(v)
	}
	text := func(id int32) string {
		if id < 0 {
			return ""
		}
		return tokens[id]
	}
	s.Generation = Generation{BOS: id("bos_token_id"), PAD: id("padding_token_id")}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if v := id(key); v >= 0 && !slices.Contains(s.Generation.EOS, v) {
			s.Generation.EOS = append(s.Generation.EOS, v)
		}
	}
	s.Special = SpecialTokens{
		BOS: text(s.Generation.BOS), EOS: text(id("eos_token_id")),
		UNK: text(id("unknown_token_id")), PAD: text(s.Generation.PAD),
	}
	const key = "tokenizer.chat_template"
	s.ChatTemplate, _ = meta[key].(string)
	for k, v := range meta {
		name, named := strings.CutPrefix(k, key+".")
		if t, ok := v.(string); ok && named {
			if s.ChatTemplates == nil {
				s.ChatTemplates = map[string]string{"default": s.ChatTemplate}
			}
			s.ChatTemplates[name] = t
		}
	}
}

// whole returns an integer metadata value of any width.
func whole(v any) (int64, bool) {
	switch x := v.(type) {
	case uint8:
		return int64(x), true
	case int8:
		return int64(x), true
	case uint16:
		return int64(x), true
	case int16:
		return int64(x), true
	case uint32:
		return int64(x), true
	case int32:
		return int64(x), true
	case uint64:
		return int64(x), x <= 1<<62
	case int64:
		return x, true
	}
	return 0, false
}

// llamaName maps a GGUF tensor name of the llama architecture to Hugging Face's.
func llamaName(name string) (string, bool) {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight", true
	case "output_norm.weight":
		return "model.norm.weight", true
	case "output.weight":
		return "lm_head.weight", true
	}
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return "", false
	}
	layer, part, ok := strings.Cut(rest, ".")
	if n, err := strconv.Atoi(layer); !ok || err != nil || n < 0 || strconv.Itoa(n) != layer {
		return "", false
	}
	module, kind, ok := strings.Cut(part, ".")
	if !ok || kind != "weight" && kind != "bias" {
		return "", false
	}
	hf, ok := map[string]string{
		"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
		"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
		"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
	}[module]
	return "model.layers." + layer + "." + hf + "." + kind, ok
}
