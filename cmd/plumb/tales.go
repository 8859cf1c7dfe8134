package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/internal/tokenizer"
)

// talesCmd writes what the embedded base is pretrained from: a folder without weights. It is what make tales begins with.
func (a *app) talesCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "tales DIR",
		Short:  "Write the folder that the embedded base is pretrained from",
		Hidden: true,
		Args:   args("one DIR", 1, 1),
		RunE:   func(_ *cobra.Command, args []string) error { return writeTalesFolder(args[0]) },
	}
}

// writeTalesFolder trains the tokenizer on the corpus and writes it with config and chat template.
func writeTalesFolder(dir string) error {
	t, err := tokenizer.TrainBPE(slices.Values(tales.Corpus(4096, talesSeed)), tales.VocabSize, tales.Special())
	if err != nil {
		return err
	}
	if t.Size() != tales.VocabSize {
		return fmt.Errorf("the corpus gives a vocabulary of %d, want %d", t.Size(), tales.VocabSize)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"config.json": []byte(tales.Config), "tokenizer.json": t.JSON(), "tokenizer_config.json": []byte(tales.TokenizerConfig),
		"chat_template.jinja": []byte(tales.ChatTemplate),
	} {
		if err := run.WriteFile(filepath.Join(dir, name), writeBytes(text)); err != nil {
			return err
		}
	}
	return nil
}
