#!/bin/sh
# Pretrains embedded:tales anew and, where it differs from what is there, puts it into internal/tales/base.
#
#   scripts/tales.sh PLUMB
#
# The sums of the files and the kernel set are kept in internal/tales/base/SHA256. On the same kernel set the same sums have
# to come out; the exit status is 1 where they do not. A training that was cut off goes on where it was.
set -eu
plumb=${1:?usage: scripts/tales.sh PLUMB}
base=internal/tales/base
record=$base/SHA256
sum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }
field() { sed -n "s/^ *\"$1\": \"\([^\"]*\)\".*/\1/p" runs/tales-base/sft/run.json | head -n 1; }

if [ -f runs/tales-base/sft/run.json ] && [ "$(field state)" = "done" ]; then rm -rf runs/tales-base; fi
rm -rf runs/tales-seed runs/tales-export
"$plumb" tales runs/tales-seed
"$plumb" sft recipes/tales-base.yaml
"$plumb" export runs/tales-base/sft --out runs/tales-export --dtype bf16

kernels=$(field kernels)
{
	echo "# kernels: $kernels"
	(cd runs/tales-export && sum *)
} >runs/tales-export.sha256
status=0
if [ ! -f "$record" ]; then
	echo "tales: no sums were recorded"
else
	was=$(sed -n 's/^# kernels: //p' "$record")
	if [ "$(grep -v '^#' "$record")" = "$(grep -v '^#' runs/tales-export.sha256)" ]; then
		echo "tales: equal to what was recorded (kernels $was, now $kernels)"
		if (cd "$base" && grep -v '^#' SHA256 | sum -c) >/dev/null 2>&1; then
			rm -f runs/tales-export.sha256
			exit 0
		fi
	else
		echo "tales: different from what was recorded (kernels $was, now $kernels)"
		diff "$record" runs/tales-export.sha256 || true
		if [ "$was" = "$kernels" ]; then status=1; fi
	fi
fi
rm -rf "$base.new"
cp -R runs/tales-export "$base.new"
cp runs/tales-export.sha256 "$base.new/SHA256"
rm -rf "$base"
mv "$base.new" "$base"
rm -f runs/tales-export.sha256
exit $status
