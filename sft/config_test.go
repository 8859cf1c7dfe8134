package sft

import (
	"strings"
	"testing"
)

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for want, set := range map[string]func(*Config){
		"":                                   func(*Config) {},
		"data: name":                         func(c *Config) { c.Data = nil },
		"data: 1 of 2 sources have a weight": func(c *Config) { c.Data = []Source{{Path: "a.jsonl", Weight: 1}, {Path: "b.jsonl"}} },
		"overlong:":                          func(c *Config) { c.Overlong = "cut" },
		"max_length:":                        func(c *Config) { c.MaxLength = 1 },
		"peft.r:":                            func(c *Config) { c.Peft.R = 0 },
		"peft.alpha:":                        func(c *Config) { c.Peft.Alpha = 0 },
		"epochs:":                            func(c *Config) { c.Epochs = 0 },
		"patience:":                          func(c *Config) { c.Patience, c.Eval = 1, 0 },
	} {
		c := Default()
		c.Data = []Source{{Path: "demos.jsonl"}}
		set(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
