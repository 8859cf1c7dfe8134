package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// Recipe is a recipe as resolved.
type Recipe struct {
	File  string
	Notes []string // what was left unused; to be printed

	into   any
	schema *field
	from   map[string]string // key -> where its value came from; absent for a default
	lines  map[string]int    // key (sections too) -> line in File
}

// Flag is a key given on the command line.
type Flag struct{ Key, Value string }

// Options of Load.
type Options struct {
	Flags []Flag
	// Environ lists the variables; os.Environ() where nil.
	Environ []string
}

// Load reads the recipe at path into the struct that into points to, which
// holds the defaults of every section. Sections the recipe does not have
// become nil.
func Load(path string, into any, o Options) (*Recipe, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read recipe: %w", err)
	}
	return Parse(path, data, into, o)
}

// Parse is Load for a recipe already in memory; name stands in messages.
func Parse(name string, data []byte, into any, o Options) (*Recipe, error) {
	r := &Recipe{File: name, into: into, schema: schemaOf(into), from: map[string]string{}, lines: map[string]int{}}
	root, err := parseYAML(name, data)
	if err != nil {
		return nil, err
	}
	v := viper.New()
	present := map[string]bool{}
	tree, errs := r.readSection(root, r.schema, present)
	if err := v.MergeConfigMap(tree); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, r.bindEnv(v, o.Environ, present)...)
	errs = append(errs, r.setFlags(v, o.Flags, present)...)
	if err := joinErrors(errs); err != nil {
		return nil, err
	}
	if err := r.fill(v, present); err != nil {
		return nil, err
	}
	return r, r.validate()
}

func parseYAML(name string, data []byte) (*yaml.Node, error) {
	const most = 1 << 20
	if len(data) > most {
		return nil, fmt.Errorf("%s: a recipe of %d bytes; at most %d are read", name, len(data), most)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: the recipe is empty", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document", name)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: a recipe is a mapping from keys to values, found %s", name, root.Line, found(root))
	}
	return root, nil
}

// readSection turns a mapping into the nested map viper keeps, leaves as
// opaque values; it marks the sections that are present.
func (r *Recipe) readSection(n *yaml.Node, f *field, present map[string]bool) (map[string]any, []error) {
	out := map[string]any{}
	var errs []error
	for i := 0; i < len(n.Content); i += 2 {
		name, val := n.Content[i], n.Content[i+1]
		if val.Kind == yaml.AliasNode {
			val = val.Alias
		}
		at := value{from: fmt.Sprintf("%s:%d", r.File, name.Line)}
		key := strings.TrimPrefix(f.key+"."+name.Value, ".")
		c := f.child(name.Value)
		if c == nil {
			errs = append(errs, at.errorf(name, "unknown key %s%s", key, didYouMean(nearestKey(r.schema, f, name.Value))))
			continue
		}
		if _, twice := out[c.name]; twice {
			errs = append(errs, at.errorf(name, "key %s is there twice", key))
			continue
		}
		r.lines[key] = name.Line
		if !c.section() {
			out[c.name] = value{node: val, from: at.from}
			continue
		}
		empty := val.Kind == yaml.ScalarNode && val.Tag == "!!null"
		if val.Kind != yaml.MappingNode && !empty {
			errs = append(errs, at.errorf(val, "%s: want a mapping with keys %s, found %s", key, strings.Join(names(c.fields), ", "), found(val)))
			continue
		}
		present[key] = true
		sub, more := r.readSection(val, c, present)
		out[c.name] = sub
		errs = append(errs, more...)
	}
	return out, errs
}

// bindEnv lets viper read the variable of every key, and notes those that look
// like a key's but are none, or whose section the recipe does not have.
func (r *Recipe) bindEnv(v *viper.Viper, environ []string, present map[string]bool) []error {
	if environ == nil {
		environ = os.Environ()
	}
	keys := map[string]*field{}
	var all []string
	r.schema.leaves(func(f *field) {
		keys[envName(f.key)] = f
		all = append(all, envName(f.key))
	})
	var errs []error
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "PLUMB_") || text == "" {
			continue
		}
		f, ok := keys[name]
		if !ok {
			if r.sectionVariable(name) {
				r.Notes = append(r.Notes, fmt.Sprintf("variable %s is no recipe key and was not used%s", name, didYouMean(nearest(name, all))))
			}
			continue
		}
		if absent := r.absentSection(f, present); absent != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("variable %s was not used: the recipe has no section %s", name, absent))
			continue
		}
		if err := v.BindEnv(f.key, name); err != nil {
			errs = append(errs, err)
		}
	}
	sort.Strings(r.Notes)
	return errs
}

func (r *Recipe) sectionVariable(name string) bool {
	for _, f := range r.schema.fields {
		if f.section() && strings.HasPrefix(name, envName(f.key)+"_") {
			return true
		}
	}
	return false
}

// absentSection is the outermost optional section around f that the recipe
// does not have, or "".
func (r *Recipe) absentSection(f *field, present map[string]bool) string {
	cur := r.schema
	for _, part := range strings.Split(f.key, ".") {
		cur = cur.child(part)
		if cur.section() && cur.opt && !present[cur.key] {
			return cur.key
		}
	}
	return ""
}

func (r *Recipe) setFlags(v *viper.Viper, flags []Flag, present map[string]bool) []error {
	var errs []error
	for _, fl := range flags {
		f := r.schema.find(fl.Key)
		if f != nil && f.section() {
			errs = append(errs, fmt.Errorf("--%s: a section; name one of its keys: %s", fl.Key, strings.Join(names(f.fields), ", ")))
			continue
		}
		if f == nil {
			errs = append(errs, fmt.Errorf("--%s: unknown key%s", fl.Key, didYouMean(nearestKey(r.schema, r.schema, fl.Key))))
			continue
		}
		top, _, _ := strings.Cut(f.key, ".")
		if s := r.schema.child(top); s.section() && s.opt && !present[top] {
			errs = append(errs, fmt.Errorf("--%s: %s has no section %s; add \"%s: {}\" to it", fl.Key, r.File, top, top))
			continue
		}
		n, err := textNode(fl.Value, f.typ)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", fl.Key, err))
			continue
		}
		for at := f.key; strings.Contains(at, "."); { // A section inside a section comes with its key.
			at = at[:strings.LastIndex(at, ".")]
			present[at] = true
		}
		v.Set(f.key, value{node: n, from: "--" + fl.Key})
	}
	return errs
}

// fill decodes what viper holds for every key and drops absent sections.
func (r *Recipe) fill(v *viper.Viper, present map[string]bool) error {
	root := reflect.ValueOf(r.into).Elem()
	var errs []error
	dropAbsent(root, r.schema, present)
	r.schema.leaves(func(f *field) {
		dst, ok := f.at(root, r.schema)
		if !ok {
			return
		}
		var val value
		switch x := v.Get(f.key).(type) {
		case nil:
			return // its default stays
		case value:
			val = x
		case string: // from the environment
			n, err := textNode(x, f.typ)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", envName(f.key), err))
				return
			}
			val = value{node: n, from: envName(f.key)}
		}
		if val.node.Tag == "!!null" && f.typ.Kind() != reflect.Pointer && f.typ.Kind() != reflect.Slice {
			errs = append(errs, val.errorf(val.node, "%s: no value; write one, or leave the key out for the default", f.key))
			return
		}
		if err := val.decode(val.node, dst, f.key); err != nil {
			errs = append(errs, err)
			return
		}
		r.from[f.key] = val.from
	})
	return joinErrors(errs)
}

// dropAbsent sets optional sections that are not present to nil, and makes
// those that are present and had no default.
func dropAbsent(v reflect.Value, f *field, present map[string]bool) {
	for _, c := range f.fields {
		if !c.section() {
			continue
		}
		sub := v.FieldByIndex(c.index)
		if c.opt {
			if !present[c.key] {
				sub.SetZero()
				continue
			}
			if sub.IsNil() {
				sub.Set(reflect.New(c.typ.Elem()))
				if d, ok := sub.Interface().(interface{ SetDefaults() }); ok {
					d.SetDefaults()
				}
			}
			sub = sub.Elem()
		}
		dropAbsent(sub, c, present)
	}
}

// validate asks every top section, then the whole.
func (r *Recipe) validate() error {
	var errs []error
	root := reflect.ValueOf(r.into).Elem()
	for _, f := range r.schema.fields {
		if !f.section() {
			continue
		}
		sub, _ := f.at(root, r.schema)
		if sub.Kind() != reflect.Pointer {
			sub = sub.Addr()
		}
		if sub.IsNil() {
			continue
		}
		if c, ok := sub.Interface().(interface{ Validate() error }); ok {
			for _, err := range split(c.Validate()) {
				errs = append(errs, r.locate(f.key, err))
			}
		}
	}
	if c, ok := r.into.(interface{ Validate() error }); ok {
		for _, err := range split(c.Validate()) {
			errs = append(errs, r.locate("", err))
		}
	}
	return joinErrors(errs)
}

func split(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // Only the outermost join is split.
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	return []error{err}
}

// locate puts the place of the key that a message starts with in front of it.
func (r *Recipe) locate(section string, err error) error {
	word := strings.TrimRight(strings.SplitN(err.Error(), " ", 2)[0], ":,")
	if i := strings.IndexByte(word, '['); i >= 0 {
		word = word[:i]
	}
	prefix := ""
	key := word
	if section != "" && !strings.HasPrefix(word, section+".") {
		prefix = section + ": "
		if r.schema.find(section+"."+word) != nil {
			key, prefix = section+"."+word, section+"."
		}
	}
	if from := r.from[key]; from != "" {
		return fmt.Errorf("%s: %s%w", from, prefix, err)
	}
	for at := key; at != ""; at = at[:max(strings.LastIndex(at, "."), 0)] {
		if line, ok := r.lines[at]; ok {
			return fmt.Errorf("%s:%d: %s%w", r.File, line, prefix, err)
		}
	}
	if line, ok := r.lines[section]; ok {
		return fmt.Errorf("%s:%d: %s%w", r.File, line, prefix, err)
	}
	return fmt.Errorf("%s: %s%w", r.File, prefix, err)
}

// joinErrors makes one error of several, at most 20 shown.
func joinErrors(errs []error) error {
	const most = 20
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))
	}
	return errors.Join(errs...)
}
