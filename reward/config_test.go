package reward

import (
	"strings"
	"testing"

	"plumb/internal/dataset"
)

func TestConfigNamesWhatIsWrongWithASource(t *testing.T) {
	for want, d := range map[string]Source{
		"":                         {Path: "labels.db"},
		"label store":              {Path: "labels.db", Reading: dataset.Reading{Part: "1/2"}},
		`reviews.jsonl: part: "2"`: {Path: "reviews.jsonl", Reading: dataset.Reading{Part: "2"}},
		"want at least 0":          {Path: "reviews.jsonl", Pairs: -1},
	} {
		c := Default()
		c.Data = []Source{d}
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", d, err, want)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	c := Default()
	c.Data = []Source{{Path: "labels.db"}}
	c.Peft.Alpha = 0
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "peft.alpha:") {
		t.Errorf("%v", err)
	}
}
