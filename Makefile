# Plumb: `make quickstart` shows the whole chain, `make test` proves it. `make` lists everything.
SHELL := /bin/sh
.DEFAULT_GOAL := help
TOOLCHAIN := .cache/toolchain.mk
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
# A C compiler that came after the setup is used.
ifneq ($(shell grep -s 'CGO := 0' $(TOOLCHAIN)),)
ifneq ($(shell command -v cc || command -v gcc || command -v clang),)
$(shell rm -f $(TOOLCHAIN))
endif
endif
include $(TOOLCHAIN)
endif
export CGO_ENABLED := $(CGO)
ifdef CC
export CC
endif
TOOL := $(GO) tool -modfile=tools/go.mod
SEEDS ?= 10
KILLS ?= 10
CHAOSFLAGS ?=
SEEDSFLAGS ?=
FUZZTIME ?= 20s
BENCHTIME ?= 300ms
BENCHFLAGS ?=
GOTESTFLAGS ?=
ENGINE := ./internal/kernels ./internal/tensor ./internal/model
VARIANTFLAGS ?= -short

$(TOOLCHAIN): scripts/setup.sh go.mod
	@scripts/setup.sh $@

.PHONY: help setup build quickstart test lint lint-c load race noasm variants sanitizers ci-full arm fuzz bench bench-all bench-ceiling bench-peers bench-gate large plan-check tales tales-seeds chaos check-peft check-studio check-argilla clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(TOOLCHAIN) ## check for Go and a C compiler, install what is missing where possible
	@echo "Go: $(GO)   C compiler: $(if $(filter 1,$(CGO)),$(CC),none, pure Go arithmetic)"

build: ## build bin/plumb
	$(GO) build -o bin/plumb ./cmd/plumb

quickstart: build ## sft, pairs, labels, reward, ppo and eval of the embedded model; under 4 minutes on two slow cores
	@rm -rf runs/quickstart
	bin/plumb run recipes/quickstart.yaml

test: ## every test
	$(GO) test $(GOTESTFLAGS) ./...

lint: lint-c ## gofumpt, vet, staticcheck, the import rules, C with -Wall -Wextra -Werror
	@bad=$$($(TOOL) gofumpt -l tools $$($(GO) list -f '{{.Dir}}' ./...)); if [ -n "$$bad" ]; then echo "not formatted (run gofumpt -w on):"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	cd tools && $(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) test ./internal/arch

lint-c:
	@if [ "$(CGO)" = 1 ]; then for f in internal/kernels/*_$$($(GO) env GOARCH).c; do [ -e "$$f" ] || continue; echo "cc -Wall -Wextra -Werror $$f"; $(CC) -O3 -std=c11 -ffp-contract=off -Wall -Wextra -Werror -fsyntax-only $$f || exit 1; done; else echo "no C compiler: C not checked"; fi

race: ## the tests under the race detector, which wants a C compiler
	@if [ "$(CGO)" = 1 ]; then set -x; $(GO) test -race -short ./...; else echo "no C compiler: no race detector"; fi

noasm: ## build and test the pure Go arithmetic
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) test $(VARIANTFLAGS) $(ENGINE)

load: ## 50 people label 10,000 items over SSH as fast as they are answered, in a file and in PostgreSQL: none lost, none doubled; latency
	PLUMB_LOAD=1 $(GO) test -count 1 -v -timeout 20m -run '^TestManyLabelersOverSSH$$' ./labeling

variants: noasm ## the engine's tests in pure Go, and with C on the definitions of the kernels
	PLUMB_KERNELS=generic $(GO) test $(VARIANTFLAGS) $(ENGINE)

sanitizers: ## the engine's tests under the race detector and under AddressSanitizer
	@if [ "$(CGO)" != 1 ]; then echo "no C compiler: neither the race detector nor AddressSanitizer"; exit; fi; set -ex; \
	$(GO) test -race $(VARIANTFLAGS) $(ENGINE); \
	[ "$$($(GO) env GOOS)" != linux ] || $(GO) test -asan $(VARIANTFLAGS) $(ENGINE)

ci-full: ## every test without its short cuts, every variant, ten kills a stage, fuzzing: hours
	$(MAKE) lint
	PLUMB_LOAD=1 $(MAKE) test GOTESTFLAGS='-count=1 -timeout 60m'
	$(MAKE) variants sanitizers VARIANTFLAGS='-timeout 60m'
	$(MAKE) large race chaos fuzz quickstart

arm: ## build for 64-bit ARM and test its kernels in an emulator (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)
	CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc $(GO) build ./...
	CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc $(GO) test -exec "qemu-aarch64 -L /usr/aarch64-linux-gnu" ./internal/kernels

fuzz: ## every fuzz target for FUZZTIME each
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

bench: ## kernels in the shapes of 135M, 1B and 8B models: ns, GFLOP/s, GB/s, share of the ceiling
	$(GO) test -run '^$$' -bench '^BenchmarkShapes$$' -benchtime $(BENCHTIME) -timeout 60m ./internal/kernels

bench-all: ## every benchmark, five times
	$(GO) test -run '^$$' -bench . -benchmem -count 5 -timeout 4h ./...

bench-ceiling: build ## what this machine gives: a large product and memory, one thread and all, ours and torch's; kept for perf/mfu
	python3 scripts/bench_ceiling.py bin/plumb $(BENCHFLAGS)

bench-peers: build bin/kernels.test ## the same work in TRL, transformers, llama.cpp, torch and here, in turn: bench-peers.json (hours)
	python3 scripts/bench_peers.py bin/plumb bin/kernels.test $(BENCHFLAGS)

bench-gate: ## fail if a ratio of bench-peers.json is 10 % below the committed one on the same processor
	python3 scripts/bench_gate.py bench-peers.json docs/results/bench-peers.json

bin/kernels.test: $(TOOLCHAIN) FORCE
	$(GO) test -c -o $@ ./internal/kernels

FORCE:

large: ## LoRA steps on 1.1 billion parameters in NF4 within 2 GB of memory; perplexity of the real model on a long text; minutes
	PLUMB_LARGE=1 $(GO) test -count 1 -run TestBillionWithinTwoGigabytes -v -timeout 60m ./internal/model
	PLUMB_LARGE=1 $(GO) test -count 1 -run TestSmolLM2PerplexityOfALongText -v -timeout 60m ./internal/model

chaos: build bin/chaos ## kill plumb run in every stage, ten times each; compare what comes out with an undisturbed run: chaos.json
	bin/chaos -kills $(KILLS) -out chaos.json bin/plumb recipes/chaos.yaml runs/chaos $(CHAOSFLAGS)

bin/chaos bin/seeds: bin/%: tools/%/main.go $(TOOLCHAIN)
	cd tools && $(GO) build -o ../$@ ./$*

plan-check: build ## plumb plan beside the recipe itself, on PLANRECIPE (default recipes/chaos.yaml); wants a quiet machine
	python3 scripts/plan_check.py bin/plumb $(or $(PLANRECIPE),recipes/chaos.yaml) $(PLANFLAGS)

tales: build ## pretrain the embedded base anew, say whether its bits are those recorded (half an hour on two cores)
	scripts/tales.sh bin/plumb

tales-seeds: build bin/seeds ## the quickstart under SEEDS seeds, table in docs/results; SEEDSFLAGS=-keep goes on with what is there
	bin/seeds -n $(SEEDS) $(SEEDSFLAGS) -out docs/results/tales-seeds.md bin/plumb recipes/quickstart.yaml runs

check-peft: build ## what is exported, loaded in PEFT and transformers where those are installed (PYTHON=python3)
	$${PYTHON:-python3} scripts/check_peft.py bin/plumb

check-studio: build ## label stores sent to Label Studio and read back, where it is installed (STUDIO=label-studio)
	$${PYTHON:-python3} scripts/check_studio.py bin/plumb $${STUDIO:-label-studio}

check-argilla: build ## label stores sent to the Argilla of ARGILLA_API_URL and ARGILLA_API_KEY and read back (PYTHON=python3 with its SDK)
	$${PYTHON:-python3} scripts/check_argilla.py bin/plumb

clean: ## remove what was built (runs are kept)
	rm -rf bin .cache
