package run

import (
	"strconv"
	"time"
)

const (
	metricsFile = "metrics.jsonl"
	timingFile  = "timing.jsonl"
	eventsFile  = "events.out.tfevents.0.plumb"
)

// Log appends one step's metrics to metrics.jsonl, {"step":N,"key":value,...}
// in the order given, and to the TensorBoard events with the step as wall
// time. A value that is not finite is written as null, left out of the events,
// and counted (NonFinite).
func (s *Stage) Log(step int, kvs []KV) error {
	s.mustBegin("Log")
	a, err := s.Append(metricsFile)
	if err != nil {
		return err
	}
	line := append([]byte(`{"step":`), strconv.Itoa(step)...)
	obj, bad := appendObject(nil, kvs)
	if len(kvs) > 0 {
		line = append(line, ',')
	}
	line = append(append(line, obj[1:]...), '\n')
	if _, err := a.Write(line); err != nil {
		return err
	}
	s.nonFinite += bad
	if s.events == nil {
		ev, err := s.Append(eventsFile)
		if err != nil {
			return err
		}
		if s.events, err = newEventFile(ev); err != nil {
			return err
		}
	}
	return s.events.scalars(step, kvs)
}

// NonFinite is how many metrics were written as null so far.
func (s *Stage) NonFinite() int { return s.nonFinite }

// Timing appends one line to timing.jsonl: the step, the time of day and what
// the clock says (seconds, tokens/s, memory). This file is never cut: a step
// that was done twice took its time twice.
func (s *Stage) Timing(step int, kvs []KV) error {
	s.mustBegin("Timing")
	if s.timing == nil {
		path := s.Path(timingFile)
		n, err := wholeLines(path)
		if err != nil {
			return err
		}
		if s.timing, err = openAppended(path, n); err != nil {
			return err
		}
	}
	line := append([]byte(`{"step":`), strconv.Itoa(step)...)
	line = append(line, `,"time":"`...)
	line = time.Now().UTC().AppendFormat(line, stampFormat)
	line = append(line, '"')
	obj, _ := appendObject(nil, kvs)
	if len(kvs) > 0 {
		line = append(line, ',')
	}
	_, err := s.timing.Write(append(append(line, obj[1:]...), '\n'))
	return err
}
