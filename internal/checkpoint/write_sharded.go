package checkpoint

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// WriteSharded writes entries, in the order given, as model.safetensors into dir, or, where they take more than
// shardBytes (0: no limit), as model-00001-of-0000N.safetensors with an index. A tensor is never split. The index
// comes last, and files of an earlier layout are removed, so that dir never tells two stories.
func WriteSharded(dir string, entries []Entry, shardBytes int64) error {
	shards, total, elements, err := cut(entries, shardBytes)
	if err != nil {
		return fmt.Errorf("write weights into %s: %w", dir, err)
	}
	metadata := map[string]string{"format": "pt"}
	if len(shards) == 1 {
		if err := WriteSafetensors(filepath.Join(dir, weightsFile), entries, metadata); err != nil {
			return err
		}
		return removeWeights(dir, []string{weightsFile})
	}
	// Until the index is there the folder must not look complete.
	if err := removeWeights(dir, nil); err != nil {
		return err
	}
	where := make(map[string]string, len(entries))
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := WriteSafetensors(filepath.Join(dir, name), shard, metadata); err != nil {
			return err
		}
		for _, e := range shard {
			if _, dup := where[e.Name]; dup {
				return fmt.Errorf("write weights into %s: tensor %q is given twice", dir, e.Name)
			}
			where[e.Name] = name
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"metadata":   map[string]int64{"total_parameters": elements, "total_size": total},
		"weight_map": where,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write weights into %s: %w", dir, err)
	}
	return writeFileAtomic(filepath.Join(dir, indexFile), append(text, '\n'))
}

// cut groups entries into runs of at most limit bytes.
func cut(entries []Entry, limit int64) (shards [][]Entry, total, elements int64, err error) {
	start, size := 0, int64(0)
	for i := range entries {
		n, err := entries[i].count()
		if err != nil {
			return nil, 0, 0, err
		}
		b := int64(n) * int64(elementBytes(entries[i].DType))
		if limit > 0 && i > start && size+b > limit {
			shards = append(shards, entries[start:i])
			start, size = i, 0
		}
		size += b
		total += b
		elements += int64(n)
	}
	return append(shards, entries[start:]), total, elements, nil
}

// removeWeights deletes the weight files of a Hugging Face folder other than those to keep.
func removeWeights(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read folder %s: %w", dir, cause(err))
	}
	for _, e := range entries {
		n := e.Name()
		if tmp, ok := strings.CutSuffix(n, ".tmp"); ok { // of a writer that was killed
			n = strings.TrimPrefix(tmp, ".")
		}
		ours := n == weightsFile || n == indexFile ||
			strings.HasPrefix(n, "model-") && strings.Contains(n, "-of-") && strings.HasSuffix(n, ".safetensors")
		if !ours || slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove %s: %w", filepath.Join(dir, e.Name()), cause(err))
		}
	}
	return nil
}
