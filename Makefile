# The few commands that building, trying and changing pgstream takes. `make` lists them.

.DEFAULT_GOAL := help

# How long `make fuzz` runs each target.
FUZZ_SECONDS ?= 30
# How often `make crash` kills the program, at the random moments of CRASH_SEED.
CRASH_KILLS ?= 60
CRASH_SEED ?= 4
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install PostgreSQL with wal2json, and a C compiler, where they are missing
	@.ci/setup

# Without optimisation: a newcomer waits less for the compiler, and the demonstration is fast enough.
.PHONY: demo
demo: setup ## Show row changes of a throwaway PostgreSQL becoming webhooks
	@cargo run --locked -- demo

.PHONY: build
build: ## Build the optimised program, target/release/pgstream
	cargo build --locked --release

# Most of what a test does is wait, for servers and for time to pass.
.PHONY: test
test: setup ## Run all tests, those against a real PostgreSQL included
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) + 2))} cargo test --locked --workspace

# The suites of what differs between releases of PostgreSQL: preconditions, connections, slots, plans.
SUITES_17 ?= preconditions:: tls:: store:: status:: check:: failover:: reconnecting:: watch:: unsendable:: ddl::

.PHONY: test-17
test-17: setup ## Run the suites SUITES_17 on PostgreSQL 17, which is unpacked for them and not installed
	PGSTREAM_PG_BIN=$$(.ci/postgres17 target/postgres17) && export PGSTREAM_PG_BIN && \
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) + 2))} cargo test --locked --test integration -- $(SUITES_17)

.PHONY: crash
crash: setup ## Kill the program CRASH_KILLS times under load and account for every change
	CRASH_KILLS=$(CRASH_KILLS) CRASH_SEED=$(CRASH_SEED) cargo test --locked --release --test integration -- --nocapture crash::

.PHONY: regress
regress: setup ## Run PostgreSQL's own regression suite without pgstream and streaming, and compare
	@tests/regress/fetch.sh target/regress
	cargo test --locked --release --test integration -- --ignored --nocapture regress::

.PHONY: check
check: ## Check formatting, lints and documentation
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: bench
bench: ## Measure the decode path
	cargo bench --locked --bench codec --bench wal2json

.PHONY: bench-pipeline
bench-pipeline: setup ## Measure the whole way from a row change to a webhook, on a machine that does nothing else
	cargo bench --locked --bench pipeline

.PHONY: bench-ddl
bench-ddl: setup ## Measure what the schema log adds to statements that change a table
	cargo bench --locked --bench pipeline -- ddl

.PHONY: fuzz
fuzz: ## Fuzz the wire codec and the wal2json parser, FUZZ_SECONDS each
	@.ci/setup fuzz
	@set -e; for target in $(FUZZ_TARGETS); do \
	  mkdir -p "fuzz/corpus/$$target"; \
	  cargo fuzz run --sanitizer none -O "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
	    -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1; \
	done
