# One line per target; the work is in docker/zk and .ci/. `make help` lists them.
help: ## this list
	@sed -n 's/^\([a-z-]*\): .*## */\1\t/p' Makefile | expand -t 14
up: ## ZooKeeper on 127.0.0.1:2181 (BACKEND=docker|local forces one, ZK_PORT=... moves it)
	@docker/zk up single
up-ensemble: ## three nodes on 127.0.0.1:2181..2183
	@docker/zk up ensemble
up-secure: ## one node with TLS (127.0.0.1:2281) and SASL DIGEST-MD5
	@docker/zk up secure
down: ## stop it; the data stays
	@docker/zk down
clean: ## stop it and delete its data
	@docker/zk clean
demo: ## ZooKeeper, a server with three listeners, a client: who answered
	@.ci/demo
demo-cluster: ## three ZooKeepers, three servers, a client; a server and the leader are killed: what readers saw
	@.ci/demo-cluster
image: ## a container image of time-server alone, built without a registry
	@docker/image
test: ## every test, on a ZooKeeper of its own
	@cargo build -p time-server -p time-client -p zk-registry --features zk-registry/cli --bins && cargo test --workspace --all-features --no-run && .ci/with-zk cargo test --workspace --all-features --no-fail-fast
ci: ## what a change must pass: format, clippy, docs, scripts, features, tests, licences, the packaged crate
	@.ci/checks && .ci/packaged && $(if $(TESTED_APART),:,$(MAKE) --no-print-directory test)
ci-deep: ## `ci`, then tests on ZooKeeper 3.8, oldest Rust, lowest versions, cargo-deny, valgrind, fuzzing; names what is missing
	@$(MAKE) --no-print-directory ci && .ci/deep
bench: ## measure what is promised, beside references (ONLY=view: that alone)
	@.ci/bench $(ONLY)
bench-page: ## docs/BENCHMARKS.md and docs/plots/ from the last figures
	@cargo run --quiet --release -p integration-tests --bin bench -- --page docs/BENCHMARKS.md
fuzz: ## every fuzz target for MINUTES (1); needs cargo-fuzz and Rust nightly
	@.ci/fuzz
strangers: ## the tests of other projects' clients (SUITES) on Apache ZooKeeper and on the server for tests
	@.ci/strangers $(SUITES)
test-peers: ## other people's clients that `test` does without, from PyPI and Debian; names what is missing
	@.ci/peers
diff: ## SEEDS (1000) random scripts on Apache ZooKeeper and on the server for tests, reply by reply
	@cargo run --quiet -p integration-tests --bin diff -- --seeds $${SEEDS:-1000}
soak: ## random faults over a fleet on real ZooKeeper for MINUTES (10), checked all the time; SEED=n replays
	@RUST_LOG=$${RUST_LOG:-error} cargo run --quiet -p integration-tests --bin soak -- --minutes $${MINUTES:-10}
.PHONY: help up up-ensemble up-secure down clean demo demo-cluster image test ci ci-deep bench bench-page fuzz diff strangers soak test-peers
