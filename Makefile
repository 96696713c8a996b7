# `make bench` measures this machine, `make test` tests nvbench. Both install what is missing first; only make itself
# has to be there before. As root on Debian 12.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := build-essential pkg-config python3-venv dpdk-dev openvswitch-switch-dpdk iproute2 ethtool util-linux procps \
            iperf3 iperf sockperf tcpreplay iputils-ping openssh-server chromium
SOURCES := pyproject.toml $(shell find benchmark generators collectors profiles -type f -not -path '*/__pycache__/*')

.PHONY: bench test lint perf clean
.DELETE_ON_ERROR:

bench: $(VENV)/installed
	$(BIN)/nvbench run 10ge-forwarding --quick

test: lint
	$(BIN)/python -m pytest tests/unit -n auto --dist loadfile
	$(BIN)/python -m pytest tests/lab --durations=20

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy -p nvbench

perf: $(VENV)/tools
	$(BIN)/python tests/perf/search.py
	$(BIN)/python tests/perf/generator.py
	$(BIN)/python tests/perf/generators.py
	$(BIN)/python tests/perf/paths.py
	$(BIN)/python tests/perf/scale.py

clean:
	rm -rf $(VENV) build *.egg-info .*_cache

# What apt has to bring: asked of dpkg first, so that a machine that has it all needs neither root nor network.
$(VENV)/packages: Makefile
	@mkdir -p $(VENV)
	@dpkg-query -W -f '$${Status}\n' $(PACKAGES) 2>/dev/null | grep -c 'ok installed' \
	    | grep -qx $(words $(PACKAGES)) \
	  || { apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); }
	@touch $@

$(BIN)/pip: $(VENV)/packages
	$(PYTHON) -m venv $(VENV)

# setuptools never removes from build/ what has gone from the sources.
$(VENV)/installed: $(BIN)/pip $(SOURCES)
	rm -rf build *.egg-info
	$(BIN)/pip install --quiet --disable-pip-version-check .
	rm -rf build *.egg-info
	@touch $@

$(VENV)/tools: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check '.[dev,analysis]'
	rm -rf build *.egg-info
	@touch $@
