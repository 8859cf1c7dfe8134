package checkpoint

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// folder makes a model folder in memory from its text files.
func folder(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{weightsFile: {Data: safetensorsFile(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4)}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestSides(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Source
	}{
		"bare": {nil, Source{Generation: Generation{BOS: -1, PAD: -1}}},
		"ids": {
			map[string]string{"config.json": `{"bos_token_id":1,"eos_token_id":2}`},
			Source{Generation: Generation{BOS: 1, EOS: []int32{2}, PAD: -1}},
		},
		"generation wins": {
			map[string]string{"config.json": `{"bos_token_id":1,"eos_token_id":2,"pad_token_id":null}`, "generation_config.json": `{"eos_token_id":[7,8],"pad_token_id":0}`},
			Source{Generation: Generation{BOS: 1, EOS: []int32{7, 8}, PAD: 0}},
		},
		"tokens": {
			map[string]string{
				"special_tokens_map.json": `{"bos_token":"<x>","eos_token":{"content":"<y>"},"pad_token":"<p>"}`,
				"tokenizer_config.json":   `{"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","unk_token":null}`,
			},
			Source{Special: SpecialTokens{BOS: "<s>", EOS: "</s>", PAD: "<p>"}, Generation: Generation{BOS: -1, PAD: -1}},
		},
		"template": {
			map[string]string{"tokenizer_config.json": `{"chat_template":"a"}`},
			Source{ChatTemplate: "a", Generation: Generation{BOS: -1, PAD: -1}},
		},
		"templates": {
			map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"a"},{"name":"tool_use","template":"b"}]}`},
			Source{ChatTemplate: "a", ChatTemplates: map[string]string{"default": "a", "tool_use": "b"}, Generation: Generation{BOS: -1, PAD: -1}},
		},
		"jinja wins": {
			map[string]string{"tokenizer_config.json": `{"chat_template":"a"}`, "chat_template.jinja": "b\n"},
			Source{ChatTemplate: "b\n", Generation: Generation{BOS: -1, PAD: -1}},
		},
	} {
		s, err := OpenFS(folder(c.files), name)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Special != c.want.Special || s.ChatTemplate != c.want.ChatTemplate || !maps.Equal(s.ChatTemplates, c.want.ChatTemplates) ||
			s.Generation.BOS != c.want.Generation.BOS || s.Generation.PAD != c.want.Generation.PAD || !slices.Equal(s.Generation.EOS, c.want.Generation.EOS) {
			t.Errorf("%s: special %+v, templates %q %q, generation %+v", name, s.Special, s.ChatTemplate, s.ChatTemplates, s.Generation)
		}
	}
}

func TestBadSides(t *testing.T) {
	for file, cases := range map[string]map[string]string{
		"config.json":             {`{`: "unexpected end", `{"eos_token_id":"x"}`: "eos_token_id", `{"eos_token_id":-1}`: "-1 is not a token id", `{"bos_token_id":1.5}`: "bos_token_id"},
		"generation_config.json":  {`[]`: "array", `{"eos_token_id":[1,"x"]}`: "eos_token_id", `{"pad_token_id":99999999999}`: "pad_token_id"},
		"tokenizer_config.json":   {`{"chat_template":7}`: "chat_template", `{"eos_token":7}`: "number", `{"chat_template":[{"name":"a","template":""},{"name":"a","template":""}]}`: "twice"},
		"special_tokens_map.json": {`{"bos_token":["x"]}`: "array"},
	} {
		for text, want := range cases {
			_, err := OpenFS(folder(map[string]string{file: text}), "model")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "model/"+file) {
				t.Errorf("%s %s: error %v, want model/%s and %q", file, text, err, file, want)
			}
		}
	}
}
