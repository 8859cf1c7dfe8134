package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var (
	durationType    = reflect.TypeFor[time.Duration]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isText reports whether t is written as one string: it, or a pointer to it,
// is an encoding.TextUnmarshaler.
func isText(t reflect.Type) bool {
	return t.Implements(unmarshalerType) || reflect.PointerTo(t).Implements(unmarshalerType)
}

// value is what a key got from one layer, and where that was.
type value struct {
	node *yaml.Node
	from string // "recipe.yaml:12", "PLUMB_SFT_LR", "--sft.lr"; empty for a default
}

// where is the place of a node: its line in a file, else the variable or flag.
func (v value) where(n *yaml.Node) string {
	if file, _, ok := strings.Cut(v.from, ":"); ok && n.Line > 0 {
		return fmt.Sprintf("%s:%d", file, n.Line)
	}
	return v.from
}

func (v value) errorf(n *yaml.Node, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if flag, ok := strings.CutPrefix(v.from, "--"); ok { // The flag's name is the key already.
		text = strings.TrimPrefix(text, flag+": ")
	}
	return fmt.Errorf("%s: %s", v.where(n), text)
}

// decode puts node into dst. key is for messages.
func (v value) decode(n *yaml.Node, dst reflect.Value, key string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	t := dst.Type()
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	if t.Kind() == reflect.Pointer {
		if null {
			dst.SetZero()
			return nil
		}
		p := reflect.New(t.Elem())
		if err := v.decode(n, p.Elem(), key); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	}
	wrong := func() error {
		return v.errorf(n, "%s: want a %s, found %s", key, typeName(t), found(n))
	}
	switch {
	case t == durationType:
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			return wrong()
		}
		dst.SetInt(int64(d))
		return nil
	case isText(t):
		if n.Kind != yaml.ScalarNode || null {
			return wrong()
		}
		if err := dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
			return v.errorf(n, "%s: %v", key, err)
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Slice:
		return v.decodeList(n, dst, key, null)
	case reflect.Map:
		return v.decodeMap(n, dst, key, wrong)
	case reflect.Struct:
		return v.decodeStruct(n, dst, key, wrong)
	case reflect.Interface:
		var x any
		if err := n.Decode(&x); err != nil {
			return v.errorf(n, "%s: %v", key, err)
		}
		if x != nil {
			dst.Set(reflect.ValueOf(x))
		}
		return nil
	}
	if n.Kind != yaml.ScalarNode || null {
		return wrong()
	}
	return v.decodeScalar(n, dst, key, wrong)
}

func (v value) decodeScalar(n *yaml.Node, dst reflect.Value, key string, wrong func() error) error {
	switch k := dst.Kind(); {
	case k == reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Tag != "!!bool" || err != nil {
			return wrong()
		}
		dst.SetBool(b)
	case k == reflect.String:
		// A number or a word like "no" in a string's place is taken as written.
		dst.SetString(n.Value)
	case dst.CanFloat():
		x, ok := number(n)
		if !ok {
			return wrong()
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return v.errorf(n, "%s: want a finite number, found %s", key, n.Value)
		}
		dst.SetFloat(x)
	case dst.CanInt():
		i, ok := whole(n)
		if !ok || dst.OverflowInt(i) {
			return wrong()
		}
		dst.SetInt(i)
	case dst.CanUint():
		var u uint64
		if n.Tag != "!!int" || n.Decode(&u) != nil {
			i, ok := whole(n)
			if !ok || i < 0 {
				return wrong()
			}
			u = uint64(i)
		}
		if dst.OverflowUint(u) {
			return wrong()
		}
		dst.SetUint(u)
	default:
		panic("config: decode: " + typeName(dst.Type()))
	}
	return nil
}

func number(n *yaml.Node) (float64, bool) {
	var x float64
	if n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(&x) != nil {
		return 0, false
	}
	return x, true
}

// whole reads 1000 and 1e3, not 3.9.
func whole(n *yaml.Node) (int64, bool) {
	var i int64
	if n.Tag == "!!int" {
		return i, n.Decode(&i) == nil
	}
	x, ok := number(n)
	if !ok || x != math.Trunc(x) || math.Abs(x) >= 1<<53 {
		return 0, false
	}
	return int64(x), true
}

func (v value) decodeList(n *yaml.Node, dst reflect.Value, key string, null bool) error {
	items := n.Content
	switch {
	case null:
		items = nil
	case n.Kind != yaml.SequenceNode:
		items = []*yaml.Node{n}
	}
	if len(items) == 0 {
		dst.SetZero()
		return nil
	}
	list := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		at := key
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		if d, ok := list.Index(i).Addr().Interface().(interface{ SetDefaults() }); ok {
			d.SetDefaults()
		}
		if err := v.decode(item, list.Index(i), at); err != nil {
			return err
		}
	}
	dst.Set(list)
	return nil
}

func (v value) decodeMap(n *yaml.Node, dst reflect.Value, key string, wrong func() error) error {
	if dst.Type().Key().Kind() != reflect.String {
		panic("config: decode: a map's keys must be strings")
	}
	if n.Kind != yaml.MappingNode {
		return wrong()
	}
	if len(n.Content) == 0 {
		dst.SetZero()
		return nil
	}
	m := reflect.MakeMap(dst.Type())
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i]
		k := reflect.ValueOf(name.Value).Convert(dst.Type().Key())
		if m.MapIndex(k).IsValid() {
			return v.errorf(name, "%s: %q is there twice", key, name.Value)
		}
		e := reflect.New(dst.Type().Elem()).Elem()
		if err := v.decode(n.Content[i+1], e, key+"["+name.Value+"]"); err != nil {
			return err
		}
		m.SetMapIndex(k, e)
	}
	dst.Set(m)
	return nil
}

func (v value) decodeStruct(n *yaml.Node, dst reflect.Value, key string, wrong func() error) error {
	if n.Kind != yaml.MappingNode {
		return wrong()
	}
	fields := fieldsOf(dst.Type(), "", nil, 0)
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i]
		var f *field
		for _, c := range fields {
			if c.name == name.Value {
				f = c
			}
		}
		if f == nil {
			return v.errorf(name, "%s: unknown key %q%s", key, name.Value, didYouMean(nearest(name.Value, names(fields))))
		}
		if seen[name.Value] {
			return v.errorf(name, "%s: key %q is there twice", key, name.Value)
		}
		seen[name.Value] = true
		if err := v.decode(n.Content[i+1], dst.FieldByIndex(f.index), key+"."+name.Value); err != nil {
			return err
		}
	}
	return nil
}

// found describes a node in a message.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	s := n.Value
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	if n.Tag == "!!str" {
		return strconv.Quote(s)
	}
	return s
}

// textNode reads the text of a variable or a flag for a key of type t.
func textNode(text string, t reflect.Type) (*yaml.Node, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	str := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	if t.Kind() == reflect.String || isText(t) || t == durationType {
		return str(text), nil
	}
	trimmed := strings.TrimSpace(text)
	if t.Kind() == reflect.Slice && !strings.HasPrefix(trimmed, "[") && !strings.HasPrefix(trimmed, "{") {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		if trimmed == "" {
			return list, nil
		}
		for _, part := range strings.Split(trimmed, ",") {
			n, err := textNode(strings.TrimSpace(part), t.Elem())
			if err != nil {
				return nil, err
			}
			list.Content = append(list.Content, n)
		}
		return list, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	clearLines(doc.Content[0])
	return doc.Content[0], nil
}

func clearLines(n *yaml.Node) {
	n.Line = 0
	for _, c := range n.Content {
		clearLines(c)
	}
}
