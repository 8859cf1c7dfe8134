package main

import (
	"testing"

	"plumb/internal/run"
)

// A reward model is the same judge under another run's name, which its report tells; other weights, or another base, make another.
func TestJudgesAreToldApartByTheirWeights(t *testing.T) {
	made := func(base, weights, report string) run.Manifest {
		return run.Manifest{Base: run.Source{SHA256: base}, Outputs: []run.File{
			{Path: "adapter/adapter_model.safetensors", SHA256: weights}, {Path: "report.html", SHA256: report},
		}}
	}
	one := scorerHash(made("base", "weights", "report of a"))
	if one != scorerHash(made("base", "weights", "report of b")) {
		t.Error("another report makes another judge")
	}
	if one == scorerHash(made("base", "others", "report of a")) || one == scorerHash(made("another", "weights", "report of a")) {
		t.Error("other weights or another base make no other judge")
	}
}
