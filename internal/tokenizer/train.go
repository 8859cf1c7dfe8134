package tokenizer

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"iter"
)

// minPairCount is how often a pair has to occur to become a token.
const minPairCount = 2

// TrainBPE makes a byte-level BPE vocabulary of texts (Sennrich et al. 2016; words cut by GPT-2's expression): the
// special tokens, the 256 bytes, and merges of the most frequent pair, of equals the one with the lower ids, until
// there are vocabSize tokens or no pair occurs twice. Nothing depends on the order of the texts. Special tokens written in
// the texts are taken out. The result's JSON equals what Hugging Face tokenizers' BpeTrainer makes with
// initial_alphabet=ByteLevel.alphabet() and min_frequency=2.
func TrainBPE(texts iter.Seq[string], vocabSize int, special []string) (*Tokenizer, error) {
	if least := len(special) + 256; vocabSize < least || vocabSize > maxVocab {
		return nil, fmt.Errorf("vocabulary of %d tokens: it needs at least %d, the special tokens and 256 bytes, and at most %d",
			vocabSize, least, maxVocab)
	}
	f := &file{
		PreTokenizer: json.RawMessage(fmt.Sprintf(byteLevelJSON, true)),
		Decoder:      json.RawMessage(fmt.Sprintf(byteLevelJSON, true)),
		Model:        modelFile{Type: "BPE", Vocab: make(map[string]int32, vocabSize)},
	}
	for i, s := range special {
		if _, twice := f.Model.Vocab[s]; twice {
			return nil, fmt.Errorf("special token %q is given twice", s)
		}
		f.AddedTokens = append(f.AddedTokens, AddedToken{ID: int32(i), Content: s, Special: true})
		f.Model.Vocab[s] = int32(i)
	}
	tr := &trainer{model: &f.Model, texts: append([]string(nil), special...)}
	for r := rune(0); len(tr.texts) < len(special)+256; r++ { // in order of the alphabet's characters
		if b, ok := alphabetByte(r); ok {
			if _, taken := f.Model.Vocab[string(r)]; taken {
				return nil, fmt.Errorf("special token %q is a character of the byte-level alphabet", string(r))
			}
			tr.bytes[b] = tr.add(string(r))
		}
	}
	added, err := newAddedTokens(f.AddedTokens, &bpe{vocab: f.Model.Vocab, texts: tr.texts}, nil)
	if err != nil {
		return nil, err
	}
	tr.count(texts, &added)
	tr.merge(vocabSize)
	return build(f)
}

// trainer holds the words of the training text as sequences of tokens.
type trainer struct {
	model *modelFile
	texts []string // id -> text
	bytes [256]int32

	words  [][]int32
	counts []int64 // of each word

	pairs  map[uint64]int64   // how often each pair occurs
	places map[uint64][]int32 // words that had the pair at some time
	queue  pairQueue
}

func (tr *trainer) add(s string) int32 {
	if id, ok := tr.model.Vocab[s]; ok { // the same text reached by two ways
		return id
	}
	id := int32(len(tr.texts))
	tr.model.Vocab[s] = id
	tr.texts = append(tr.texts, s)
	return id
}

func (tr *trainer) count(texts iter.Seq[string], added *addedTokens) {
	index := map[string]int32{}
	for text := range texts {
		if text == "" {
			continue
		}
		added.cut(added.raw, piece{text: text}, true, func(*AddedToken, piece) {}, func(p piece) {
			for i := 0; i < len(p.text); {
				j := scanGPT2(p.text, i)
				w, ok := index[p.text[i:j]]
				if !ok {
					w = int32(len(tr.words))
					word := make([]int32, j-i)
					for k := range word {
						word[k] = tr.bytes[p.text[i+k]]
					}
					tr.words, tr.counts = append(tr.words, word), append(tr.counts, 0)
					index[string(append([]byte(nil), p.text[i:j]...))] = w // a copy: the text need not be kept
				}
				tr.counts[w]++
				i = j
			}
		})
	}
}

func (tr *trainer) merge(vocabSize int) {
	tr.pairs, tr.places = map[uint64]int64{}, map[uint64][]int32{}
	for w := range tr.words {
		tr.note(int32(w), nil)
	}
	for pair, n := range tr.pairs {
		tr.queue = append(tr.queue, pairCount{pair, n})
	}
	heap.Init(&tr.queue)
	for len(tr.texts) < vocabSize && len(tr.queue) > 0 {
		top := heap.Pop(&tr.queue).(pairCount)
		if n := tr.pairs[top.pair]; n != top.count {
			if n > 0 && n < top.count {
				heap.Push(&tr.queue, pairCount{top.pair, n})
			}
			continue // it was counted before other merges took some of its places
		}
		if top.count < minPairCount {
			break
		}
		left, right := int32(top.pair>>32), int32(uint32(top.pair))
		id := tr.add(tr.texts[left] + tr.texts[right])
		tr.model.Merges = append(tr.model.Merges, [2]string{tr.texts[left], tr.texts[right]})
		changed := map[uint64]struct{}{}
		places := tr.places[top.pair]
		delete(tr.places, top.pair)
		for _, w := range places {
			tr.join(w, left, right, id, changed)
		}
		delete(tr.pairs, top.pair)
		for pair := range changed {
			if n := tr.pairs[pair]; n > 0 {
				heap.Push(&tr.queue, pairCount{pair, n})
			}
		}
	}
}

// join merges the pair in a word, if it still has it.
func (tr *trainer) join(w, left, right, id int32, changed map[uint64]struct{}) {
	word := tr.words[w]
	has := false
	for i := range len(word) - 1 {
		has = has || word[i] == left && word[i+1] == right
	}
	if !has {
		return
	}
	for i := range len(word) - 1 {
		tr.pairs[pairKey(word[i], word[i+1])] -= tr.counts[w]
	}
	out := word[:0]
	for i := 0; i < len(word); i++ {
		if i+1 < len(word) && word[i] == left && word[i+1] == right {
			out = append(out, id)
			i++
			continue
		}
		out = append(out, word[i])
	}
	tr.words[w] = out
	tr.note(w, changed)
}

// note counts the pairs of a word.
func (tr *trainer) note(w int32, changed map[uint64]struct{}) {
	word := tr.words[w]
	for i := range len(word) - 1 {
		pair := pairKey(word[i], word[i+1])
		tr.pairs[pair] += tr.counts[w]
		if at := tr.places[pair]; len(at) == 0 || at[len(at)-1] != w {
			tr.places[pair] = append(at, w)
		}
		if changed != nil {
			changed[pair] = struct{}{}
		}
	}
}

type pairCount struct {
	pair  uint64
	count int64
}

// pairQueue is a heap with the most frequent pair on top, the lower ids first.
type pairQueue []pairCount

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	return q[i].count > q[j].count || q[i].count == q[j].count && q[i].pair < q[j].pair
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(pairCount)) }
func (q *pairQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
