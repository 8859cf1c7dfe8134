package main

import (
	"strings"
	"testing"

	"plumb/internal/chat"
	"plumb/internal/dataset"
)

// A record is shown on one line: line ends as \n, texts at any depth cut behind 60 characters, the whole behind 240.
func TestBrief(t *testing.T) {
	sixty := strings.Repeat("ä", 60)
	for text, want := range map[string]string{
		`{"prompt":"one\ntwo","n":1.50,"ok":true,"none":null}`:                  `{"prompt": "one\ntwo", "n": 1.5, "ok": true, "none": null}`,
		`{"text":"` + sixty + `"}`:                                              `{"text": "` + sixty + `"}`,
		`{"text":"` + sixty + `b","label":1}`:                                   `{"text": "` + sixty + `…", "label": 1}`,
		`{"messages":[{"role":"user","content":"` + sixty + `\nb"}],"score":2}`: `{"messages": [{"role": "user", "content": "` + sixty + `…"}], "score": 2}`,
		`{"ids":[` + strings.Repeat("1,", 200) + `1]}`:                          `{"ids": [` + strings.Repeat("1, ", 77) + ` … (372 characters more)`,
	} {
		v, err := chat.DecodeJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := brief(dataset.Row{Fields: v.(chat.Object)}); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", text, got, want)
		}
	}
}
