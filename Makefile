# make demo   learn the noise of a simulated camera and show it
# make test   ruff, mypy and all tests
# Both create .venv when needed and install once per change of pyproject.toml or constraints.txt.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
BROWSERS := chromium-headless-shell chromium chromium-browser google-chrome
DEMO := train_gan_noisemodel.py --preset demo

.PHONY: browser demo test
.NOTPARALLEL:

demo: .venv/installed
	$(BIN)/python $(DEMO)

test: .venv/installed-test browser
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4

# The page of viewnoise is tested in a browser. It is installed where apt may be used without a question; where it cannot
# be, the test that needs it is skipped and says so.
browser:
	@for name in $(BROWSERS); do command -v $$name >/dev/null 2>&1 && exit 0; done; \
	command -v apt-get >/dev/null 2>&1 || exit 0; \
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true >/dev/null 2>&1; then as="sudo -n"; else exit 0; fi; \
	echo "Installing a browser for the tests (apt)"; \
	get="$$as env DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq"; \
	for name in chromium-headless-shell chromium; do \
	  $$get install -y --no-install-recommends $$name >/dev/null 2>&1 && exit 0; \
	  $$get update >/dev/null 2>&1; \
	  $$get install -y --no-install-recommends $$name >/dev/null 2>&1 && exit 0; \
	done; \
	echo "No browser could be installed: its test will be skipped" >&2

.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing into .venv (torch is large: this can take some minutes)"
	$(PIP) -e .
	@touch $@

.venv/installed-test: .venv/created pyproject.toml constraints.txt
	@echo "Installing into .venv (torch is large: this can take some minutes)"
	$(PIP) -e '.[test]'
	@touch .venv/installed $@

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "noisemodel needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "'$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@
