//go:build !linux

package smalldisk

import "errors"

func mount(string, int) error { return errors.New("tmpfs is Linux's") }

func unmount(string) error { return nil }
