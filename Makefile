# What a person types. The work is done by cargo and by scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check bench fuzz regress

help: ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## Install what is missing, build, and serve plugin databases from a private PostgreSQL (ARGS="--port 7432")
	scripts/install run
	cargo build --release --locked
	target/release/greenroom dev $(ARGS)

test: ## Install what the tests need and run them all (POSTGRES=14, POSTGRES=18: on another PostgreSQL than the machine's)
	POSTGRES=$(POSTGRES) scripts/install test
	POSTGRES=$(POSTGRES) scripts/test

check: ## Formatting, lints and documentation
	scripts/install check
	cargo fmt --all -- --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
	.cache/hadolint/bin/hadolint Dockerfile

bench: ## Measure: the hot path, then greenroom beside PgBouncer and HAProxy (BENCH_ROUNDS=5 BENCH_ONLY="select|logins")
	scripts/install bench
	cargo bench --locked --bench hot_path
	cargo bench --locked --bench versus

fuzz: ## Fuzz what reads bytes from outside, a minute for each target (nightly; SECONDS_EACH=60)
	scripts/fuzz $(or $(SECONDS_EACH),60)

regress: ## PostgreSQL's own regression tests, directly and through greenroom: nothing may differ (Debian; minutes)
	scripts/install regress
	scripts/regress
