package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb/internal/golden"
	"plumb/internal/pgserver"
	"plumb/internal/pgurl"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"plumb": main})
}

// TestScripts drives the program itself: testdata/script/*.txtar, one a verb.
// A script that needs a model names it in its comment, "model: golden/models/llama"
// or "model: models/stories260k", and finds it as $MODEL; it is skipped where
// the model is absent. One with "database: NAME" in its comment finds the URL of an
// empty database as $DATABASE, the same without the password as $SHOWN and that as
// $PASSWORD, and is skipped where there is no server.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel() // some wait for clocks, terminals and servers while others compute
			model, database := neededModel(t, path), neededDatabase(t, path)
			testscript.Run(t, testscript.Params{
				Files:               []string{path},
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				UpdateScripts:       os.Getenv("PLUMB_UPDATE_SCRIPTS") == "1",
				Setup: func(e *testscript.Env) error {
					e.Setenv("MODEL", model)
					e.Setenv("DATABASE", database)
					if database != "" {
						at, err := pgurl.Parse(database)
						if err != nil {
							return err
						}
						e.Setenv("SHOWN", at.Shown)
						e.Setenv("PASSWORD", at.Password)
					}
					e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
					return nil
				},
			})
		})
	}
}

func neededDatabase(t *testing.T, script string) string {
	t.Helper()
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "# database: ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "\n")
	srv := pgserver.Shared(t)
	if err := srv.Create(name, ""); err != nil {
		t.Fatal(err)
	}
	return srv.URL(name)
}

func neededModel(t *testing.T, script string) string {
	t.Helper()
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		name, ok := strings.CutPrefix(line, "# model: ")
		if !ok {
			continue
		}
		if rest, ok := strings.CutPrefix(name, "golden/"); ok {
			return absolute(t, golden.Dir(t, rest))
		}
		return absolute(t, golden.Shared(t, name))
	}
	return ""
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
