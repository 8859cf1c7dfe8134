-- +goose Up
PRAGMA application_id = 1347177805; -- "PLUM" + 1: marks the file as a label store

-- An item is one thing to be judged. seq is the order of the queue; hash is the content, so adding twice adds once.
CREATE TABLE items (
  seq     INTEGER PRIMARY KEY,
  hash    TEXT NOT NULL UNIQUE, -- sha256 of mode, prompt and answers (in any order), hex
  mode    TEXT NOT NULL,        -- compare | rank | single | rate
  grp     TEXT NOT NULL,        -- items that came of one ranking share it
  prompt  TEXT NOT NULL,        -- JSON: a string or a list of {role, content}
  answers TEXT NOT NULL,        -- JSON: list of {text | turns, source, model, seed, logprob, meta}
  tags    TEXT NOT NULL,        -- JSON: list of strings
  meta    TEXT NOT NULL         -- JSON: object
) STRICT;

-- A session is one person sitting down once (or one import).
CREATE TABLE sessions (
  id        TEXT PRIMARY KEY,   -- random
  annotator TEXT NOT NULL,
  seed      TEXT NOT NULL,      -- decimal; draws the sides
  origin    TEXT NOT NULL,      -- tui | plain | import | api
  started   INTEGER NOT NULL    -- unix microseconds
) STRICT;

-- The log. (session, n) names an event everywhere, also after stores were merged.
CREATE TABLE events (
  id             INTEGER PRIMARY KEY,
  session        TEXT NOT NULL REFERENCES sessions(id),
  n              INTEGER NOT NULL,  -- 1, 2, 3 ... within the session
  at             INTEGER NOT NULL,  -- unix microseconds, strictly increasing within a store even when the clock is set back
  annotator      TEXT NOT NULL,
  kind           TEXT NOT NULL,     -- judge | later | note | tags | undo | redo
  item           INTEGER NOT NULL REFERENCES items(seq),
  shown          TEXT NOT NULL,     -- JSON: answer indexes in the order they were shown, left (or upper) first
  choice         TEXT NOT NULL,     -- win | tie | both_bad | cant_say; '' unless kind is judge
  ranking        TEXT NOT NULL,     -- JSON: answer indexes, best first; for win [winner, loser]
  strength       INTEGER NOT NULL,  -- 4 much ... 1 slightly, 0 not said
  margin         REAL,              -- only where the source of an import gave its own
  ms             INTEGER NOT NULL,  -- how long the item was on the screen
  data           TEXT NOT NULL,     -- JSON: note, tags, and what else a mode needs
  target_session TEXT NOT NULL,     -- undo, redo: the event they act on
  target_n       INTEGER NOT NULL,
  UNIQUE (session, n)
) STRICT;
CREATE INDEX events_target ON events(target_session, target_n, at) WHERE target_session <> '';
CREATE INDEX events_at ON events(at);
CREATE INDEX events_item ON events(item, annotator, at);

-- What is in force: derived from the log by the triggers below, never written otherwise.
CREATE TABLE actions (
  event     INTEGER PRIMARY KEY REFERENCES events(id),
  annotator TEXT NOT NULL,
  item      INTEGER NOT NULL,
  kind      TEXT NOT NULL,
  at        INTEGER NOT NULL,
  undone    INTEGER NOT NULL -- at of the undo, 0 while in force
) STRICT;
CREATE INDEX actions_undo ON actions(annotator, undone, at);
CREATE INDEX actions_at ON actions(annotator, at);
CREATE INDEX actions_item ON actions(item, kind, undone, annotator, at);

-- The items that nobody's judgement in force decides; derived too, so that the next item is found at once in any store.
CREATE TABLE undecided (item INTEGER PRIMARY KEY) STRICT;

-- +goose StatementBegin
CREATE TRIGGER items_new AFTER INSERT ON items BEGIN
  INSERT INTO undecided (item) VALUES (NEW.seq);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER events_act AFTER INSERT ON events WHEN NEW.kind NOT IN ('undo', 'redo') BEGIN
  INSERT INTO actions (event, annotator, item, kind, at, undone)
  VALUES (NEW.id, NEW.annotator, NEW.item, NEW.kind, NEW.at, coalesce((
    SELECT CASE u.kind WHEN 'undo' THEN u.at ELSE 0 END FROM events u
    WHERE u.target_session = NEW.session AND u.target_n = NEW.n AND u.target_session <> ''
    ORDER BY u.at DESC, u.session DESC, u.n DESC LIMIT 1), 0));
  DELETE FROM undecided WHERE item = NEW.item
    AND EXISTS (SELECT 1 FROM actions a WHERE a.item = NEW.item AND a.kind = 'judge' AND a.undone = 0);
  INSERT OR IGNORE INTO undecided (item) SELECT NEW.item
    WHERE NOT EXISTS (SELECT 1 FROM actions a WHERE a.item = NEW.item AND a.kind = 'judge' AND a.undone = 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER events_undo AFTER INSERT ON events WHEN NEW.kind IN ('undo', 'redo') BEGIN
  UPDATE actions SET undone = (
    SELECT CASE u.kind WHEN 'undo' THEN u.at ELSE 0 END FROM events u
    WHERE u.target_session = NEW.target_session AND u.target_n = NEW.target_n AND u.target_session <> ''
    ORDER BY u.at DESC, u.session DESC, u.n DESC LIMIT 1)
  WHERE event = (SELECT id FROM events WHERE session = NEW.target_session AND n = NEW.target_n);
  DELETE FROM undecided WHERE item = NEW.item
    AND EXISTS (SELECT 1 FROM actions a WHERE a.item = NEW.item AND a.kind = 'judge' AND a.undone = 0);
  INSERT OR IGNORE INTO undecided (item) SELECT NEW.item
    WHERE NOT EXISTS (SELECT 1 FROM actions a WHERE a.item = NEW.item AND a.kind = 'judge' AND a.undone = 0);
END;
-- +goose StatementEnd

-- The judgement in force of each person on each item.
CREATE VIEW judgements AS
SELECT e.* FROM actions a JOIN events e ON e.id = a.event
WHERE a.kind = 'judge' AND a.undone = 0 AND NOT EXISTS (
  SELECT 1 FROM actions b WHERE b.item = a.item AND b.kind = 'judge' AND b.undone = 0
    AND b.annotator = a.annotator AND (b.at > a.at OR (b.at = a.at AND b.event > a.event)));

-- Nothing is ever changed or deleted.
-- +goose StatementBegin
CREATE TRIGGER items_keep BEFORE UPDATE ON items BEGIN SELECT RAISE(ABORT, 'items are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER items_stay BEFORE DELETE ON items BEGIN SELECT RAISE(ABORT, 'items are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_keep BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'sessions are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_stay BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'sessions are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER events_keep BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
-- +goose StatementEnd
