package labeling

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/internal/rng"
)

// constantsOf are the values of the package's constants of a type of strings, from its source.
func constantsOf(t *testing.T, typ string) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typ && !strings.HasSuffix(name, "_test.go") {
				for _, v := range spec.Values {
					text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, text)
				}
			}
			return true
		})
	}
	slices.Sort(out)
	return out
}

// The sittings that are killed at every write have every kind of event and every choice that the package defines, none left out.
func TestEveryKindIsKilled(t *testing.T) {
	kinds, choices := map[string]bool{}, map[string]bool{}
	for _, k := range killedSittings() {
		k.Store = k.store(t)
		if _, end := k.run(t); !end {
			t.Fatalf("%s does not end", k.name)
		}
		evs, _ := events(t, k.Store)
		for _, e := range evs[len(k.said):] {
			kinds[string(e.Kind)] = true
			if e.Choice != "" {
				choices[string(e.Choice)] = true
			}
		}
	}
	for typ, got := range map[string]map[string]bool{"Kind": kinds, "Choice": choices} {
		if diff := cmp.Diff(constantsOf(t, typ), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%s defined (-) and killed (+):\n%s", typ, diff)
		}
	}
}

// anyKeys are what people may type by chance; those that write come more often.
const anyKeys = "1 2 3 4 5 8 1 2 = b x + - s u u u r r left left right right c c t t e editor / n d w v z f y i g m ? tab down pgdown end esc enter enter enter backspace ö 安"

// People type whatever they like, and each sitting is killed at some write; the next one goes on with the store that it left. The
// log never changes but at its end, it has all that was acknowledged and at most one act more, and the store is its fold.
func TestAnyKeysKilledAnywhere(t *testing.T) { onBackends(t, testAnyKeysKilledAnywhere) }

func testAnyKeysKilledAnywhere(t *testing.T) {
	rounds, sittings := uint64(8), 3
	switch {
	case os.Getenv("PLUMB_LOAD") != "":
		rounds = 200
	case testsServer(t): // takes longer
		rounds = 4
	}
	k := killed{items: append(modeItems()[:3], pairsFrom(1, 23)...)}
	for seq := range int64(21) { // enough that items come again, and some to rule on
		k.said = append(k.said, judged{"ann", seq + 4, Prefer(0, Much)})
		if seq < 3 {
			k.said = append(k.said, judged{"bob", seq + 4, Decision{Choice: Tie}})
		}
	}
	people := []crash{{Annotator: "ann", Repeat: 1}, {Annotator: "bob"}, {Annotator: "eve", Review: true}}
	next, keys := copies(t, k.store(t)), strings.Fields(anyKeys)
	for seed := range rounds {
		r := rng.New(seed, 0xdead)
		place := next()
		before, _ := events(t, place)
		for range sittings {
			c := people[r.IntN(len(people))]
			c.Store, c.At = place, 1+r.IntN(50)
			for range 1 + r.IntN(25) {
				c.Keys = append(c.Keys, keys[r.IntN(len(keys))])
			}
			t.Logf("seed %d: %+v", seed, c)
			if before = checkAnyKill(t, c, len(k.items), before); t.Failed() {
				return
			}
		}
	}
}

// checkAnyKill lets a sitting be killed and looks at the store that it leaves.
func checkAnyKill(t *testing.T, c crash, items int, before []Event) (after []Event) {
	t.Helper()
	acks, end := c.run(t)
	after, holds := events(t, c.Store)
	least := len(before)
	if n := len(acks); n > 0 {
		if _, err := fmt.Sscan(acks[n-1], &least); err != nil {
			t.Fatal(err)
		}
		if end && holds != acks[n-1] {
			t.Errorf("the store holds %s, %s was acknowledged", holds, acks[n-1])
		}
	}
	if n := len(after); n < least || n > least+1 {
		t.Errorf("%d events, %d were acknowledged", n, least)
		return after
	}
	if diff := cmp.Diff(before, after[:len(before)]); diff != "" {
		t.Errorf("the log is another one:\n%s", diff)
	}
	s := openTest(t, c.Store)
	defer s.Close()
	checkStore(t, s)
	checkFold(t, s, c.Annotator, items)
	return after
}
