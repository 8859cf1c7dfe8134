// Package chat renders chat templates: conversations in, the exact text a model was trained on out.
//
// Templates are Jinja programs that come with a model (tokenizer_config.json, chat_template.jinja, GGUF metadata).
// The package holds its own interpreter for the part of Jinja they use, with the semantics of Jinja2 3.1 in
// transformers' setting: an immutable sandbox, trim_blocks and lstrip_blocks on, loop controls, {% generation %}
// blocks, raise_exception, strftime_now and a tojson that equals json.dumps(ensure_ascii=False). Python's values
// are kept apart (int and float, str and tuple, None and undefined), because templates test and print them.
//
// A template is untrusted input: output size, number of steps and depth are bounded, see limits.go.
package chat
