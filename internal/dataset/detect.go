package dataset

import (
	"fmt"
	"slices"
	"strings"

	"plumb/internal/chat"
)

// Kind says what the records of a file are.
type Kind string

// The kinds of records.
const (
	Demonstrations Kind = "demonstrations"
	Comparisons    Kind = "comparisons"
	Judgements     Kind = "judgements"
	LabelledTexts  Kind = "labelled texts"
	Prompts        Kind = "prompts"
	Texts          Kind = "texts"
)

// Format names a way to write records down.
type Format string

// The formats that are read, with the fields of a record; those in brackets may be missing.
const (
	FormatMessages   Format = "messages"          // messages[, tools]: a conversation in OpenAI's form
	FormatShareGPT   Format = "sharegpt"          // conversations (from, value)[, system, tools]
	FormatAlpaca     Format = "alpaca"            // instruction, output or response[, input, system, history]
	FormatCompletion Format = "prompt-completion" // prompt, completion: texts or messages
	FormatText       Format = "text"              // text
	FormatPrompt     Format = "prompt"            // prompt: a text or messages

	FormatPreference   Format = "preference"          // chosen, rejected[, prompt, margin, score_chosen, score_rejected]: TRL, UltraFeedback
	FormatHH           Format = "hh-rlhf"             // chosen, rejected: "\n\nHuman: … \n\nAssistant: …"
	FormatAlpacaPair   Format = "alpaca-preference"   // instruction, chosen, rejected[, input, system, history]: LLaMA-Factory
	FormatShareGPTPair Format = "sharegpt-preference" // conversations, chosen, rejected[, system]: LLaMA-Factory
	FormatSummarize    Format = "openai-summarize"    // info, summaries, choice
	FormatSHP          Format = "shp"                 // history, human_ref_A, human_ref_B, labels[, score_A, score_B]
	FormatNectar       Format = "nectar"              // prompt, answers (answer, rank)
	FormatKTO          Format = "kto"                 // prompt, completion, label; or messages, label
	FormatLabelled     Format = "labelled"            // text or sentence or review, label or rating or score or sentiment
)

// format is how records of a Format are recognised and read.
type format struct {
	name    Format
	kind    Kind
	needs   []string // fields that must be there, to be recognised; "a|b": one of them
	also    func(r fields) bool
	convert func(r fields) (any, error)
}

// formats in the order in which they are tried: the more particular first.
func formats() []format {
	return []format{
		{FormatSummarize, Comparisons, []string{"info", "summaries", "choice"}, nil, readSummarize},
		{FormatSHP, Comparisons, []string{"history", "human_ref_A", "human_ref_B", "labels"}, nil, readSHP},
		{FormatNectar, Comparisons, []string{"prompt", "answers"}, hasList("answers"), readNectar},
		{FormatShareGPTPair, Comparisons, []string{"conversations", "chosen", "rejected"}, nil, readShareGPTPair},
		{FormatAlpacaPair, Comparisons, []string{"instruction", "chosen", "rejected"}, nil, readAlpacaPair},
		{FormatHH, Comparisons, []string{"chosen", "rejected"}, looksLikeHH, readHH},
		{FormatPreference, Comparisons, []string{"chosen", "rejected"}, nil, readPreference},
		{FormatKTO, Judgements, []string{"prompt", "completion", "label"}, hasBool("label"), readKTO},
		{FormatKTO, Judgements, []string{"messages", "label"}, hasBool("label"), readKTO},
		{FormatMessages, Prompts, []string{"messages"}, asksOnly("messages"), readMessages},
		{FormatMessages, Demonstrations, []string{"messages"}, hasList("messages"), readMessages},
		{FormatShareGPT, Demonstrations, []string{"conversations"}, hasList("conversations"), readShareGPT},
		{FormatAlpaca, Demonstrations, []string{"instruction", "output|response"}, nil, readAlpaca},
		{FormatCompletion, Demonstrations, []string{"prompt|question|query", "completion|response|answer"}, nil, readCompletion},
		{FormatPrompt, Prompts, []string{"prompt"}, nil, readPrompt},
		{FormatLabelled, LabelledTexts, []string{textFields, labelFields}, hasLabel, readLabelled},
		{FormatText, Texts, []string{"text|content"}, nil, readText},
	}
}

// Fields of labelled texts, in order of preference.
const (
	textFields  = "text|sentence|review|content"
	labelFields = "label|labels|rating|score|sentiment|stars"
)

// knownFields are names that mark the first line of a table as names of columns.
var knownFields = func() []string {
	var all []string
	for _, f := range formats() {
		for _, n := range f.needs {
			for _, name := range strings.Split(n, "|") {
				all = append(all, strings.ToLower(name))
			}
		}
	}
	return append(all, "input", "output", "summary", "dialogue", "id", "title", "margin")
}()

// fields are a row's, under the names the formats use.
type fields struct {
	Row
	columns map[string]string // name here -> name in the file
}

// get returns the value of a field; missing and null are the same.
func (r fields) get(name string) (any, bool) {
	for _, n := range strings.Split(name, "|") {
		if other, ok := r.columns[n]; ok {
			n = other
		} else if r.taken(n) {
			continue // the caller gave that column to another field
		}
		if v, ok := r.Fields.Get(n); ok && v != nil {
			return v, true
		}
	}
	return nil, false
}

func (r fields) taken(name string) bool {
	for _, other := range r.columns {
		if other == name {
			return true
		}
	}
	return false
}

func hasList(name string) func(fields) bool {
	return func(r fields) bool {
		v, _ := r.get(name)
		_, ok := v.([]any)
		return ok
	}
}

func hasBool(name string) func(fields) bool {
	return func(r fields) bool {
		v, _ := r.get(name)
		_, ok := truth(v)
		return ok
	}
}

// asksOnly tells conversations that end with the user's turn.
func asksOnly(name string) func(fields) bool {
	return func(r fields) bool {
		v, _ := r.get(name)
		list, _ := v.([]any)
		if len(list) == 0 {
			return false
		}
		last, _ := list[len(list)-1].(chat.Object)
		role, _ := last.Get("role")
		return role == "user"
	}
}

func hasLabel(r fields) bool {
	_, text := r.get(textFields)
	v, _ := r.get(labelFields)
	_, ok := labelValue(v)
	return text && ok
}

// detect finds the format of a row.
func detect(r fields) (format, error) {
	for _, f := range formats() {
		fits := true
		for _, name := range f.needs {
			if _, ok := r.get(name); !ok {
				fits = false
				break
			}
		}
		if fits && (f.also == nil || f.also(r)) {
			return f, nil
		}
	}
	names := make([]string, len(r.Fields))
	for i, f := range r.Fields {
		names[i] = f.Key
	}
	return format{}, fmt.Errorf("the record is of no known format: its fields are %s; `columns` can say which is the prompt, the completion, the text …",
		strings.Join(names, ", "))
}

// named returns a format by the name the caller gave.
func named(name Format, r fields) (format, error) {
	var found []format
	for _, f := range formats() {
		if f.name == name {
			found = append(found, f)
		}
	}
	if found == nil {
		var names []string
		for _, f := range formats() {
			if !slices.Contains(names, string(f.name)) {
				names = append(names, string(f.name))
			}
		}
		return format{}, fmt.Errorf("format %q is unknown; the formats are %s", name, strings.Join(names, ", "))
	}
	for _, f := range found[:len(found)-1] {
		if f.also == nil || f.also(r) {
			return f, nil
		}
	}
	return found[len(found)-1], nil
}
