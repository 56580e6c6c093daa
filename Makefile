# make demo: a photograph compressed and restored, with the light install only.
# make test: all tests that need neither a GPU nor much time.
# make test-slow: properties on 10 to 25 times as many examples, and damage at every byte; five to ten minutes.
# make test-sanitize: the native code under AddressSanitizer, UBSan and ThreadSanitizer, with g++.
# make fuzz MINUTES=60: all fuzz targets, so many minutes in total (default: 15); docs/fuzzing.md.
# make test-gpu: those that need one, with TensorRT and ONNX Runtime for it.
# make test-wheel: the wheel, built, repaired and tried as a user would, outside the clone.
# make docs: the documentation as a site, in site/.
# make web: the page that opens streams, in web/dist; it takes npm and emcc, the compiler of Emscripten.
# make test-web: the page in a real Chromium.

PYTHON ?= python3
VENV_DEMO ?= .venv-demo
VENV_TEST ?= .venv-test
VENV_GPU ?= .venv-gpu
VENV_DOCS ?= .venv-docs

# A stamp in each environment is newer than all of these, or the package is installed again.
PACKAGE := pyproject.toml CMakeLists.txt README.md LICENSE \
	$(shell find kernels src -type f -not -path '*/__pycache__/*')

NATIVE := $(shell find kernels src tests examples -name '*.cpp' -o -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc')

MINUTES ?= 15
FUZZ ?= --minutes $(MINUTES)

.PHONY: demo test test-slow test-sanitize fuzz test-gpu test-wheel lint types docs web test-web clean

demo: $(VENV_DEMO)/.installed
	$(VENV_DEMO)/bin/python examples/demo.py -o demo_out

test: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m pytest -m "slow and not gpu"

test-sanitize: $(VENV_TEST)/.sanitize
	$(VENV_TEST)/bin/python tests/sanitize.py

fuzz: $(VENV_TEST)/.fuzz
	PYTHONPATH=tests $(VENV_TEST)/bin/python -m fuzz $(FUZZ)

test-gpu: $(VENV_GPU)/.installed
	$(VENV_GPU)/bin/python -m pytest -m gpu

test-wheel:
	$(PYTHON) tests/installation/check.py --keep dist

lint: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/ruff check .
	$(VENV_TEST)/bin/ruff format --check .
	$(VENV_TEST)/bin/clang-format --dry-run -Werror $(NATIVE)

types: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m mypy

docs: $(VENV_DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/python -m mkdocs build --strict

web: web/node_modules/.installed
	cd web && npm run build

test-web: web $(VENV_TEST)/.web
	cd web && npm run types
	$(VENV_TEST)/bin/python -m pytest web/tests

clean:
	rm -rf $(VENV_DEMO) $(VENV_TEST) $(VENV_GPU) $(VENV_DOCS) build dist web/dist web/node_modules site demo_out .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV_DEMO)/.installed: $(PACKAGE)
	test -x $(VENV_DEMO)/bin/python || $(PYTHON) -m venv $(VENV_DEMO)
	$(VENV_DEMO)/bin/python -m pip install --disable-pip-version-check -q . scikit-image
	touch $@

$(VENV_TEST)/.installed: $(PACKAGE)
	test -x $(VENV_TEST)/bin/python || $(PYTHON) -m venv $(VENV_TEST)
	$(VENV_TEST)/bin/python -m pip install --disable-pip-version-check -q ".[dev]"
	touch $@

$(VENV_DOCS)/.installed: $(PACKAGE)
	test -x $(VENV_DOCS)/bin/python || $(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/python -m pip install --disable-pip-version-check -q ".[docs]"
	touch $@

# The module is built without the isolation that would bring this.
$(VENV_TEST)/.sanitize: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m pip install --disable-pip-version-check -q "nanobind>=2.4,<4"
	touch $@

# There are no wheels for every Python and system: without one, changes are random.
$(VENV_TEST)/.fuzz: $(VENV_TEST)/.installed
	-$(VENV_TEST)/bin/python -m pip install --disable-pip-version-check -q --only-binary=:all: "atheris>=3,<4"
	touch $@

# Playwright drives a Chromium that is there already; it brings none.
$(VENV_TEST)/.web: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m pip install --disable-pip-version-check -q "playwright>=1.45,<2"
	touch $@

web/node_modules/.installed: web/package.json web/package-lock.json
	cd web && npm ci
	touch $@

# onnxruntime-gpu and onnxruntime own the same folder: only one may be there.
$(VENV_GPU)/.installed: $(PACKAGE)
	test -x $(VENV_GPU)/bin/python || $(PYTHON) -m venv $(VENV_GPU)
	$(VENV_GPU)/bin/python -m pip install --disable-pip-version-check -q ".[dev,tensorrt]"
	$(VENV_GPU)/bin/python -m pip uninstall -q -y onnxruntime onnxruntime-gpu
	$(VENV_GPU)/bin/python -m pip install --disable-pip-version-check -q "onnxruntime-gpu[cuda,cudnn]>=1.27"
	touch $@
