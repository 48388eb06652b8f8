# Both targets do all of their own set-up: a virtual environment in .venv and the package with what it needs.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_out/$(shell date +%Y-%m-%d_%H%M%S)

.PHONY: demo test clean

demo: $(VENV)/installed
	$(VENV)/bin/spinesegdiff demo -o $(OUT)

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
