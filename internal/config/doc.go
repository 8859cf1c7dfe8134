// Package config reads recipes: one YAML file into the structs of the stages.
//
// In: a recipe, the environment, flags, and a struct that holds every section
// with its defaults. Out: that struct filled, and for every key where its value
// came from.
//
// Order: defaults < file < PLUMB_* variables < flags. A key is the path of
// names down the struct, sft.peft.r; its variable is PLUMB_SFT_PEFT_R and its
// flag --sft.peft.r. Values of variables and flags are read as YAML, except that
// a string is taken as it stands and a list may also be written a,b,c.
//
// What the struct says:
//
//   - A field's name is its `yaml` tag, else its `json` or `mapstructure` tag,
//     else its Go name in snake case; "-" leaves it out; an embedded struct's
//     fields count as the outer's own.
//   - A pointer to a struct is an optional section: nil where the recipe does
//     not have it, its defaults where the recipe only names it.
//   - A single value where a list is wanted is a list of one.
//   - An element of a list whose pointer has SetDefaults() starts from that.
//   - A section with Validate() error is asked at the end; a message that starts
//     with a key ("lr: must be above 0") gets that key's line.
//   - What a field means is its comment in the source (Docs), or its tags doc,
//     unit, range and source.
//
// An unknown or repeated key, a value of the wrong type and a fraction where a
// whole number is wanted are errors with file, line and, for a key, the nearest
// one. Nothing is guessed.
//
// viper orders the layers and reads the environment; it is handed values it
// does not look into, because it would lower-case the names inside them.
package config
