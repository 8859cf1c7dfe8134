#!/bin/sh
# Finds or installs what a build needs, and writes it down for make: the Go command and whether C can be compiled.
#
#   scripts/setup.sh FILE     writes FILE (makefile syntax): GO, CGO
#
# A C compiler comes through apt (as root) and is optional: without one the pure Go arithmetic is built. Go comes from the
# machine, else from apt where the distribution's is new enough to fetch the toolchain that go.mod pins, else as that
# toolchain itself through an older go. Where nothing can be installed, the exact line to type is printed.
set -eu
out=${1:?usage: scripts/setup.sh FILE}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
want=$(sed -n 's/^toolchain go//p' "$root/go.mod")
say() { printf 'setup: %s\n' "$*" >&2; }
apt_as_root() { command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; }

apt_install() {
	say "installing $* with apt-get"
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null
}

# c_arch is the machine's architecture as Go names it.
c_arch() {
	case $(uname -m) in
	x86_64 | amd64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) echo other ;;
	esac
}

c_works() {
	command -v "$1" >/dev/null 2>&1 || return 1
	t=$(mktemp -d)
	printf '#include <stdint.h>\n#include <math.h>\nint main(void){return (int)fabs(0.0);}\n' >"$t/a.c"
	works=0
	"$1" -o "$t/a" "$t/a.c" -lm >/dev/null 2>&1 || works=1
	for k in "$root"/internal/kernels/*_"$(c_arch)".c; do # knows the processor's instructions, or is of no use here
		[ ! -e "$k" ] || "$1" -std=c11 -O1 -fsyntax-only "$k" >/dev/null 2>&1 || works=1
	done
	rm -rf "$t"
	return $works
}

find_cc() {
	for c in ${CC:-} cc gcc clang; do
		if c_works "$c"; then echo "$c"; return; fi
	done
}

# go_minor prints the minor version of a go command (26 for go1.26.8), or 0.
go_minor() {
	v=$(cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p')
	echo "${v:-0}"
}

find_go() {
	for g in ${GO:-} go "$root/.cache/go/bin/go" /usr/local/go/bin/go "$HOME/go/bin/go" /usr/lib/go-1.2[1-9]/bin/go; do
		p=$(command -v "$g" 2>/dev/null) || continue
		[ "$(go_minor "$p")" -ge 21 ] && { echo "$p"; return; }
	done
}

# An older go cannot follow go.mod's toolchain line, but it can download the same toolchain as a module.
toolchain_by_old_go() {
	old=$(command -v go 2>/dev/null) || return 0
	[ "$(go_minor "$old")" -ge 16 ] || return 0
	os=$(cd / && "$old" env GOOS)
	arch=$(cd / && "$old" env GOARCH)
	say "go is older than 1.21: fetching toolchain go$want as a module"
	t=$(mktemp -d)
	(cd "$t" && "$old" mod init setup >/dev/null 2>&1 && "$old" mod download "golang.org/toolchain@v0.0.1-go$want.$os-$arch") >&2 || { rm -rf "$t"; return 0; }
	src=$(cd "$t" && "$old" env GOMODCACHE)/golang.org/toolchain@v0.0.1-go$want.$os-$arch
	rm -rf "$t"
	[ -d "$src" ] || return 0
	mkdir -p "$root/.cache"
	rm -rf "$root/.cache/go" "$root/.cache/go.tmp"
	cp -R "$src" "$root/.cache/go.tmp"
	chmod -R u+w "$root/.cache/go.tmp"
	chmod +x "$root/.cache/go.tmp"/bin/* "$root/.cache/go.tmp"/pkg/tool/*/* 2>/dev/null || true
	mv "$root/.cache/go.tmp" "$root/.cache/go"
	echo "$root/.cache/go/bin/go"
}

cc=$(find_cc)
if [ -z "$cc" ] && apt_as_root; then
	apt_install gcc libc6-dev || say "apt-get could not install a C compiler"
	cc=$(find_cc)
fi
if [ -z "$cc" ]; then
	case $(uname -s) in
	Darwin) line='xcode-select --install' ;;
	*) line='sudo apt-get install -y gcc libc6-dev' ;;
	esac
	say "no C compiler: building the pure Go arithmetic, which works but is many times slower. For the fast one type:"
	say "    $line"
fi

go=$(find_go)
if [ -z "$go" ] && ! command -v go >/dev/null 2>&1 && apt_as_root; then
	apt_install golang-go ca-certificates || say "apt-get could not install Go"
	go=$(find_go)
fi
[ -n "$go" ] || go=$(toolchain_by_old_go)
if [ -z "$go" ]; then
	case $(uname -s) in
	Darwin) line='brew install go' ;;
	*) line="sudo apt-get install -y golang-go ca-certificates    (or a Go from https://go.dev/dl, 1.21 or newer)" ;;
	esac
	say "no usable Go (1.21 or newer; it fetches go$want by itself). Type this, then run make again:"
	say "    $line"
	exit 1
fi
if ! (cd "$root" && "$go" version >/dev/null 2>&1); then
	(cd "$root" && "$go" version) >&2 || true
	say "$go could not provide go$want, which go.mod asks for: let it download the toolchain once, or install Go $want"
	exit 1
fi

mkdir -p "$(dirname "$out")"
{
	echo "GO := $go"
	if [ -n "$cc" ]; then printf 'CGO := 1\nCC := %s\n' "$cc"; else echo 'CGO := 0'; fi
} >"$out.tmp"
mv "$out.tmp" "$out"
