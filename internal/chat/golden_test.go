package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"plumb/internal/golden"
)

type goldenContext struct {
	Messages            json.RawMessage `json:"messages"`
	AddGenerationPrompt bool            `json:"add_generation_prompt"`
	ContinueFinal       bool            `json:"continue_final_message"`
	Tools               json.RawMessage `json:"tools"`
	Documents           json.RawMessage `json:"documents"`
	Kwargs              json.RawMessage `json:"kwargs"`
}

type goldenFile struct {
	Now       string                   `json:"now"`
	Special   map[string]string        `json:"special_tokens"`
	Contexts  map[string]goldenContext `json:"contexts"`
	Templates []struct {
		Template string `json:"template"`
		Source   string `json:"source"`
		Results  map[string]struct {
			Text    string          `json:"text"`
			Error   string          `json:"error"`
			Message string          `json:"message"`
			Spans   []int           `json:"-"`
			RawSpan json.RawMessage `json:"assistant_spans_code_points"`
		} `json:"results"`
	} `json:"templates"`
}

func decode(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	if len(raw) == 0 {
		return nil
	}
	v, err := DecodeJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// input is the context as transformers' apply_chat_template was given it.
func (c goldenContext) input(t *testing.T, f *goldenFile) Input {
	t.Helper()
	in := Input{AddGenerationPrompt: c.AddGenerationPrompt, ContinueFinal: c.ContinueFinal}
	in.BOS, in.EOS = f.Special["bos_token"], f.Special["eos_token"]
	for _, v := range decode(t, c.Messages).([]any) {
		m, err := NewMessage(v.(Object))
		if err != nil {
			t.Fatal(err)
		}
		in.Messages = append(in.Messages, m)
	}
	in.Tools, _ = decode(t, c.Tools).([]any)
	in.Extra = Object{{"unk_token", f.Special["unk_token"]}, {"pad_token", f.Special["pad_token"]}}
	if d := decode(t, c.Documents); d != nil {
		in.Extra = append(in.Extra, Field{"documents", d})
	}
	in.Extra = append(in.Extra, decode(t, c.Kwargs).(Object)...)
	now, err := time.Parse("2006-01-02T15:04:05", f.Now)
	if err != nil {
		t.Fatal(err)
	}
	in.Now = now
	return in
}

// TestTemplatesLikeTransformers renders 58 templates in 54 contexts: the text and the marked spans are
// transformers', and what is an error there (2672 texts, 460 errors) is an error here.
func TestTemplatesLikeTransformers(t *testing.T) {
	dir := golden.Dir(t, "chat")
	var f goldenFile
	golden.JSON(t, filepath.Join(dir, "llamacpp.json.gz"), &f)
	texts, faults := 0, 0
	for _, tm := range f.Templates {
		source := tm.Source
		if source == "" {
			data, err := os.ReadFile(filepath.Join(golden.Shared(t, "chat-templates/llamacpp"), tm.Template))
			if err != nil {
				t.Fatal(err)
			}
			source = string(data)
		}
		tmpl, err := Parse(source)
		if err != nil {
			t.Errorf("%s: %v", tm.Template, err)
			continue
		}
		for name, want := range tm.Results {
			out, err := tmpl.Render(f.Contexts[name].input(t, &f))
			if want.Error != "" {
				faults++
				var fault *Error
				if err == nil {
					t.Errorf("%s, %s: no error, want %s (%s)\n%q", tm.Template, name, want.Error, want.Message, out.Text)
				} else if !errors.As(err, &fault) || (fault.Kind == Raised) != (want.Error == "TemplateError") {
					t.Errorf("%s, %s: %v, want %s (%s)", tm.Template, name, err, want.Error, want.Message)
				} else if fault.Kind == Raised && fault.Message != want.Message {
					t.Errorf("%s, %s: message %q, want %q", tm.Template, name, fault.Message, want.Message)
				}
				continue
			}
			texts++
			if err != nil {
				t.Errorf("%s, %s: %v", tm.Template, name, err)
				continue
			}
			if out.Text != want.Text {
				t.Errorf("%s, %s:\n got %q\nwant %q", tm.Template, name, out.Text, want.Text)
			}
			if len(want.RawSpan) > 0 {
				var spans [][2]int
				if err := json.Unmarshal(want.RawSpan, &spans); err != nil {
					t.Fatal(err)
				}
				var got [][2]int
				for _, s := range out.Generated {
					got = append(got, [2]int{utf8.RuneCountInString(out.Text[:s.Start]), utf8.RuneCountInString(out.Text[:s.End])})
				}
				if len(got)+len(spans) > 0 && !reflect.DeepEqual(got, spans) {
					t.Errorf("%s, %s: spans %v, want %v", tm.Template, name, got, spans)
				}
			}
		}
	}
	t.Logf("%d texts, %d errors", texts, faults)
}
