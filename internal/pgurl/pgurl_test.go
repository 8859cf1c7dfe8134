package pgurl

import (
	"strings"
	"testing"
)

// A URL is shown without its password, wherever in it that stands; where the two cannot be told apart nothing is.
func TestParse(t *testing.T) {
	for _, c := range []struct{ raw, shown, password string }{
		{"postgres://ann:s3cret@db.example:5433/labels", "postgres://ann@db.example:5433/labels", "s3cret"},
		{"postgresql://ann:s3%40%2Fcret@db/labels?search_path=team", "postgresql://ann@db/labels?search_path=team", "s3@/cret"},
		{"postgres://ann:s3@cret@db/labels", "postgres://ann@db/labels", "s3@cret"},
		{"postgres://db/labels?user=ann&password=s3cret", "postgres://db/labels?user=ann", "s3cret"},
		{"postgres://ann@/labels?host=/run/pg", "postgres://ann@/labels?host=/run/pg", ""},
		{"postgres://ann:@db/labels", "postgres://ann@db/labels", ""},
	} {
		got, err := Parse(c.raw)
		if err != nil || got.Shown != c.shown || got.Password != c.password {
			t.Errorf("%s: %+v, %v", c.raw, got, err)
		}
	}
	for _, raw := range []string{
		"postgres://ann:s3cret#x@db/labels", "postgres://ann:s3cret/x@db/labels", "postgres://ann:12/s3cret@db/labels", "postgres://ann:1?s3cret@db/labels",
		"postgres://ann:%s3cret@db/labels", "postgres://ann@db/labels?sslpassword=s3cret", "postgres://db/labels?a=%s3cret",
	} {
		if got, err := Parse(raw); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}

func TestWritten(t *testing.T) {
	for name, ok := range map[string]bool{
		"labels.db": true, "a:b@c.db": true, "postgres://ann@db/labels": true, "postgres:///labels": true,
		"postgres://ann:s3cret@db/labels": false, "postgres://ann:@db/labels": false, "postgresql://db/labels?password=s3cret": false, "postgres://ann:12/s3cret@db": false,
	} {
		if err := Written(name); (err == nil) != ok || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
