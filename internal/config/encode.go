package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// YAML is the resolved recipe: every key of every present section, in the
// struct's order; itself a valid recipe.
func (r *Recipe) YAML() ([]byte, error) {
	return encodeYAML(encodeSection(reflect.ValueOf(r.into).Elem(), r.schema, nil))
}

// Show is YAML with the origin of every value that is not a default.
func (r *Recipe) Show() ([]byte, error) {
	return encodeYAML(encodeSection(reflect.ValueOf(r.into).Elem(), r.schema, func(f *field, name, val *yaml.Node) {
		if from := r.from[f.key]; from != "" {
			if val.Kind == yaml.ScalarNode || val.Style == yaml.FlowStyle {
				val.LineComment = from
			} else {
				name.HeadComment = from
			}
		}
	}))
}

// JSON is the resolved recipe, or one of its sections ("sft"), as one JSON
// object in the struct's order; null for an absent section.
func (r *Recipe) JSON(section string) json.RawMessage {
	v, f := reflect.ValueOf(r.into).Elem(), r.schema
	if section != "" {
		if f = r.schema.find(section); f == nil || !f.section() {
			panic("config: JSON: no such section")
		}
		var ok bool
		if v, ok = f.at(v, r.schema); !ok || v.Kind() == reflect.Pointer && v.IsNil() {
			return json.RawMessage("null")
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
	}
	return appendJSON(nil, encodeSection(v, f, nil))
}

// Origin says where a key's value came from: "recipe.yaml:12", a variable, a
// flag, or "default".
func (r *Recipe) Origin(key string) string {
	if from := r.from[key]; from != "" {
		return from
	}
	return "default"
}

func encodeYAML(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// encodeSection is the mapping node of a section; note may add comments.
func encodeSection(v reflect.Value, f *field, note func(f *field, name, val *yaml.Node)) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range f.fields {
		sub := v.FieldByIndex(c.index)
		if c.section() && sub.Kind() == reflect.Pointer && sub.IsNil() {
			continue
		}
		name := scalar("!!str", c.name)
		var val *yaml.Node
		if c.section() {
			if sub.Kind() == reflect.Pointer {
				sub = sub.Elem()
			}
			val = encodeSection(sub, c, note)
			if len(val.Content) == 0 {
				val.Style = yaml.FlowStyle
			}
		} else {
			val = encodeValue(sub)
		}
		if note != nil {
			note(c, name, val)
		}
		m.Content = append(m.Content, name, val)
	}
	return m
}

func scalar(tag, text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

func encodeValue(v reflect.Value) *yaml.Node {
	t := v.Type()
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		if v.IsNil() {
			return scalar("!!null", "null")
		}
		if t.Kind() == reflect.Interface || !isText(t) {
			return encodeValue(v.Elem())
		}
	}
	if t == durationType {
		return scalar("!!str", time.Duration(v.Int()).String())
	}
	if isText(t) {
		return scalar("!!str", text(v))
	}
	switch t.Kind() {
	case reflect.Bool:
		return scalar("!!bool", strconv.FormatBool(v.Bool()))
	case reflect.String:
		return stringNode(v.String())
	case reflect.Float32:
		return floatNode(v.Float(), 32)
	case reflect.Float64:
		return floatNode(v.Float(), 64)
	case reflect.Slice, reflect.Array:
		return encodeList(v)
	case reflect.Map:
		return encodeMap(v)
	case reflect.Struct:
		m := encodeSection(v, &field{typ: t, fields: flat(fieldsOf(t, "", nil, 0))}, nil)
		m.Style = yaml.FlowStyle
		return m
	}
	switch {
	case v.CanInt():
		return scalar("!!int", strconv.FormatInt(v.Int(), 10))
	case v.CanUint():
		return scalar("!!int", strconv.FormatUint(v.Uint(), 10))
	}
	panic(fmt.Sprintf("config: encode: type %s", t))
}

// flat makes leaves of sections: structs inside a list are values.
func flat(fields []*field) []*field {
	for _, f := range fields {
		f.fields = nil
	}
	return fields
}

func text(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := m.MarshalText()
		if err != nil {
			panic("config: encode: a text value cannot be written: " + err.Error())
		}
		return string(b)
	}
	if v.CanAddr() {
		if m, ok := v.Addr().Interface().(encoding.TextMarshaler); ok {
			b, err := m.MarshalText()
			if err != nil {
				panic("config: encode: a text value cannot be written: " + err.Error())
			}
			return string(b)
		}
	}
	panic("config: encode: a type that is read from text must also be an encoding.TextMarshaler")
}

// stringNode quotes what would read back as another type.
func stringNode(s string) *yaml.Node {
	var n yaml.Node
	n.SetString(s)
	return &n
}

func floatNode(x float64, bits int) *yaml.Node {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		panic("config: encode: a number that is not finite")
	}
	s := strconv.FormatFloat(x, 'g', -1, bits)
	if !strings.ContainsAny(s, ".e") {
		return scalar("!!int", s)
	}
	return scalar("!!float", s)
}

func encodeList(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i := range v.Len() {
		item := encodeValue(v.Index(i))
		if item.Kind == yaml.MappingNode {
			n.Style = 0 // One mapping a line.
		}
		n.Content = append(n.Content, item)
	}
	return n
}

func encodeMap(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	for _, k := range keys {
		n.Content = append(n.Content, stringNode(k.String()), encodeValue(v.MapIndex(k)))
	}
	if len(keys) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func appendJSON(b []byte, n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(jsonString(b, n.Content[i].Value), ':')
			b = appendJSON(b, n.Content[i+1])
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, c)
		}
		return append(b, ']')
	}
	if n.Tag == "!!str" {
		return jsonString(b, n.Value)
	}
	return append(b, n.Value...)
}

func jsonString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("config: encode: a string cannot be written as JSON")
	}
	return append(b, strings.TrimSuffix(buf.String(), "\n")...)
}
