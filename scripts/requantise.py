#!/usr/bin/env python3
"""Writes a GGUF file anew with its matrices in another type, for llama.cpp and plumb to be compared at equal bytes a weight.

    scripts/requantise.py IN.gguf OUT.gguf F32|BF16|Q8_0

Vectors stay in float32, the metadata is copied. Needs gguf (pip install gguf), whose conversions are llama.cpp's own in Python.
"""
import sys

import gguf


def copy_fields(reader, writer):
    for f in reader.fields.values():
        if f.name.startswith("GGUF.") or f.name in ("general.architecture", "general.file_type"):
            continue
        kind = f.types[0]
        writer.add_key_value(f.name, f.contents(), kind, f.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)


def main():
    if len(sys.argv) != 4 or sys.argv[3] not in ("F32", "BF16", "Q8_0"):
        sys.exit(__doc__)
    source, target, name = sys.argv[1:]
    kind = gguf.GGMLQuantizationType[name]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    copy_fields(reader, writer)
    writer.add_file_type({"F32": gguf.LlamaFileType.ALL_F32, "BF16": gguf.LlamaFileType.MOSTLY_BF16, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[name])
    for t in reader.tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type)
        if len(t.shape) < 2:
            writer.add_tensor(t.name, values, raw_dtype=gguf.GGMLQuantizationType.F32)
            continue
        writer.add_tensor(t.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
