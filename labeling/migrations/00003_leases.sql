-- +goose Up

-- Who is at which item, so that two people are not given the same one: a person holds one lease, and it ends by itself. No
-- part of the log.
CREATE TABLE leases (
  annotator TEXT PRIMARY KEY,
  item      INTEGER NOT NULL,
  until     INTEGER NOT NULL -- unix microseconds
) STRICT;
CREATE INDEX leases_item ON leases(item);
