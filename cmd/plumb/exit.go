package main

import (
	"context"
	"errors"
	"fmt"
)

// The program's exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitWaiting     = 3   // for labels
	exitInterrupted = 130 // by SIGINT or SIGTERM; a run can be resumed
)

// errWaiting ends a run that needs labels from a person.
var errWaiting = errors.New("waiting for labels")

// usageError is a mistake in what was typed: a verb, a flag, an argument, a recipe.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// exitCode is the one place where errors become exit codes. ctx is the
// program's: an error after a signal is the signal's doing.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errWaiting):
		return exitWaiting
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailure
}
