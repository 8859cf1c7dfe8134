package tokenizer

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// cacheSlots and cacheWord bound the cache: 2^15 words of at most 48 bytes take some 5 MB at the most.
const (
	cacheSlots = 1 << 15
	cacheWord  = 48
)

// cache remembers the tokens of words. Each word has one slot, which the latest word takes: so it needs no lock and
// never grows. What it holds never changes a result.
type cache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[cacheEntry]
}

type cacheEntry struct {
	word   string
	tokens []symbol
}

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

// slot returns the slot of word, and what it holds if that is word's.
func (c *cache) slot(word string) (*atomic.Pointer[cacheEntry], *cacheEntry) {
	s := &c.slots[maphash.String(c.seed, word)%cacheSlots]
	if e := s.Load(); e != nil && e.word == word {
		return s, e
	}
	return s, nil
}

func newCacheEntry(word string, tokens []symbol) *cacheEntry {
	return &cacheEntry{strings.Clone(word), append([]symbol(nil), tokens...)}
}
