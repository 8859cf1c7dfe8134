package labeling

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"
)

// clientConfig is how a client in this process logs in.
func clientConfig(t *testing.T, sv *served, name string) *gossh.ClientConfig {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(sv.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, HostKeyCallback: gossh.InsecureIgnoreHostKey(), Timeout: 20 * time.Second,
	}
}

// dial is a client in this process.
func dial(t *testing.T, sv *served, name string) *gossh.Client {
	t.Helper()
	c, err := gossh.Dial("tcp", sv.addr, clientConfig(t, sv, name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Many people at once, as fast as they are answered: every label is there once, no item is judged twice. Latency is what a
// person at a terminal sees: from the key to the screen's answer.
func TestManyLabelersOverSSH(t *testing.T) { onBackendsInTurn(t, testManyLabelersOverSSH) }

func testManyLabelersOverSSH(t *testing.T) {
	people, each := 8, 10
	if os.Getenv("PLUMB_LOAD") != "" {
		people, each = 50, 200
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var names []string
	for i := range people {
		names = append(names, fmt.Sprintf("p%02d", i))
	}
	sv := startServer(t, people*(each+1), names, ServeOptions{}) // whoever is done holds one item more until they leave
	var mu sync.Mutex
	var waits []time.Duration
	var wg sync.WaitGroup
	for _, name := range names {
		client := dial(t, sv, name)
		wg.Go(func() {
			defer client.Close()
			took, err := labelOverSSH(client, each)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, took...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	js, err := sv.store.Judgements(context.Background())
	if err != nil || len(js) != people*each {
		t.Errorf("%d labels, want %d, %v", len(js), people*each, err)
	}
	by := map[string]int{}
	for i, j := range js {
		by[j.Event.Annotator]++
		if i > 0 && js[i-1].Item.Seq == j.Item.Seq {
			t.Errorf("item %d was judged by %s and %s", j.Item.Seq, js[i-1].Event.Annotator, j.Event.Annotator)
		}
	}
	for _, name := range names {
		if by[name] != each {
			t.Errorf("%s: %d labels, %d were acknowledged", name, by[name], each)
		}
	}
	sv.end()
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		t.Logf("%d labels by %d people: median %v, 99 %% within %v, longest %v", n, people, waits[n/2], waits[n*99/100], waits[n-1])
	}
}

// labelOverSSH judges n items, waiting for each answer. The two keys take turns, so that each answer changes the screen.
func labelOverSSH(client *gossh.Client, n int) ([]time.Duration, error) {
	s, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		return nil, err
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Shell(); err != nil {
		return nil, err
	}
	seen := make(chan string, 1<<16)
	go func() {
		defer close(seen)
		buf := make([]byte, 1<<15)
		for {
			k, err := out.Read(buf)
			if k > 0 {
				seen <- string(buf[:k])
			}
			if err != nil {
				return
			}
		}
	}()
	tail := ""
	await := func(want string) error {
		limit := time.After(30 * time.Second)
		for {
			if i := strings.Index(tail, want); i >= 0 {
				tail = tail[i+len(want):]
				return nil
			}
			select {
			case more, ok := <-seen:
				if !ok {
					return fmt.Errorf("the connection ended before %q", want)
				}
				tail += more
			case <-limit:
				return fmt.Errorf("%q never came after %q", want, tail)
			}
		}
	}
	if err := await("item "); err != nil {
		return nil, err
	}
	var waits []time.Duration
	for i := range n {
		start := time.Now()
		io.WriteString(in, []string{"1", "="}[i%2])
		if err := await([]string{"✓ 1 ", "✓ = "}[i%2]); err != nil {
			return waits, err
		}
		waits = append(waits, time.Since(start))
	}
	io.WriteString(in, "q")
	return waits, s.Wait()
}
