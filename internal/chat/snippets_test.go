package chat

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// snippets are small templates with what Jinja2 makes of them, see testdata/make_snippets.py.
func snippets(tb testing.TB) (variables Object, cases [][]*string) {
	tb.Helper()
	data, err := os.ReadFile("testdata/snippets.json")
	if err != nil {
		tb.Fatal(err)
	}
	var f struct {
		Variables json.RawMessage `json:"variables"`
		Cases     [][]*string     `json:"cases"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		tb.Fatal(err)
	}
	v, err := DecodeJSON(f.Variables)
	if err != nil {
		tb.Fatal(err)
	}
	return v.(Object), f.Cases
}

func render(source string, variables Object) (string, error) {
	tmpl, err := Parse(source)
	if err != nil {
		return "", err
	}
	out, err := tmpl.Render(Input{Extra: variables, Now: time.Date(2026, 7, 4, 15, 6, 7, 0, time.UTC)})
	return out.Text, err
}

func TestSnippetsLikeJinja(t *testing.T) {
	variables, cases := snippets(t)
	for _, c := range cases {
		got, err := render(*c[0], variables)
		switch {
		case c[1] == nil && err == nil:
			t.Errorf("%q: no error, want %s; got %q", *c[0], *c[2], got)
		case c[1] != nil && err != nil:
			t.Errorf("%q: %v, want %q", *c[0], err, *c[1])
		case c[1] != nil && got != *c[1]:
			t.Errorf("%q:\n got %q\nwant %q", *c[0], got, *c[1])
		}
	}
}

func TestHostileTemplatesAreRefused(t *testing.T) {
	deep := func(open, closing string, n int) string {
		return strings.Repeat(open, n) + "1" + strings.Repeat(closing, n)
	}
	for name, source := range map[string]string{
		"endless recursion":     "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"nested loops":          strings.Repeat("{% for x in range(99999) %}", 5) + strings.Repeat("{% endfor %}", 5),
		"long text":             "{{ 'a' * 10 ** 12 }}",
		"long list":             "{{ [0] * 10 ** 12 }}",
		"doubling text":         "{% set n = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
		"doubling by reference": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
		"doubling compared":     "{% set n = namespace(s=[1], u=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.u = [n.u, n.u] %}{% endfor %}{{ n.s == n.u }}",
		"doubling as json":      "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
		"deep value":            "{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
		"namespace in itself":   "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
		"replace":               "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
		"join":                  "{{ ('a' * 1000000) | join('b' * 1000000) }}",
		"indent":                "{{ ('\\n' * 1000000) | indent('b' * 1000000) }}",
		"center":                "{{ 'a'.center(10 ** 10) }}",
		"format":                "{{ '%9999999999d' % 1 }}",
		"format braces":         "{{ '{:>9999999999}'.format(1) }}",
		"round":                 "{{ 1.5 | round(10 ** 9) }}",
		"json indent":           "{{ [1] | tojson(indent=10 ** 10) }}",
		"output":                "{% for x in range(9999) %}{{ 'a' * 9999 }}{% endfor %}",
		"range":                 "{{ range(10 ** 9) }}",
		"power":                 "{{ 10 ** 10 ** 10 }}",
		"deep parentheses":      "{{ " + deep("(", ")", 100000) + " }}",
		"deep lists":            "{{ " + deep("[", "]", 100000) + " }}",
		"deep not":              "{{ " + strings.Repeat("not ", 100000) + "1 }}",
		"deep minus":            "{{ " + strings.Repeat("-", 100000) + "1 }}",
		"deep blocks":           strings.Repeat("{% if 1 %}", 100000),
		"deep conditions":       "{{ " + strings.Repeat("1 if 1 else ", 100000) + "1 }}",
		"deep targets":          "{% set " + deep("(", ")", 100000) + " = 1 %}",
		"size":                  strings.Repeat("a", maxSource+1),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := render(source, nil)
			var fault *Error
			if !errors.As(err, &fault) || fault.Kind != Limit {
				t.Errorf("got %v, want a limit to be exceeded", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("refused only after %v", d)
			}
		})
	}
}

func TestLongConversationsAreNotRefused(t *testing.T) {
	tmpl, err := Parse("{% for m in messages %}{% set c = m.content.split('</t>')[-1] | trim %}" +
		"{{ '<' + m.role + '>' + c + '\n' }}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	var in Input
	var want strings.Builder
	for range 200 {
		content := strings.Repeat("word ", 40_000)
		in.Messages = append(in.Messages, Message{Role: "user", Content: content})
		want.WriteString("<user>" + strings.TrimSpace(content) + "\n")
	}
	out, err := tmpl.Render(in)
	if err != nil || out.Text != want.String() {
		t.Errorf("40 MB of messages: %d bytes, %v", len(out.Text), err)
	}
}

func TestGenerationBlockWithoutAPlaceIsRefused(t *testing.T) {
	for _, source := range []string{
		"{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ m() }}",
		"{% set x %}{% generation %}a{% endgeneration %}{% endset %}",
		"{% generation %}{% generation %}a{% endgeneration %}{% endgeneration %}",
	} {
		if _, err := render(source, nil); err == nil {
			t.Errorf("%q: no error", source)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for source, want := range map[string]string{
		"a\n\n{{ x.y }}":                      "chat template line 3: undefined value: 'x' is undefined",
		"a\n{% if %}":                         "chat template line 2: syntax error: an expression expected, found '%}'",
		"{#\n#}\n{{ raise_exception('q') }}":  "chat template line 3: raised by the template: q",
		"\n{% for x in [] %}":                 "chat template line 2: syntax error: {% else %} expected, found the end of the template",
		"{{ strftime_now('%Y') ~ 1 + none }}": "chat template line 1: type error: unsupported operand types for +: 'str' and 'NoneType'",
		"{{ [].append(1) }}":                  "chat template line 1: forbidden in templates: access to attribute 'append' of 'list' object is unsafe",
	} {
		if _, err := render(source, nil); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", source, err, want)
		}
	}
}

func TestMessagesFromJSON(t *testing.T) {
	tmpl, err := Parse("{% for m in messages %}{{ m | tojson }}\n{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	var in Input
	for _, source := range []string{
		`{"role":"user","content":"a"}`,
		`{"content":"a","role":"user"}`,
		`{"role":"assistant","content":null,"tool_calls":[{"n":1.0}]}`,
		`{"role":"user","content":[{"type":"text","text":"p"},{"type":"image"},{"type":"text","text":"q"}]}`,
		`{"role":"assistant","content":"c","reasoning_content":"r"}`,
	} {
		v, err := DecodeJSON([]byte(source))
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMessage(v.(Object))
		if err != nil {
			t.Fatal(err)
		}
		in.Messages = append(in.Messages, m)
	}
	if got := in.Messages[3].Content; got != "pq" {
		t.Errorf("text of parts %q, want pq", got)
	}
	in.Messages = append(in.Messages, Message{Role: "user", Content: "b", Fields: Object{{"name", "x"}}})
	out, err := tmpl.Render(in)
	want := `{"role": "user", "content": "a"}
{"content": "a", "role": "user"}
{"role": "assistant", "tool_calls": [{"n": 1.0}]}
{"role": "user", "content": [{"type": "text", "text": "p"}, {"type": "image"}, {"type": "text", "text": "q"}]}
{"role": "assistant", "content": "c", "reasoning_content": "r", "thinking": "r"}
{"role": "user", "content": "b", "name": "x"}
`
	if err != nil || out.Text != want {
		t.Errorf("got %s %v\nwant %s", out.Text, err, want)
	}
	for _, bad := range []string{`{"content":"a"}`, `{"role":1}`} {
		v, _ := DecodeJSON([]byte(bad))
		if _, err := NewMessage(v.(Object)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	for _, bad := range []string{``, `{`, `[1,]`, `1 2`, `{"a" 1}`, strings.Repeat("[", 999), `1e999`} {
		if v, err := DecodeJSON([]byte(bad)); err == nil {
			t.Errorf("%q: decoded as %v", bad, v)
		}
	}
}

// FuzzRender looks for panics, and for templates that get past the bounds on work and memory.
func FuzzRender(f *testing.F) {
	variables, cases := snippets(f)
	for _, c := range cases {
		f.Add(*c[0])
	}
	f.Fuzz(func(t *testing.T, source string) {
		out, err := render(source, variables)
		var fault *Error
		if err != nil && !errors.As(err, &fault) {
			t.Errorf("error of type %T: %v", err, err)
		}
		if len(out) > 2*maxOutput {
			t.Errorf("%d bytes", len(out))
		}
	})
}
