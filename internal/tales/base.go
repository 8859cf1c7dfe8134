package tales

import (
	"embed"
	"io/fs"
)

// The special tokens of the tales' tokenizer, and the chat template that uses them.
const (
	EndOfText      = "<|endoftext|>"
	UserToken      = "<|user|>"
	AssistantToken = "<|assistant|>"
	EndToken       = "<|end|>"

	ChatTemplate = `{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{{ '<|user|>' + message['content'] + '<|end|>' }}
{%- elif message['role'] == 'assistant' -%}{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}
{%- else -%}{{ raise_exception('tales are told between user and assistant, there is no role ' + message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}`

	// VocabSize of the tokenizer, and the shape of the base model: 1.2 million parameters, tied.
	VocabSize = 640
	Config    = `{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_act": "silu",
  "hidden_size": 128,
  "intermediate_size": 352,
  "num_hidden_layers": 6,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 32,
  "vocab_size": 640,
  "max_position_embeddings": 512,
  "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0,
  "attention_bias": false,
  "mlp_bias": false,
  "tie_word_embeddings": true,
  "initializer_range": 0.05,
  "bos_token_id": null,
  "eos_token_id": [0, 3],
  "torch_dtype": "bfloat16"
}
`
	TokenizerConfig = `{
  "bos_token": null,
  "eos_token": "<|end|>",
  "clean_up_tokenization_spaces": false,
  "tokenizer_class": "PreTrainedTokenizerFast"
}
`
)

// Special lists the special tokens by id.
func Special() []string { return []string{EndOfText, UserToken, AssistantToken, EndToken} }

//go:embed all:base
var base embed.FS

// Base is the model folder: config.json, model.safetensors in bfloat16, tokenizer and chat template.
func Base() fs.FS {
	sub, err := fs.Sub(base, "base")
	if err != nil {
		panic("tales: Base: " + err.Error())
	}
	return sub
}
