package main

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"plumb/internal/config"
)

var update = flag.Bool("update", false, "write configdoc.json anew")

// TestDocsAreCurrent keeps what "plumb config explain" says equal to the
// comments in the source. To write the file anew: go generate ./cmd/plumb.
func TestDocsAreCurrent(t *testing.T) {
	parsed, err := config.ParseDocs("../..", "plumb", recipeDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("configdoc.json", parsed.JSON(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(parsed.JSON(), configDocs) {
		t.Error("configdoc.json is not what the comments say; run: go generate ./cmd/plumb")
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	parsed, err := config.ParseDocs("../..", "plumb", recipeDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range config.Entries(recipeDefaults(), parsed) {
		if e.Doc == "" {
			t.Errorf("%s has neither a comment nor a doc tag", e.Key)
		}
	}
}
