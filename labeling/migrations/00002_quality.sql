-- +goose Up

-- Gold: what is known of an item beforehand, to measure people by. The newest row of an item counts.
CREATE TABLE gold (
  id      INTEGER PRIMARY KEY,
  item    INTEGER NOT NULL REFERENCES items(seq),
  at      INTEGER NOT NULL,  -- unix microseconds
  source  TEXT NOT NULL,     -- the file, or who says so
  choice  TEXT NOT NULL,     -- as in events
  ranking TEXT NOT NULL      -- as in events
) STRICT;
CREATE INDEX gold_item ON gold(item, id);

-- Scores that models gave to the answers of an item, in the order the answers are stored. The newest row of an item and a
-- model counts.
CREATE TABLE scores (
  id     INTEGER PRIMARY KEY,
  item   INTEGER NOT NULL REFERENCES items(seq),
  model  TEXT NOT NULL,
  at     INTEGER NOT NULL,   -- unix microseconds
  scores TEXT NOT NULL       -- JSON: list of numbers, one an answer
) STRICT;
CREATE INDEX scores_item ON scores(item, model, id);

-- A comment while it is typed, so that a killed program does not lose it; emptied when the comment is saved or given up.
-- It is a scratch pad, no part of the log.
CREATE TABLE typing (
  annotator TEXT NOT NULL,
  item      INTEGER NOT NULL,
  text      TEXT NOT NULL,
  PRIMARY KEY (annotator, item)
) STRICT;

CREATE INDEX actions_kind ON actions(kind, item, undone) WHERE kind IN ('adjudicate', 'edit', 'repeat');

-- The adjudication in force of each item: the last one, whoever made it.
CREATE VIEW adjudications AS
SELECT e.* FROM actions a JOIN events e ON e.id = a.event
WHERE a.kind = 'adjudicate' AND a.undone = 0 AND NOT EXISTS (
  SELECT 1 FROM actions b WHERE b.item = a.item AND b.kind = 'adjudicate' AND b.undone = 0
    AND (b.at > a.at OR (b.at = a.at AND b.event > a.event)));

-- What exports and training take: the adjudication where there is one, else everyone's judgement.
CREATE VIEW labels AS
SELECT * FROM adjudications
UNION ALL
SELECT j.* FROM judgements j WHERE NOT EXISTS (
  SELECT 1 FROM actions a WHERE a.kind = 'adjudicate' AND a.item = j.item AND a.undone = 0);

-- +goose StatementBegin
CREATE TRIGGER gold_keep BEFORE UPDATE ON gold BEGIN SELECT RAISE(ABORT, 'gold is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER gold_stay BEFORE DELETE ON gold BEGIN SELECT RAISE(ABORT, 'gold is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER scores_keep BEFORE UPDATE ON scores BEGIN SELECT RAISE(ABORT, 'scores are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER scores_stay BEFORE DELETE ON scores BEGIN SELECT RAISE(ABORT, 'scores are append-only'); END;
-- +goose StatementEnd
