package labeling

import (
	"context"
	"path/filepath"
	"testing"
)

// judgedPairs are pairs from..to-1, each with a judgement.
func judgedPairs(from, to int) []Labelled {
	var out []Labelled
	for i := from; i < to; i++ {
		d := Prefer(i%2, 1+i%Much)
		out = append(out, Labelled{Item: pair(i), Annotator: "ann", Decision: &d})
	}
	return out
}

// searched is what the server has done to find rows in a transaction so far: how often it went through all of a table, and
// how many rows it looked at. Of sessions there is one.
func searched(t *testing.T, tx *batch) (scans, rows int) {
	t.Helper()
	err := tx.row(context.Background(), `SELECT sum(seq_scan), sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
		FROM pg_stat_xact_user_tables WHERE schemaname = current_schema() AND relname <> 'sessions'`).Scan(&scans, &rows)
	if err != nil {
		t.Fatal(err)
	}
	return scans, rows
}

// bringJudged adds as an import does, within a transaction.
func bringJudged(_ *testing.T, tx *batch, s *Store, list []Labelled) error {
	sessions, res := map[string]*Session{}, Ingested{}
	for _, l := range list {
		if err := s.ingestOne(context.Background(), tx, sessions, l, &res); err != nil {
			return err
		}
	}
	return nil
}

// bringStore merges a store that holds the list.
func bringStore(t *testing.T, tx *batch, _ *Store, list []Labelled) error {
	src := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer src.Close()
	if _, err := src.AddLabelled(context.Background(), list); err != nil {
		return err
	}
	return mergeStore(context.Background(), tx, src, &Merged{})
}

// However short the tables were when the server last counted their rows, late in an import it does not go through all that
// came before for each new row.
func TestALongImportFindsItsRows(t *testing.T) {
	if testing.Short() {
		t.Skip("imports thousands of judgements")
	}
	const many, more = 2*manyWrites + 200, 200
	ctx := context.Background()
	counted := func(s *Store) error { _, err := s.db.Exec(s.d.measure); return err }
	queued := func(s *Store) error {
		queue := judgedPairs(0, many+more)
		for i := range queue {
			queue[i].Decision = nil
		}
		_, err := s.AddLabelled(ctx, queue)
		return err
	}
	onServer(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			before func(*Store) error
			bring  func(*testing.T, *batch, *Store, []Labelled) error
		}{{"import", counted, bringJudged}, {"merge", counted, bringStore}, {"judgements of a queue", queued, bringJudged}} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := newTestStore(t)
				if err := c.before(s); err != nil {
					t.Fatal(err)
				}
				err := s.tx(ctx, func(tx *batch) error {
					if err := c.bring(t, tx, s, judgedPairs(0, many)); err != nil {
						return err
					}
					scansBefore, rowsBefore := searched(t, tx)
					if err := c.bring(t, tx, s, judgedPairs(many, many+more)); err != nil {
						return err
					}
					scans, rows := searched(t, tx)
					if scans, rows = scans-scansBefore, rows-rowsBefore; scans >= more || rows > 100*more {
						t.Errorf("with %d judgements there, the server goes %d times through a table and looks at %d rows to add %d more", many, scans, rows, more)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}
