package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"plumb/internal/checkpoint"
	"plumb/internal/model"
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
		RunE:   func(_ *cobra.Command, args []string) error { return a.writeTalesFolder(args[0]) },
	}
}

// writeTalesFolder trains the tokenizer on the corpus and writes it with config, chat template and random weights.
func (a *app) writeTalesFolder(dir string) error {
	t, err := tokenizer.TrainBPE(slices.Values(tales.Corpus(4096, talesSeed)), tales.VocabSize, tales.Special())
	if err != nil {
		return err
	}
	if t.Size() != tales.VocabSize {
		return fmt.Errorf("the corpus gives a vocabulary of %d, want %d", t.Size(), tales.VocabSize)
	}
	c, err := model.ParseConfig([]byte(tales.Config))
	if err != nil {
		return err
	}
	m, err := model.NewRandom(c, talesSeed, a.pool())
	if err != nil {
		return err
	}
	weights := m.Merge(nil)
	folder := checkpoint.Folder{ConfigJSON: []byte(tales.Config), Files: map[string][]byte{
		"tokenizer.json": t.JSON(), "tokenizer_config.json": []byte(tales.TokenizerConfig), "chat_template.jinja": []byte(tales.ChatTemplate),
	}}
	for _, name := range weights.Names() {
		_, shape, _ := weights.Info(name)
		folder.Entries = append(folder.Entries, checkpoint.Entry{
			Name: name, DType: checkpoint.BF16, Shape: shape, Float32: func() ([]float32, error) { return weights.Float32(name) },
		})
	}
	return folder.Write(dir)
}
