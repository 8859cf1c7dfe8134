// Package ui is what the program's screens and lines share: colours that suit
// the terminal, progress, tables and small charts in text. It draws; what is
// drawn and where it goes is the caller's.
package ui
