# make demo        segment two real example scans with the bundled model; results in OUT
# make demo-train  run every step on a synthetic cohort, training included; results in OUT
# make test        run the default tests
# make test-slow   run the slow tests
# make test-all    run the default tests and then the slow ones
# make clean       remove the virtual environment, demo_out and build files
#
# Each target installs what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_out/$(shell date +%Y-%m-%d_%H%M%S)

.PHONY: demo demo-train test test-slow test-all clean

demo: $(VENV)/installed
	$(VENV)/bin/spinesegdiff demo -o $(OUT)

demo-train: $(VENV)/installed_for_tests
	$(VENV)/bin/spinesegdiff demo-train -o $(OUT)

# Waiting threads must not keep a core from the other worker. Files run in the order of tests/conftest.py, in which
# the longest come first; xdist would begin with those of the most tests.
PYTEST = OMP_WAIT_POLICY=passive $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed_for_tests
	$(PYTEST)

test-slow: $(VENV)/installed_for_tests
	$(PYTEST) -m slow

test-all: test test-slow

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(VENV)/bin/python -m pip install --quiet -e .
	touch $@

$(VENV)/installed_for_tests: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo_out build *.egg-info
