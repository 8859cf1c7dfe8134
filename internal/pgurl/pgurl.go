// Package pgurl takes the password out of the URL of a PostgreSQL database, so that the rest can be shown and written down.
package pgurl

import (
	"errors"
	"net/url"
	"strings"
)

// Is says whether a name is the URL of a PostgreSQL database, and not a file.
func Is(name string) bool {
	return strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
}

// URL is a database's URL taken apart.
type URL struct {
	Shown       string // without the password
	Password    string
	HasPassword bool // a password stands in the URL, if an empty one
}

// errURL says nothing of the URL itself: what could not be read may be a password.
var errURL = errors.New("a URL that cannot be read: want postgres://USER@HOST:PORT/DATABASE; in a password, write : / ? # @ % and the space as %3A %2F %3F %23 %40 %25 %20")

// Parse takes a URL apart. Its errors do not quote it.
func Parse(raw string) (URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Fragment != "" || u.User == nil && strings.Contains(raw, "@") {
		return URL{}, errURL
	}
	var out URL
	if u.User != nil {
		if out.Password, out.HasPassword = u.User.Password(); out.HasPassword {
			u.User = url.User(u.User.Username())
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return URL{}, errURL
	}
	if q.Has("sslpassword") {
		return URL{}, errors.New("a URL with sslpassword: give it in the environment, as PGSSLPASSWORD")
	}
	if q.Has("password") {
		out.Password, out.HasPassword = q.Get("password"), true
		q.Del("password")
		u.RawQuery = q.Encode()
	}
	out.Shown = u.String()
	return out, nil
}

// Written refuses a URL that may not stand in a file which is copied and shown, as recipes are: one with a password. Other
// names pass.
func Written(name string) error {
	if !Is(name) {
		return nil
	}
	u, err := Parse(name)
	if err == nil && u.HasPassword {
		return errors.New("a URL with a password, and a recipe is copied and shown: leave it out, and give it as PGPASSWORD or in ~/.pgpass")
	}
	return err
}
