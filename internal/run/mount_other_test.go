//go:build !linux

package run

import "errors"

func mountTmpfs(string, string) error { return errors.New("tmpfs is Linux's") }

func unmount(string) {}
