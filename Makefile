# Python 3.11-3.13. VENV and PYTHON may be set: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
LEGACY_PYTHON ?= python3.11
LEGACY ?= .venv-legacy
SIGNING ?= .venv-sign
EXECUTORCH ?= .venv-executorch
COREAI ?= .venv-coreai
ARM ?= .arm
WEB ?= .web
export COMPRESS_COREAI_PYTHON ?= $(abspath $(COREAI))/bin/python
export COMPRESS_EXECUTORCH_PYTHON ?= $(abspath $(EXECUTORCH))/bin/python
export COMPRESS_LEGACY_PYTHON ?= $(abspath $(LEGACY))/bin/python
export COMPRESS_ARM ?= $(abspath $(ARM))
GPU ?= .gpu
# A machine with a Vulkan driver of its own uses that, unless the folder was made.
export COMPRESS_GPU ?= $(if $(shell test -e $(GPU)/gpu.stamp && echo made),$(abspath $(GPU)))
export COMPRESS_WEB ?= $(abspath $(WEB))
KOTLIN ?= .kotlin
export COMPRESS_KOTLIN ?= $(abspath $(KOTLIN))
KOTLIN_VERSION := 2.4.20
KOTLIN_SHA256 := c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f
# A bundle for 'make kotlin', such as runs/quickstart; by default the tests train a small one.
BUNDLE ?=
OLDEST ?= .venv-oldest
NEWEST ?= .venv-newest
# What depends on the versions of converters and runtimes.
VERSION_TESTS ?= tests/exporters tests/validators
# Not the whole of "test": pip finds no versions of its other packages that go with the oldest of these.
VERSION_PACKAGES := -e ".[train,onnx,tflite,coreml,backbones,index,parquet,demo]" hatchling hypothesis \
	opencv-python-headless pytest pytest-xdist torch-pruning
BIN := $(VENV)/bin
# The tests start hundreds of processes; each would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE
AXE_VERSION := 4.14.1
WEB_PACKAGES := onnxruntime-web@1.30.0 @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.3
RECIPE ?= recipes/quickstart.yaml
TESTS ?= tests
# Two workers on two cores, each test process on one thread; a file stays with one worker, which makes what its tests share.
PYTEST_FLAGS ?= -n 2 --dist loadfile

.PHONY: help run test test-oldest test-newest nightly e2e fuzz kotlin swift schema docs bench check executorch coreai legacy arm gpu web signing format clean
help:  ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: $(VENV)/run.stamp $(if $(shell command -v $(LEGACY_PYTHON)),legacy)  ## install, then the quickstart: train, export, check, print the table
	$(BIN)/compress run $(RECIPE)

test: $(VENV)/dev.stamp signing $(if $(shell command -v $(LEGACY_PYTHON)),legacy)  ## install, then all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) $(TESTS)

nightly: $(VENV)/dev.stamp signing $(if $(shell command -v $(LEGACY_PYTHON)),legacy)  ## the tests that take too long for every change
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m nightly $(TESTS)

test-oldest: $(OLDEST)/versions.stamp $(if $(shell command -v $(LEGACY_PYTHON)),legacy)  ## exporters and validators with the oldest versions that pyproject.toml admits
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(PYTEST_FLAGS) $(VERSION_TESTS)

test-newest: $(NEWEST)/versions.stamp $(if $(shell command -v $(LEGACY_PYTHON)),legacy)  ## the same with the newest
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(PYTEST_FLAGS) $(VERSION_TESTS)

e2e: $(VENV)/e2e.stamp $(WEB)/web.stamp  ## everything in headless Chromium: pages, runtimes (apt-get install chromium npm)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m e2e tests/e2e tests/validators

kotlin: $(VENV)/dev.stamp $(KOTLIN)/kotlin.stamp  ## compile the Kotlin samples, run them on the JVM (apt-get install openjdk-17-jre-headless npm)
	OMP_NUM_THREADS=1 $(if $(BUNDLE),COMPRESS_BUNDLE=$(abspath $(BUNDLE))) $(BIN)/python -m pytest -m kotlin tests/samples

swift: $(VENV)/dev.stamp  ## type-check the Swift samples, run OfflineIndex (Debian 13: apt-get install swiftlang libsqlite3-dev)
	$(BIN)/python -m pytest -m swift tests/samples

schema: $(VENV)/run.stamp  ## write the recipe's JSON schema into the package, after options have changed
	$(BIN)/compress schema > schema.json && mv schema.json compress/recipe/recipe.schema.json

docs: $(VENV)/dev.stamp  ## the documentation, in site/; a broken link is an error
	$(BIN)/mkdocs build --strict

fuzz: export FUZZ_INPUTS ?= 10000
fuzz: $(VENV)/dev.stamp  ## 10,000 hostile recipes, bundles, archives and folders; a quarter of an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) tests/fuzz

bench: $(VENV)/dev.stamp  ## the timings of docs/results.md; minutes, on an idle machine
	$(BIN)/python -m benchmarks.quickstart
	$(BIN)/compress run recipes/quickstart.yaml && $(BIN)/python -m benchmarks.demo runs/quickstart
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.retrieval
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.rewrites
	$(BIN)/python -m benchmarks.profile_run

check: $(VENV)/dev.stamp  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

legacy: $(LEGACY)/legacy.stamp  ## an environment with tflite-runtime 2.14, the runtime of older phones
	@echo "outside make: export COMPRESS_LEGACY_PYTHON=$(COMPRESS_LEGACY_PYTHON)"

arm: $(ARM)/arm.stamp  ## the runtimes' Arm builds with an emulator (x86-64 Linux with apt, no root)
	@echo "outside make: export COMPRESS_ARM=$(COMPRESS_ARM)"

gpu: $(GPU)/gpu.stamp  ## a software GPU, on which .tflite files are executed as on a phone's GPU (Debian, no root)
	@echo "outside make: export COMPRESS_GPU=$(abspath $(GPU))"

web: $(VENV)/web.stamp $(WEB)/web.stamp  ## the runtimes of web apps, for the browser (apt-get install chromium npm)
	@echo "outside make: export COMPRESS_WEB=$(COMPRESS_WEB)"

executorch: $(EXECUTORCH)/executorch.stamp  ## an environment with ExecuTorch, which writes and runs .pte files; 1.5 GB
	@echo "outside make: export COMPRESS_EXECUTORCH_PYTHON=$(COMPRESS_EXECUTORCH_PYTHON)"

coreai: $(COREAI)/coreai.stamp  ## an environment with Core AI's beta, which writes and runs .aimodel folders; 1.3 GB
	@echo "outside make: export COMPRESS_COREAI_PYTHON=$(COMPRESS_COREAI_PYTHON)"

signing: $(SIGNING)/signing.stamp  ## an environment that signs bundles and verifies signed ones

clean:  ## remove the environments
	rm -rf $(VENV) $(OLDEST) $(NEWEST) $(LEGACY) $(EXECUTORCH) $(COREAI) $(SIGNING) $(ARM) $(GPU) $(WEB) $(KOTLIN)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[all]"
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/run.stamp

# Without constraints.txt, whose versions are the ones in between.
$(OLDEST)/versions.stamp: pyproject.toml .ci/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install -q -c $(OLDEST)/constraints.txt $(VERSION_PACKAGES)
	touch $@

$(NEWEST)/versions.stamp: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install -q --upgrade $(VERSION_PACKAGES)
	touch $@

$(VENV)/e2e.stamp: $(VENV)/dev.stamp
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[e2e]"
	mkdir -p $(VENV)/axe-core
	npm pack --silent --pack-destination $(VENV)/axe-core axe-core@$(AXE_VERSION)
	tar -xzf $(VENV)/axe-core/axe-core-$(AXE_VERSION).tgz -C $(VENV)/axe-core
	touch $@

$(VENV)/web.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[web]"
	touch $@

$(WEB)/web.stamp: Makefile
	mkdir -p $(WEB)
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(WEB) $(WEB_PACKAGES)
	touch $@

$(SIGNING)/signing.stamp: pyproject.toml constraints-sign.txt
	$(PYTHON) -m venv $(SIGNING)
	$(SIGNING)/bin/python -m pip install -q -c constraints-sign.txt -e ".[verify,sign]"
	touch $@

# The compiler from npm, org.json as Android has it from Debian.
# The packages are named without versions: the JDBC driver takes the SQLite of the same Debian.
KOTLIN_LIBRARIES := libandroid-json-org-java libxerial-sqlite-jdbc-java libxerial-sqlite-jdbc-jni libsqlite3-0
$(KOTLIN)/kotlin.stamp: Makefile
	rm -rf $(KOTLIN) && mkdir -p $(KOTLIN)
	npm pack --silent --pack-destination $(KOTLIN) kotlin-compiler@$(KOTLIN_VERSION)
	cd $(KOTLIN) && echo "$(KOTLIN_SHA256)  kotlin-compiler-$(KOTLIN_VERSION).tgz" | sha256sum --check --quiet
	tar -xzf $(KOTLIN)/kotlin-compiler-$(KOTLIN_VERSION).tgz -C $(KOTLIN)
	cd $(KOTLIN) && apt-get download -qq $(KOTLIN_LIBRARIES) && for package in *.deb; do dpkg-deb -x $$package .; done
	rm -f $(KOTLIN)/*.tgz $(KOTLIN)/*.deb
	touch $@

# executorch pins the releases of torchao and coremltools; the constraints keep torch a build without CUDA.
$(EXECUTORCH)/executorch.stamp: constraints-executorch.txt
	$(PYTHON) -m venv $(EXECUTORCH)
	$(EXECUTORCH)/bin/python -m pip install -q -c constraints-executorch.txt executorch torch annotated-types
	touch $@

$(COREAI)/coreai.stamp: constraints-coreai.txt
	$(PYTHON) -m venv $(COREAI)
	$(COREAI)/bin/python -m pip install -q -c constraints-coreai.txt coreai-torch torch annotated-types
	touch $@

# tflite-runtime's last release wants numpy 1 and has no wheel past Python 3.11.
$(LEGACY)/legacy.stamp:
	$(LEGACY_PYTHON) -m venv $(LEGACY)
	$(LEGACY)/bin/python -m pip install -q "tflite-runtime==2.14.0" "numpy<2" annotated-types
	touch $@

$(ARM)/arm.stamp: .ci/arm.sh constraints.txt | $(BIN)/python
	.ci/arm.sh $(ARM) $(BIN)/python
	touch $@

# SwiftShader and a Vulkan loader out of Debian's chromium-common: 32 MB to fetch, 6 MB to keep, nothing to install.
# Where apt has no package lists, or old ones, it gets lists of its own, which need no root.
APT = mkdir -p apt/lists/partial && apt-get -q -o Dir::State=$$PWD/apt -o Dir::Cache=$$PWD/apt
$(GPU)/gpu.stamp:
	rm -rf $(GPU) && mkdir -p $(GPU)
	cd $(GPU) && (apt-get -q download chromium-common || ($(APT) update && $(APT) download chromium-common))
	dpkg-deb --fsys-tarfile $(GPU)/chromium-common_*.deb | tar -x -C $(GPU) --wildcards --strip-components=4 \
		./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/libvulkan.so.1 \
		./usr/lib/chromium/vk_swiftshader_icd.json
	rm -rf $(GPU)/*.deb $(GPU)/apt
	touch $@
