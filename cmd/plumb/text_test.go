package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// What the embedded base's template writes: <|user|>QUESTION<|end|><|assistant|>ANSWER<|end|>, in ids of its tokenizer.json.
const (
	userID      = 1
	assistantID = 2
	endID       = 3
)

const (
	question = "Tell a tale about Vera the deer."
	answer   = "Vera was a deer. She had a bell."
	again    = "And then?"
	last     = "She danced with joy."
)

// idsOf are a plain text's ids by themselves.
func idsOf(t *testing.T, model, text string) []int32 {
	t.Helper()
	got := do(t, []any{map[string]string{"text": text}}, "tokenize", model, "--no-special")
	ids := field[[]int32](t, got[0], "ids")
	if len(ids) < 2 {
		t.Fatalf("%q has the ids %v", text, ids)
	}
	return ids
}

// said makes a conversation, the user first.
func said(texts ...string) map[string]any {
	var list []message
	for i, text := range texts {
		list = append(list, message{[]string{"user", "assistant"}[i%2], text})
	}
	return map[string]any{"messages": list}
}

// tale are the ids of a conversation by hand: each text's own, in the template's tokens.
func tale(t *testing.T, texts ...string) []int32 {
	t.Helper()
	var ids []int32
	for i, text := range texts {
		ids = slices.Concat(ids, []int32{[]int32{userID, assistantID}[i%2]}, idsOf(t, "embedded:tales", text), []int32{endID})
	}
	return ids
}

// Conversations, and texts with --chat, are rendered by the model's template, without the beginning of an answer unless that is asked
// for; in tokenize and in score alike.
func TestChatIDs(t *testing.T) {
	asked := tale(t, question)
	begun := append(slices.Clone(asked), assistantID)
	text := map[string]any{"text": question}
	for _, c := range []struct {
		name string
		in   map[string]any
		args []string
		want []int32
	}{
		{"a text", text, nil, idsOf(t, "embedded:tales", question)}, // the tokenizer has no special tokens to add
		{"a text in a template", text, []string{"--chat"}, asked},
		{"the same, begun", text, []string{"--chat", "--generation-prompt"}, begun},
		{"messages", said(question), nil, asked},
		{"messages, begun", said(question), []string{"--generation-prompt"}, begun},
		{"messages with --chat", said(question, answer), []string{"--chat"}, tale(t, question, answer)},
		{"two turns each", said(question, answer, again, last), nil, tale(t, question, answer, again, last)},
	} {
		for _, verb := range []string{"tokenize", "score"} {
			got := do(t, []any{c.in}, append([]string{verb, "embedded:tales"}, c.args...)...)
			if ids := field[[]int32](t, got[0], "ids"); !slices.Equal(ids, c.want) {
				t.Errorf("%s: %s gives %v, want %v", verb, c.name, ids, c.want)
			}
		}
	}
	pair := map[string]any{"prompt": question, "completion": answer}
	if got := do(t, []any{pair}, "score", "embedded:tales", "--chat"); !slices.Equal(field[[]int32](t, got[0], "ids"), tale(t, question, answer)) {
		t.Errorf("prompt and completion with --chat give %s", got[0]["ids"])
	}
}

// The field sum is over the answer alone: as many log-probabilities, of those that stand beside it, as the answer has ids when it is
// encoded apart; in a conversation those of the last answer and of the token that ends it. With no answer it is over all.
func TestSumIsOverTheAnswer(t *testing.T) {
	n := func(text string) int { return len(idsOf(t, "embedded:tales", text)) }
	pair := map[string]any{"prompt": question, "completion": " " + answer}
	for _, c := range []struct {
		name          string
		in            map[string]any
		args          []string
		count, behind int // ids that count, and those behind them
	}{
		{"a text", map[string]any{"text": question}, nil, n(question) - 1, 0},
		{"a prompt and a completion", pair, nil, n(" " + answer), 0},
		{"a completion in a template", map[string]any{"prompt": question, "completion": answer}, []string{"--chat"}, n(answer) + 1, 0},
		{"messages", said(question, answer), nil, n(answer) + 1, 0},
		{"messages, two answers", said(question, answer, again, last), nil, n(last) + 1, 0},
		{"messages, a question at the end", said(question, answer, again), nil, n(answer) + 1, n(again) + 2},
		{"messages, begun", said(question, answer, again), []string{"--generation-prompt"}, n(answer) + 1, n(again) + 3},
		{"messages without an answer", said(question), nil, n(question) + 1, 0},
	} {
		got := do(t, []any{c.in}, append([]string{"score", "embedded:tales"}, c.args...)...)[0]
		logps := field[[]float32](t, got, "logprobs")
		if ids := field[[]int32](t, got, "ids"); len(ids) != len(logps)+1 || c.count+c.behind > len(logps) {
			t.Fatalf("%s: %d ids, %d log-probabilities, %d to be summed", c.name, len(ids), len(logps), c.count)
		}
		sum := 0.0
		for _, x := range logps[len(logps)-c.behind-c.count : len(logps)-c.behind] {
			sum += float64(x)
		}
		near(t, c.name, []float64{field[float64](t, got, "sum")}, []float64{sum}, 1e-9)
	}
	// A tokenizer that puts a token before every text, here id 1.
	model := golden.Shared(t, "models/stories260k")
	got := do(t, []any{map[string]any{"prompt": "Once upon a time", "completion": " there was a cat."}}, "score", model)[0]
	whole := append([]int32{1}, idsOf(t, model, "Once upon a time there was a cat.")...)
	logps, sum := field[[]float32](t, got, "logprobs"), 0.0
	for _, x := range logps[4:] { // of five ids the prompt is, of which the first has none: testdata/script/tokenize.txtar
		sum += float64(x)
	}
	if ids := field[[]int32](t, got, "ids"); !slices.Equal(ids, whole) {
		t.Errorf("ids %v, want %v", ids, whole)
	}
	near(t, "a completion", []float64{field[float64](t, got, "sum")}, []float64{sum}, 1e-9)
}

// A conversation is completed from the template's beginning of an answer, one that ends with an answer from there; a prompt is a
// question with --chat.
func TestGenerateFromConversations(t *testing.T) {
	const model = "embedded:tales"
	greedy := []string{"generate", model, "--greedy", "--max-new", "12"}
	begun := append(tale(t, question), assistantID)
	open := slices.Concat(begun, idsOf(t, model, answer))
	for _, c := range []struct {
		name string
		in   map[string]any
		args []string
		ids  []int32
	}{
		{"a question", said(question), nil, begun},
		{"a prompt", map[string]any{"prompt": question}, []string{"--chat"}, begun},
		{"an answer that goes on", said(question, answer), nil, open},
		{"a second question", said(question, answer, again), nil, append(tale(t, question, answer, again), assistantID)},
	} {
		got := do(t, []any{c.in}, append(slices.Clone(greedy), c.args...)...)[0]
		want := do(t, []any{map[string]any{"ids": c.ids}}, greedy...)[0]
		for _, key := range []string{"completion_ids", "logprobs", "stop"} {
			if string(got[key]) != string(want[key]) {
				t.Errorf("%s: %s %s, from ids by hand %s", c.name, key, got[key], want[key])
			}
		}
	}
}

// The conversation of plumb chat is the template's: each answer is what generate gives for the ids of all that was said before.
func TestChatWithATemplate(t *testing.T) {
	const model = "embedded:tales"
	ask := func(texts ...string) string {
		t.Helper()
		ids := append(tale(t, texts...), assistantID)
		got := do(t, []any{map[string]any{"ids": ids}}, "generate", model, "--greedy", "--max-new", "12")
		return field[string](t, got[0], "completion")
	}
	first := ask(question)
	second := ask(question, first, again)
	if first == "" || second == "" || first == second {
		t.Fatalf("answers %q and %q", first, second)
	}
	talk := strings.Join([]string{question, again, "/undo", again, "/reset", again, "/quit"}, "\n")
	var out, errOut bytes.Buffer
	if code := plumb(context.Background(), []string{"chat", model, "--greedy", "--max-new", "12", "-q"}, strings.NewReader(talk), &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	want := strings.Join([]string{first, second, second, ask(again), ""}, "\n")
	if out.String() != want {
		t.Errorf("said\n%swant\n%s", out.String(), want)
	}
	// What the template refuses is said in its words.
	errOut.Reset()
	code := plumb(context.Background(), []string{"chat", model, "--system", "Be brief.", "-q"}, strings.NewReader(talk), &out, &errOut)
	if code != exitFailure || !strings.Contains(errOut.String(), "there is no role system") {
		t.Errorf("a system message: exit %d: %s", code, errOut.String())
	}
}
