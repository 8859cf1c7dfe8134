package model

import "plumb/internal/kernels"

// Pages is the memory of caches: pages of kernels.KeyTile positions, taken as sequences grow, shared by those that begin alike, and
// used again once nobody has them. It and its caches are for one goroutine.
type Pages struct {
	layout kernels.KVLayout
	free   []*page
	made   int // used now or not
}

type page struct {
	*kernels.KVPage
	users int
}

// NewPages returns the memory of caches that hold keys and values in a form. With any but kernels.KVFloat32 hidden states are not
// Hidden's to the bit.
func (m *Model) NewPages(t kernels.KVType) *Pages {
	return &Pages{layout: kernels.KVLayout{Type: t, Blocks: m.Layers, KV: m.KVHeads, D: m.HeadDim}}
}

func (p *Pages) take() *page {
	n := len(p.free)
	if n == 0 {
		p.made++
		return &page{kernels.NewKVPage(p.layout), 1}
	}
	x := p.free[n-1]
	p.free, x.users = p.free[:n-1], 1
	return x
}

func (p *Pages) drop(x *page) {
	if x.users--; x.users == 0 {
		p.free = append(p.free, x)
	}
}

// Cache holds the keys and values of one sequence, for every block.
type Cache struct {
	of    *Pages
	pages []*page
	seen  []*kernels.KVPage // the same, as the kernels want them
	n     int
}

// NewCache returns an empty cache.
func (p *Pages) NewCache() *Cache { return &Cache{of: p} }

// Len is the number of tokens the cache holds.
func (c *Cache) Len() int { return c.n }

// Truncate forgets all but the first n tokens; what remains was computed from them alone.
func (c *Cache) Truncate(n int) {
	if n < 0 || n > c.n {
		panic("model: Cache: Truncate: out of range")
	}
	c.n = n
	keep := pagesFor(n)
	for _, x := range c.pages[keep:] {
		c.of.drop(x)
	}
	c.pages, c.seen = c.pages[:keep], c.seen[:keep]
}

// ShareFrom makes c hold the first n tokens of src: a prompt is computed once. The two have the pages in common until one of them
// writes to one.
func (c *Cache) ShareFrom(src *Cache, n int) {
	if n < 0 || n > src.n || src.of != c.of || src == c {
		panic("model: Cache: ShareFrom: out of range, or not another cache of these pages")
	}
	c.Truncate(0)
	for _, x := range src.pages[:pagesFor(n)] {
		x.users++
		c.pages, c.seen = append(c.pages, x), append(c.seen, x.KVPage)
	}
	c.n = n
}

// extend makes room for n tokens in all, in pages that are c's own from the first new token on.
func (c *Cache) extend(n int) {
	if i := c.n / kernels.KeyTile; i < len(c.pages) && n > c.n && c.pages[i].users > 1 {
		own := c.of.take()
		own.CopyFrom(c.pages[i].KVPage)
		c.of.drop(c.pages[i])
		c.pages[i], c.seen[i] = own, own.KVPage
	}
	for len(c.pages) < pagesFor(n) {
		x := c.of.take()
		c.pages, c.seen = append(c.pages, x), append(c.seen, x.KVPage)
	}
}

func pagesFor(n int) int { return (n + kernels.KeyTile - 1) / kernels.KeyTile }
