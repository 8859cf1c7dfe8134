package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// hashChunk is the run of bytes hashed as one piece. It is part of the definition of Hash: do not change it.
const hashChunk = 16 << 20

// Hash returns the SHA-256, in hexadecimal, that stands for the model: its config and its weights, not its tokenizer.
// It is the hash of
//
//	"plumb checkpoint 1\n"
//	the config as compact JSON with sorted keys, "\n"
//	for each tensor by name: name, "\x00", dtype, "\x00", shape ("2,3"), "\x00", then the SHA-256 (32 bytes) of each
//	16 MiB run of its stored bytes
//
// so it does not depend on how the weights are spread over files, and the runs are hashed on all cores.
func (s *Source) Hash() (string, error) { return s.HashTold(context.Background(), nil) }

// HashTold is Hash that ends with ctx. told, if not nil, hears how many bytes of how many are hashed, from several goroutines at
// once.
func (s *Source) HashTold(ctx context.Context, told func(done, total int64)) (string, error) {
	tensors := s.tensors
	if s.asStored != nil {
		tensors = s.asStored
	}
	order := make([]*stored, len(tensors))
	for i := range tensors {
		order[i] = &tensors[i]
	}
	slices.SortFunc(order, func(a, b *stored) int { return strings.Compare(a.name, b.name) })
	sums, err := hashRuns(ctx, order, told)
	if err != nil {
		return "", err
	}
	config, err := canonicalJSON(s.ConfigJSON)
	if err != nil {
		return "", fmt.Errorf("%s: config.json: %w", s.Path, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "plumb checkpoint 1\n%s\n", config)
	for i, t := range order {
		shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(t.shape), " ", ","), "[]")
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00", t.name, t.dtype, shape)
		for _, sum := range sums[i] {
			h.Write(sum[:])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashRuns hashes the runs of all tensors on all cores.
func hashRuns(ctx context.Context, tensors []*stored, told func(done, total int64)) ([][][sha256.Size]byte, error) {
	type run struct{ tensor, index int }
	var runs []run
	var total int64
	sums := make([][][sha256.Size]byte, len(tensors))
	for i, t := range tensors {
		total += t.bytes
		sums[i] = make([][sha256.Size]byte, (t.bytes+hashChunk-1)/hashChunk)
		for j := range sums[i] {
			runs = append(runs, run{i, j})
		}
	}
	var next, done atomic.Int64
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			buffer := make([]byte, 1<<18)
			h := sha256.New()
			for errs[w] == nil {
				k := int(next.Add(1)) - 1
				if k >= len(runs) {
					return
				}
				r := runs[k]
				t := tensors[r.tensor]
				from := int64(r.index) * hashChunk
				n := min(t.bytes-from, hashChunk)
				if errs[w] = ctx.Err(); errs[w] != nil {
					return
				}
				errs[w] = t.hash(h, buffer, from, n)
				h.Sum(sums[r.tensor][r.index][:0])
				if now := done.Add(n); told != nil {
					told(now, total)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// hash feeds n bytes of the tensor from from into a fresh h.
func (t *stored) hash(h hash.Hash, buffer []byte, from, n int64) error {
	h.Reset()
	for n > 0 {
		b := buffer[:min(n, int64(len(buffer)))]
		if err := t.file.readAt(b, t.off+from); err != nil {
			return err
		}
		h.Write(b)
		from += int64(len(b))
		n -= int64(len(b))
	}
	return nil
}

// canonicalJSON rewrites a JSON text compactly with sorted keys and its numbers as they are.
func canonicalJSON(text []byte) ([]byte, error) {
	if text == nil {
		return []byte("null"), nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, jsonError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text after the JSON value")
	}
	var b bytes.Buffer
	if err := encodeJSON(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
