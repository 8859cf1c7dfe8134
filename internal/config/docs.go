package config

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
)

// Docs holds what fields mean: "plumb/sft.Config.LR" -> the field's comment in
// the source. The comments are the one place where it is written; a program
// embeds them as JSON, made by ParseDocs, with a test that they are current.
type Docs map[string]string

// ReadDocs reads what Docs.JSON wrote.
func ReadDocs(data []byte) (Docs, error) {
	var d Docs
	return d, json.Unmarshal(data, &d)
}

// JSON is d, sorted, one entry a line.
func (d Docs) JSON() []byte {
	keys := make([]string, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	b := []byte("{\n")
	for i, k := range keys {
		b = append(jsonString(append(b, "  "...), k), ": "...)
		b = jsonString(b, d[k])
		if i < len(keys)-1 {
			b = append(b, ',')
		}
		b = append(b, '\n')
	}
	return append(b, "}\n"...)
}

// ParseDocs reads the comments of the fields that into's recipe has from the
// source of module (its name) under root.
func ParseDocs(root, module string, into any) (Docs, error) {
	docs := Docs{}
	parsed := map[string]map[string]string{} // package folder -> Type.Field or Type -> comment
	var walk func(fields []*field) error
	walk = func(fields []*field) error {
		for _, f := range fields {
			if err := walk(subfields(f)); err != nil {
				return err
			}
			path := f.owner.PkgPath()
			rel, ok := strings.CutPrefix(path+"/", module+"/")
			if path == "main" {
				rel, ok = "cmd/"+module, true
			}
			if !ok {
				continue
			}
			dir := filepath.Join(root, filepath.FromSlash(rel))
			if parsed[dir] == nil {
				comments, err := parseComments(dir)
				if err != nil {
					return err
				}
				parsed[dir] = comments
			}
			c := parsed[dir][f.owner.Name()+"."+f.goName]
			if st, isStruct := structUnder(f.typ); c == "" && isStruct && st.PkgPath() == path {
				c = parsed[dir][st.Name()] // A section without a comment of its own is what its type is.
			}
			if c == "" && strings.Contains(f.key, "[]") {
				c = parsed[dir][f.owner.Name()] // As is a part of a list's element.
			}
			if c != "" {
				docs[docKey(f)] = c
			}
		}
		return nil
	}
	return docs, walk(schemaOf(into).fields)
}

// subfields are the fields of a section, or of the structs inside a list or a map.
func subfields(f *field) []*field {
	if f.section() {
		return f.fields
	}
	t := f.typ
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if st, ok := structUnder(t); ok {
		return fieldsOf(st, f.key+"[]", nil, 0)
	}
	return nil
}

func docKey(f *field) string {
	path := f.owner.PkgPath()
	if strings.HasPrefix(path, "plumb/cmd/") {
		path = "main" // as the built program calls it
	}
	return path + "." + f.owner.Name() + "." + f.goName
}

func parseComments(dir string) (map[string]string, error) {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read comments: %w", err)
	}
	fset := token.NewFileSet()
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GenDecl); ok && g.Tok == token.TYPE && len(g.Specs) == 1 {
				out[g.Specs[0].(*ast.TypeSpec).Name.Name] = oneParagraph(g.Doc.Text())
			}
			ts, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				return true
			}
			shared := "" // A comment above a group stands for the fields that follow it directly.
			last := 0
			for _, f := range st.Fields.List {
				line := fset.Position(f.Pos()).Line
				text := comment(f)
				switch {
				case f.Doc != nil:
					shared = comment(&ast.Field{Doc: f.Doc})
				case line != last+1:
					shared = ""
				}
				if text == "" {
					text = shared
				}
				last = fset.Position(f.End()).Line
				for _, name := range f.Names {
					out[ts.Name.Name+"."+name.Name] = text
				}
			}
			return true
		})
	}
	return out, nil
}

// comment joins a field's comment above and beside it into one paragraph.
func comment(f *ast.Field) string {
	return oneParagraph(f.Doc.Text() + " " + f.Comment.Text())
}

func oneParagraph(text string) string { return strings.Join(strings.Fields(text), " ") }
