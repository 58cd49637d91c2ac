# The commands of this project. `make` or `make help` lists them.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WHEELS := target/wheels
# What the tests and the linters need, listed in pyproject.toml.
TEST_GROUP := --group test
LINT_GROUP := --group lint

AARCH64 := aarch64-unknown-linux-gnu

NUMERIC_TESTS := $(addprefix tests/test_,golden.py reference.py gradients.py properties.py caches.py optimizers.py losses.py linear.py layer_norm.py \
	regularization.py regularization_by_hand.py option_triples.py rounding.py)

# Builds find the interpreter here, whatever is on the PATH.
export PYO3_PYTHON := $(abspath $(BIN)/python)

.DEFAULT_GOAL := help

.PHONY: help  ## List the commands
help:
	@grep -E '^\.PHONY: [a-z-]+  ## ' $(MAKEFILE_LIST) | sed -E 's/^\.PHONY: ([a-z-]+)  ## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet 'maturin>=1.9.4,<2'

.PHONY: install  ## Build the wheel and install it into .venv
install: $(BIN)/python
	rm -rf $(WHEELS)
	$(BIN)/maturin build --quiet --release --out $(WHEELS)
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(BIN)/python -m pip install --quiet 'recurrust[cli] @ file://'"$$(realpath $(WHEELS)/*.whl)"

.PHONY: demo  ## Train an LSTM on a real series and forecast it
demo: install
	$(BIN)/recurrust forecast examples/data/elnino.csv --horizon 12 --plot elnino_forecast.png

.PHONY: test  ## Run all tests: Rust, then Python against the installed wheel
test: install
	cargo test --quiet
	$(BIN)/python -m pip install --quiet $(TEST_GROUP)
# Only for data files that are inside; none of their code runs, so none of their dependencies is needed.
	$(BIN)/python -m pip install --quiet --no-deps 'aeon==1.6.0; python_version >= "3.11"' g2p-en==2.1.0
	$(BIN)/python -m pytest
# The numbers again on lower instruction sets than the processor's best.
	RECURRUST_ISA=avx2 $(BIN)/python -m pytest --quiet $(NUMERIC_TESTS)
	RECURRUST_ISA=scalar $(BIN)/python -m pytest --quiet $(NUMERIC_TESTS)

.PHONY: check  ## Run formatters, linters and type checkers
check: install
	$(BIN)/python -m pip install --quiet $(LINT_GROUP) $(TEST_GROUP)
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	cargo clippy --quiet --all-targets --features python -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps
# The other architecture, where its standard library is installed (rustup target add).
	if [ -d "$$(rustc --print target-libdir --target $(AARCH64))" ]; then \
		RUSTFLAGS='-D warnings' cargo check --quiet --target $(AARCH64); \
	fi
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest recurrust._core --allowlist tests/stubtest_allowlist.txt
	sh tests/architecture.sh
	$(BIN)/python tests/check_registers.py

.PHONY: format  ## Format all code
format: $(BIN)/python
	$(BIN)/python -m pip install --quiet $(LINT_GROUP)
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean  ## Remove everything that was built
clean:
	rm -rf target $(VENV) dist python/recurrust/*.so
