# make demo    set up, build, and run the lab: what "disable the key" does
# make test    set up and run the tests
# All targets: make help

SHELL  := /bin/bash
PREFIX ?= /usr/local
GO     ?= go

export PATH := $(PATH):/usr/local/go/bin
export CGO_ENABLED := 1

.PHONY: all help setup clients build install demo test test-long sample-volume bench ci fmt vet lint race clean
.DEFAULT_GOAL := all

all: build

help:
	@echo 'make demo               set up, build, run "kmsfs lab key-disable"'
	@echo 'make test               set up, run the tests (a few minutes)'
	@echo 'make test-long          the same with the long runs (an hour or more)'
	@echo 'make build              bin/kmsfs'
	@echo 'make install PREFIX=P   kmsfs and its bash completion under P (default /usr/local)'
	@echo 'make sample-volume      write the sample volumes anew (after a change of the format)'
	@echo 'make bench              Go benchmarks of all packages'
	@echo 'make ci                 format, vet, staticcheck, make test under the race detector, demo'
	@echo 'make clients            further clients of AWS KMS for the tests (sops, AWS Encryption SDK; needs npm)'
	@echo 'make setup              only install what is missing (fuse3, softhsm2, awscli, ...)'
	@echo 'make clean              remove bin/'

setup:
	@.ci/setup

clients: setup
	@.ci/clients

build:
	$(GO) build -trimpath -o bin/kmsfs ./cmd/kmsfs

install: build
	install -D -m 0755 bin/kmsfs $(DESTDIR)$(PREFIX)/bin/kmsfs
	bin/kmsfs completion bash > bin/kmsfs.bash
	install -D -m 0644 bin/kmsfs.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kmsfs

demo: setup build
	bin/kmsfs lab key-disable

test: setup
	$(GO) test -short -timeout 20m $(TESTFLAGS) ./...

test-long: setup
	KMSFS_CRASH_RUNS=1000000 $(GO) test -timeout 6h ./cmd/... ./envelope/... ./fs/... ./hsm/... ./keysvc/...
	$(GO) test -timeout 6h ./integration -long

# Only when the format changes, which it does not once it is frozen: writes integration/testdata/sample-volume anew.
sample-volume: setup
	$(GO) test ./integration -run TestSampleVolumes -update-sample

bench: setup
	$(GO) test -run '^$$' -bench . -benchmem ./...

ci: setup clients fmt vet lint build
	$(MAKE) --no-print-directory test TESTFLAGS=-race
	$(MAKE) --no-print-directory demo

fmt:
	@bad=$$(gofmt -l cmd envelope fs hsm integration keysvc); \
	if [ -n "$$bad" ]; then echo "not formatted (gofmt -w):"; echo "$$bad"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) tool staticcheck ./...

# The daemon that the end-to-end tests mount with is built with the race detector too. It ends at a
# race and leaves a report in bin/.
race:
	@rm -f bin/race.*
	$(GO) build -race -o bin/kmsfs-race ./cmd/kmsfs
	KMSFS=$(CURDIR)/bin/kmsfs-race GORACE="halt_on_error=1 atexit_sleep_ms=0 log_path=$(CURDIR)/bin/race" \
		$(MAKE) --no-print-directory test TESTFLAGS=-race
	@if compgen -G 'bin/race.*' >/dev/null; then cat bin/race.*; exit 1; fi

clean:
	rm -rf bin
