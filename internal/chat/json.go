package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

// maxJSONDepth bounds the nesting of decoded values.
const maxJSONDepth = 200

// DecodeJSON reads one JSON value and keeps the order of object keys: nil, bool, int, *big.Int (integers beyond
// 64 bits), float64, string, []any, Object. A repeated key keeps its first place and its last value, as in Python.
func DecodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("decode JSON: more than one value, from byte %d", dec.InputOffset())
	}
	return v, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t := tok.(type) {
	case json.Number:
		return number(t.String())
	case json.Delim:
		if t == '[' {
			return decodeArray(dec, depth)
		}
		return decodeObject(dec, depth)
	}
	return tok, nil // nil, bool, string
}

func decodeArray(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func decodeObject(dec *json.Decoder, depth int) (any, error) {
	obj := Object{}
	var seen map[string]int // built once an object is large; small ones are scanned
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("object key expected at byte %d", dec.InputOffset())
		}
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		at := -1
		if seen == nil && len(obj) > 16 {
			seen = make(map[string]int, 2*len(obj))
			for i := range obj {
				seen[obj[i].Key] = i
			}
		}
		if seen != nil {
			if i, ok := seen[key]; ok {
				at = i
			} else {
				seen[key] = len(obj)
			}
		} else {
			for i := range obj {
				if obj[i].Key == key {
					at = i
				}
			}
		}
		if at >= 0 {
			obj[at].Value = v
			continue
		}
		obj = append(obj, Field{key, v})
	}
	_, err := dec.Token()
	return obj, err
}

func number(s string) (any, error) {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.Atoi(s); err == nil {
			return n, nil
		}
		if len(s) > 1000 {
			return nil, fmt.Errorf("integer of %d digits", len(s))
		}
		n, ok := new(big.Int).SetString(s, 10)
		if !ok {
			return nil, fmt.Errorf("number %q", s)
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("number %q is out of range", s)
	}
	return f, nil
}

// NewMessage makes a message of a JSON object {"role": …, "content": …, …}. The template sees exactly the object,
// null values left out.
func NewMessage(o Object) (Message, error) {
	v, ok := o.Get("role")
	if !ok {
		return Message{}, fmt.Errorf("message has no role")
	}
	role, ok := v.(string)
	if !ok {
		return Message{}, fmt.Errorf("message role is %T, not a string", v)
	}
	m := Message{Role: role}
	content, _ := o.Get("content")
	switch c := content.(type) {
	case string:
		m.Content = c
	case []any:
		for _, part := range c {
			p, ok := part.(Object)
			if !ok {
				continue
			}
			if kind, _ := p.Get("type"); kind == "text" {
				text, _ := p.Get("text")
				s, _ := text.(string)
				m.Content += s
			}
		}
	}
	if len(o) == 2 && o[0].Key == "role" && o[1].Key == "content" {
		if _, ok := content.(string); ok {
			return m, nil
		}
	}
	m.Fields = o
	return m, nil
}
