# make demo        segment two real example scans with the bundled model; results in OUT
# make demo-train  run every step on a synthetic cohort, training included; results in OUT
# make test        run all tests
# make clean       remove the virtual environment, demo_out and build files
#
# Each target installs what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_out/$(shell date +%Y-%m-%d_%H%M%S)

.PHONY: demo demo-train test clean

demo: $(VENV)/installed
	$(VENV)/bin/spinesegdiff demo -o $(OUT)

demo-train: $(VENV)/installed_for_tests
	$(VENV)/bin/spinesegdiff demo-train -o $(OUT)

# Threads that wait must not keep a core from the other half of the tests. In their own order the longest files come
# early; sorted by their number of tests they come last, and one half waits for the other.
test: $(VENV)/installed_for_tests
	OMP_WAIT_POLICY=passive $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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
