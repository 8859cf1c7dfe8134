package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// KV is one named number. Metric names are paths: policy/clipfrac_avg.
type KV struct {
	Key   string
	Value float64
}

// Values is an ordered list of named numbers; in JSON an object in this order,
// a number that is not finite being null.
type Values []KV

// Lookup is the value of key.
func (v Values) Lookup(key string) (float64, bool) {
	for _, kv := range v {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return 0, false
}

// MarshalJSON writes the object in order.
func (v Values) MarshalJSON() ([]byte, error) {
	b, _ := appendObject(nil, v)
	return b, nil
}

// UnmarshalJSON reads an object of numbers and nulls (which become NaN), keeping its order.
func (v *Values) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil {
		return err
	} else if t == nil {
		*v = nil
		return nil
	} else if t != json.Delim('{') {
		return fmt.Errorf("want an object of numbers, found %v", t)
	}
	var out Values
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		val, err := dec.Token()
		if err != nil {
			return err
		}
		kv := KV{Key: key.(string), Value: math.NaN()} // An object's keys are strings.
		switch x := val.(type) {
		case float64:
			kv.Value = x
		case nil:
		default:
			return fmt.Errorf("key %q: want a number, found %v", kv.Key, val)
		}
		out = append(out, kv)
	}
	*v = out
	return nil
}

// appendObject appends {"key":number,...}; it reports how many were not finite.
func appendObject(b []byte, kvs []KV) ([]byte, int) {
	bad := 0
	b = append(b, '{')
	for i, kv := range kvs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, kv.Key)
		b = append(b, ':')
		if math.IsNaN(kv.Value) || math.IsInf(kv.Value, 0) {
			b = append(b, "null"...)
			bad++
		} else {
			b = appendNumber(b, kv.Value)
		}
	}
	return append(b, '}'), bad
}

// appendNumber writes the shortest digits that read back as the same float64.
func appendNumber(b []byte, x float64) []byte {
	if x == math.Trunc(x) && math.Abs(x) < 1e15 {
		return strconv.AppendInt(b, int64(x), 10)
	}
	return strconv.AppendFloat(b, x, 'g', -1, 64)
}

func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("run: appendString: a string cannot be encoded")
	}
	return append(b, q...)
}
