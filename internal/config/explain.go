package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Entry is one key as explained.
type Entry struct {
	Key      string   `json:"key"`
	Type     string   `json:"type"`
	Default  string   `json:"default,omitempty"`
	Doc      string   `json:"doc,omitempty"`
	Variable string   `json:"variable,omitempty"`
	Flag     string   `json:"flag,omitempty"`
	Keys     []string `json:"keys,omitempty"` // of a section, or of a list's elements
}

// Explain describes a key; into holds the defaults. List elements' keys are
// written with brackets: sft.data[].weight.
func Explain(into any, key string, docs Docs) (Entry, error) {
	root := schemaOf(into)
	cur := root
	for _, part := range strings.Split(strings.ReplaceAll(key, "[]", ""), ".") {
		var next *field
		for _, c := range subs(cur) {
			if c.name == part {
				next = c
			}
		}
		if next == nil {
			return Entry{}, fmt.Errorf("unknown key %s%s", key, didYouMean(nearestKey(root, root, key)))
		}
		cur = next
	}
	return entry(cur, root, reflect.ValueOf(into).Elem(), docs), nil
}

func subs(f *field) []*field {
	if f.section() {
		return f.fields
	}
	return subfields(f)
}

// Entries explains every key of the recipe, in order.
func Entries(into any, docs Docs) []Entry {
	root := schemaOf(into)
	var out []Entry
	var walk func(fields []*field)
	walk = func(fields []*field) {
		for _, f := range fields {
			out = append(out, entry(f, root, reflect.ValueOf(into).Elem(), docs))
			walk(subs(f))
		}
	}
	walk(root.fields)
	return out
}

// Keys lists the keys that can be given as flags.
func Keys(into any) []string {
	var out []string
	schemaOf(into).leaves(func(f *field) { out = append(out, f.key) })
	return out
}

func entry(f, root *field, defaults reflect.Value, docs Docs) Entry {
	e := Entry{Key: f.key, Doc: f.doc}
	if e.Doc == "" {
		e.Doc = docs[docKey(f)]
	}
	for _, c := range subs(f) {
		e.Keys = append(e.Keys, c.key)
	}
	if f.section() {
		e.Type = "section"
		return e
	}
	e.Type = typeName(f.typ)
	if strings.Contains(f.key, "[]") {
		return e
	}
	e.Variable, e.Flag = envName(f.key), "--"+f.key
	if v, ok := f.at(defaults, root); ok {
		e.Default = string(appendJSON(nil, encodeValue(v)))
	}
	return e
}

// Init is a recipe with the defaults of the named sections (all where none is
// named), each key under its comment.
func Init(into any, docs Docs, sections ...string) ([]byte, error) {
	root := schemaOf(into)
	want := map[string]bool{}
	for _, s := range sections {
		f := root.child(s)
		if f == nil || !f.section() {
			return nil, fmt.Errorf("unknown section %s%s", s, didYouMean(nearest(s, names(root.fields))))
		}
		want[s] = true
	}
	v := reflect.ValueOf(into).Elem()
	trimmed := *root
	trimmed.fields = nil
	for _, f := range root.fields {
		if !f.section() || len(want) == 0 || want[f.name] {
			trimmed.fields = append(trimmed.fields, f)
		}
	}
	n := encodeSection(v, &trimmed, func(f *field, name, _ *yaml.Node) {
		doc := f.doc
		if doc == "" {
			doc = docs[docKey(f)]
		}
		name.HeadComment = wrap(doc, 92)
	})
	return encodeYAML(n)
}

// wrap breaks text into lines of at most width characters, where it can.
func wrap(text string, width int) string {
	var b strings.Builder
	col := 0
	for i, w := range strings.Fields(text) {
		switch {
		case i == 0:
		case col+1+len(w) > width:
			b.WriteByte('\n')
			col = 0
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(w)
		col += len(w)
	}
	return b.String()
}

// Schema is a JSON Schema (draft 2020-12) of the recipe, for editors.
func Schema(into any, docs Docs) ([]byte, error) {
	root := schemaOf(into)
	s := sectionSchema(root, root, reflect.ValueOf(into).Elem(), docs)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "plumb recipe"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func sectionSchema(f, root *field, defaults reflect.Value, docs Docs) map[string]any {
	props := map[string]any{}
	for _, c := range f.fields {
		var p map[string]any
		if c.section() {
			p = sectionSchema(c, root, defaults, docs)
			p["type"] = []string{"object", "null"}
		} else {
			p = typeSchema(c.typ, docs)
			if v, ok := c.at(defaults, root); ok && !strings.Contains(c.key, "[]") {
				p["default"] = json.RawMessage(appendJSON(nil, encodeValue(v)))
			}
		}
		if e := entry(c, root, defaults, docs); e.Doc != "" {
			p["description"] = e.Doc
		}
		props[c.name] = p
	}
	return map[string]any{"type": "object", "properties": props, "additionalProperties": false}
}

func typeSchema(t reflect.Type, docs Docs) map[string]any {
	for t.Kind() == reflect.Pointer && !isText(t) {
		t = t.Elem()
	}
	if isText(t) || t == durationType {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		item := typeSchema(t.Elem(), docs)
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": item}, item}}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem(), docs)}
	case reflect.Struct:
		props := map[string]any{}
		for _, f := range fieldsOf(t, "", nil, 0) {
			p := typeSchema(f.typ, docs)
			if d := docs[docKey(f)]; d != "" {
				p["description"] = d
			}
			props[f.name] = p
		}
		return map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	case reflect.Interface:
		return map[string]any{}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	default:
		return map[string]any{"type": "integer"}
	}
}

// Sections lists the names of the recipe's sections.
func Sections(into any) []string {
	var out []string
	for _, f := range schemaOf(into).fields {
		if f.section() {
			out = append(out, f.name)
		}
	}
	return out
}
