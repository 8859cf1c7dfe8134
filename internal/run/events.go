package run

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// eventFile writes TensorBoard's event format: TFRecord frames (tensorflow/core/lib/io/record_writer.h)
//
//	uint64 length | uint32 masked CRC32C of length | data | uint32 masked CRC32C of data
//
// around Event messages (tensorflow/core/util/event.proto): wall_time=1 double,
// step=2 int64, file_version=3 string, summary=5 {value=1 {tag=1, simple_value=2 float}}.
type eventFile struct {
	w io.Writer
}

// newEventFile writes the version record where the file is empty.
func newEventFile(a *Appended) (*eventFile, error) {
	e := &eventFile{w: a}
	if a.Size() > 0 {
		return e, nil
	}
	ev := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	ev = protowire.AppendFixed64(ev, 0)
	ev = protowire.AppendTag(ev, 3, protowire.BytesType)
	ev = protowire.AppendString(ev, "brain.Event:2")
	return e, e.record(ev)
}

func (e *eventFile) scalars(step int, kvs []KV) error {
	var summary []byte
	for _, kv := range kvs {
		if math.IsNaN(kv.Value) || math.IsInf(kv.Value, 0) {
			continue
		}
		v := protowire.AppendTag(nil, 1, protowire.BytesType)
		v = protowire.AppendString(v, kv.Key)
		v = protowire.AppendTag(v, 2, protowire.Fixed32Type)
		v = protowire.AppendFixed32(v, math.Float32bits(float32(kv.Value)))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType)
		summary = protowire.AppendBytes(summary, v)
	}
	ev := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	ev = protowire.AppendFixed64(ev, math.Float64bits(float64(step)))
	ev = protowire.AppendTag(ev, 2, protowire.VarintType)
	ev = protowire.AppendVarint(ev, uint64(step))
	ev = protowire.AppendTag(ev, 5, protowire.BytesType)
	ev = protowire.AppendBytes(ev, summary)
	return e.record(ev)
}

func (e *eventFile) record(data []byte) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b[:8]))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(data))
	_, err := e.w.Write(b)
	return err
}

// maskedCRC is tensorflow/core/lib/hash/crc32c.h: ((crc >> 15) | (crc << 17)) + 0xa282ead8.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}
