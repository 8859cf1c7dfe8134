package config

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// field is one key of the recipe: a section (a struct) or a leaf (all else,
// lists included).
type field struct {
	name   string // last element of the key
	key    string // whole key: sft.peft.r
	index  []int  // for reflect, from the enclosing struct
	typ    reflect.Type
	owner  reflect.Type // the struct type that declares the field, for its comment
	goName string
	doc    string   // from its tags
	fields []*field // of a section
	opt    bool     // section behind a pointer
}

func (f *field) section() bool { return f.fields != nil }

// child is the field called name, or nil.
func (f *field) child(name string) *field {
	for _, c := range f.fields {
		if c.name == name {
			return c
		}
	}
	return nil
}

// find is the field with the given key, or nil.
func (f *field) find(key string) *field {
	for _, part := range strings.Split(key, ".") {
		if f = f.child(part); f == nil {
			return nil
		}
	}
	return f
}

// leaves calls visit for every leaf under f, in order.
func (f *field) leaves(visit func(*field)) {
	for _, c := range f.fields {
		if c.section() {
			c.leaves(visit)
		} else {
			visit(c)
		}
	}
}

// schemaOf reads the struct that into points to. A struct that cannot be a
// recipe is a mistake in the program and panics.
func schemaOf(into any) *field {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		panic("config: schema: want a pointer to a struct")
	}
	root := &field{typ: t.Elem(), fields: fieldsOf(t.Elem(), "", nil, 0)}
	seen := map[string]string{}
	root.leaves(func(f *field) {
		env := envName(f.key)
		if other, ok := seen[env]; ok {
			panic("config: schema: two keys share a variable: " + other + " and " + f.key)
		}
		seen[env] = f.key
	})
	return root
}

func fieldsOf(t reflect.Type, prefix string, index []int, depth int) []*field {
	if depth > 8 {
		panic("config: schema: a struct inside itself")
	}
	out := []*field{}
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(append([]int(nil), index...), i)
		name, inline := fieldName(sf)
		if name == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		if inline {
			out = append(out, fieldsOf(sf.Type, prefix, at, depth+1)...)
			continue
		}
		f := &field{
			name: name, key: strings.TrimPrefix(prefix+"."+name, "."), index: at,
			typ: sf.Type, owner: t, goName: sf.Name, doc: tagDoc(sf.Tag),
		}
		if st, ok := structUnder(sf.Type); ok {
			f.opt = sf.Type.Kind() == reflect.Pointer
			f.fields = fieldsOf(st, f.key, nil, depth+1)
		}
		out = append(out, f)
	}
	return out
}

// structUnder is the struct type that t is or points to, unless it is read
// from text as a whole.
func structUnder(t reflect.Type) (reflect.Type, bool) {
	if isText(t) {
		return nil, false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, t.Kind() == reflect.Struct
}

func fieldName(sf reflect.StructField) (name string, inline bool) {
	for _, tag := range []string{"yaml", "json", "mapstructure"} {
		v, ok := sf.Tag.Lookup(tag)
		if !ok {
			continue
		}
		name, rest, _ := strings.Cut(v, ",")
		if strings.Contains(rest, "inline") || strings.Contains(rest, "squash") {
			return "", true
		}
		if name != "" {
			return name, false
		}
	}
	if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
		return "", true
	}
	return snake(sf.Name), false
}

// tagDoc joins what a field's tags say about it.
func tagDoc(tag reflect.StructTag) string {
	doc := tag.Get("doc")
	for _, part := range []struct{ tag, before string }{{"unit", "Unit: "}, {"range", "Range: "}, {"source", "Source: "}} {
		if v := tag.Get(part.tag); v != "" && doc != "" {
			doc += " " + part.before + v + "."
		}
	}
	return doc
}

// snake turns a Go name into a key: MaxNewTokens max_new_tokens, KLCoef kl_coef.
func snake(name string) string {
	var b strings.Builder
	r := []rune(name)
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// envName is the variable of a key: ppo.kl.coef PLUMB_PPO_KL_COEF.
func envName(key string) string {
	return "PLUMB_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// at is the value of f inside the root struct; ok is false where a section on
// the way is nil.
func (f *field) at(root reflect.Value, schema *field) (v reflect.Value, ok bool) {
	v = root
	cur := schema
	for _, part := range strings.Split(f.key, ".") {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		cur = cur.child(part)
		v = v.FieldByIndex(cur.index)
	}
	return v, true
}

// typeName says in a person's words what a value of type t looks like.
func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration such as 90s or 2h"
	case isText(t):
		return "string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "whole number, 0 or more"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "list of " + plural(t.Elem())
	case reflect.Map:
		return "mapping from names to " + plural(t.Elem())
	case reflect.Struct:
		return "mapping with keys " + strings.Join(names(fieldsOf(t, "", nil, 0)), ", ")
	case reflect.Interface:
		return "value"
	}
	panic(fmt.Sprintf("config: schema: type %s cannot stand in a recipe", t))
}

func plural(t reflect.Type) string {
	switch n := typeName(t); n {
	case "string", "number", "whole number", "value":
		return n + "s"
	case "whole number, 0 or more":
		return "whole numbers, 0 or more"
	default:
		return n
	}
}

func names(fields []*field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}
