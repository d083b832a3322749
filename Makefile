# Unless a target stands in `make help` it is not supported.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
# The system's Python, by its full path: one further up in PATH may be a slow wrapper.
SYSTEM_PYTHON := /usr/bin/python3
PYTHON := .venv/bin/python
# Tests that run side by side; 0 runs them one after the other.
JOBS ?= 2
# For pytest: make test TESTS=tests/packaging PYTEST_ARGS=-v
TESTS ?=
PYTEST_ARGS ?=
RUNTIME_TOOLS ?=
# yes: install a snapshot of the interpreter, too (docs/install.md says what for and at what
# price); try: if it can be made here.
SNAPSHOT ?=
# For bench/lifecycle.py and bench/verbs.py: make bench BENCH_ARGS='--rounds 10'
BENCH_ARGS ?=
# For tests/engines/run.py: make test-engines ENGINES_ARGS='--engine podman'
ENGINES_ARGS ?=
# For tests/vm: make test-vm VM_TESTS=conformance/test_cgroups.py VM_ARGS='--kernel 6.1'
VM_TESTS ?=
VM_ARGS ?=
VM_TIMEOUT ?= 9000
# For conformance tests on another runtime of the guest's: make test-vm VM_TESTS=conformance
# VM_RUNTIME=/usr/sbin/runc
VM_RUNTIME ?=
# For make test-floor: the system calls to do without, one after the other, and on which tests.
CALLS ?= mount_setattr fsopen clone3 pidfd_getfd close_range
FLOOR_TESTS ?= conformance
# Where `make docs` puts its files.
DOCS ?= build/docs
OFFLINE ?=
export OFFLINE

# The init brings its own entry point and system calls; it links no library.
INIT_CFLAGS := -std=gnu11 -Os -static -nostdlib -ffreestanding -fno-stack-protector \
	-fno-asynchronous-unwind-tables -Wall -Wextra
INIT := pyruntime/init/pyruntime-init
INIT_SOURCES := $(wildcard pyruntime/init/*.c)
INIT_HEADERS := $(wildcard pyruntime/init/*.h) pyruntime/init/operations.h
LAUNCHER := pyruntime/launcher/pyruntime-launcher
LAUNCHER_SOURCES := $(wildcard pyruntime/launcher/*.c) pyruntime/init/text.c
LAUNCHER_TABLES := pyruntime/stored_operations.py pyruntime/launcher/operations.h \
	pyruntime/launcher/words.h
# The command of the checkout as `make install` would make it: by way of the launcher.
LAUNCHED := build/bin/pyruntime
INSTALLED_TREE := $(CURDIR)/build/installed
CHECKER := pyruntime/generated/config_checker.py
OPERATIONS := pyruntime/plan/operations.py

have = $(wildcard $(addsuffix /*.py,$(1)) $(addsuffix /*/*.py,$(1)))
directories_with_python = $(foreach d,$(1),$(if $(call have,$(d)),$(d)))
CHECKED := $(call directories_with_python,pyruntime conformance tests bench tools spec)
# Tests that need neither root nor an engine nor a download.
UNIT_IGNORES := $(addprefix --ignore=tests/,root engines packaging attacks launcher systemd)
# What the launcher performs, or a snapshot, is tested by way of it, too.
LANE_TESTS := $(addprefix conformance/test_,lifecycle.py state.py engine_contract.py hooks.py \
	pause.py update.py exec.py terminal.py bad_input.py) tests/attacks
# The seconds that one test may take: it hangs, if it takes so long.
PYTEST_TIMEOUT := 300
PYTEST = $(PYTHON) -m pytest -p tests.rows_plugin --timeout $(PYTEST_TIMEOUT)

.PHONY: help
help:  ## Show this list
	@echo "make TARGET; the targets:"
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | \
		while IFS=$$'\t' read -r name text; do printf '  %-13s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: setup-demo  ## Install what is missing, build, and run a busybox container
	@$(MAKE) --no-print-directory build
	@tools/demo.sh

.PHONY: test
test: setup-test  ## Run every test that this machine can run; say what is skipped and why
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory run-tests

.PHONY: check
check: setup-build  ## Lint, types, generated files, unit tests (no root needed)
	@$(MAKE) --no-print-directory build
	@status=0; for part in lint types generated unit; do \
		$(MAKE) --no-print-directory check-$$part || status=1; \
	done; exit $$status

.PHONY: test-floor
test-floor: setup-test  ## Conformance without each of some system calls (CALLS), as on old kernels
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory -k $(addprefix run-without-,$(CALLS))

.PHONY: bench
bench: setup-test  ## Measure time and memory beside runc and crun
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory run-bench

.PHONY: conformance
conformance: setup-test  ## Requirement tests on RUNTIME (ours); RUNTIME_TOOLS=DIR adds runtime-tools
	@$(MAKE) --no-print-directory build
	$(PYTEST) -n $(JOBS) conformance $(PYTEST_ARGS)
	$(if $(RUNTIME_TOOLS),$(PYTHON) -m conformance.runtime_tools --tree '$(RUNTIME_TOOLS)')

.PHONY: test-engines
test-engines: setup-engines  ## Run Podman, Docker, containerd, CRI, CRI-O, buildah on pyruntime and on runc
	@$(MAKE) --no-print-directory build
	$(PYTHON) -m tests.engines.run --runtime $(LAUNCHED) $(ENGINES_ARGS)

.PHONY: test-vm
test-vm: setup-vm  ## Run the tests in a guest with pure cgroup v2, systemd and AppArmor (docs/vm.md)
	@$(MAKE) --no-print-directory build
	$(call in_guest,$(VM_TIMEOUT),$(VM_TESTS),$(PYTEST_ARGS) $(VM_IGNORES))

.PHONY: test-vm-smoke
test-vm-smoke: setup-vm  ## Some of these tests, in minutes
	@$(MAKE) --no-print-directory build
	$(call in_guest,900,@tests/vm/smoke.txt,$(PYTEST_ARGS))

.PHONY: bench-vm
bench-vm: setup-vm  ## Measure in the guest: cgroup v2, but emulated (docs/performance.md)
	@$(MAKE) --no-print-directory build
	$(PYTHON) -m tests.vm $(VM_ARGS) --timeout $(VM_TIMEOUT) run -- \
		make --no-print-directory built run-bench BENCH_ARGS='$(BENCH_ARGS)'

.PHONY: build
build: setup-build  ## Compile the init and the launcher, generate the config checker
	@$(MAKE) --no-print-directory built

.PHONY: install
install: setup-build $(if $(filter yes,$(SNAPSHOT)),setup-snapshot)  ## Install below DESTDIR and PREFIX (/usr/local); SNAPSHOT=yes: twice as fast
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory install-files

.PHONY: docs
docs:  ## Make man pages and shell completions in build/docs (DOCS)
	$(SYSTEM_PYTHON) tools/documents.py '$(DOCS)'

.PHONY: clean
clean:  ## Remove what was built (.venv stays)
	rm -rf build dist $(INIT) $(LAUNCHER) pyruntime/generated .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# ---- below: the parts of the targets above

.PHONY: setup-build setup-demo setup-test setup-engines setup-vm setup-snapshot
setup-build setup-demo setup-test setup-engines setup-vm setup-snapshot: setup-%:
	@tools/setup.sh $*

.PHONY: check-lint check-types check-generated check-unit
check-lint:
	.venv/bin/ruff check .
check-types:
	.venv/bin/mypy $(CHECKED)
check-generated:
	$(SYSTEM_PYTHON) spec/generate_operations.py --check
	$(SYSTEM_PYTHON) spec/generate_launcher.py --check
check-unit:
	@$(call twice,$(UNIT_IGNORES) tests,-q)

.PHONY: print-init-cflags
print-init-cflags:
	@echo '$(INIT_CFLAGS)'

.PHONY: built
built: $(INIT) $(LAUNCHER) $(LAUNCHED) $(CHECKER)
	@:

# Written aside and renamed, so that a container started meanwhile never sees half a file.
$(INIT): $(INIT_SOURCES) $(INIT_HEADERS) Makefile
	$(CC) $(INIT_CFLAGS) -o $@.new $(INIT_SOURCES)
	mv $@.new $@

$(LAUNCHER): $(LAUNCHER_SOURCES) $(LAUNCHER_TABLES) $(wildcard pyruntime/launcher/*.h) \
		pyruntime/init/system.h Makefile
	$(CC) $(INIT_CFLAGS) -o $@.new $(LAUNCHER_SOURCES)
	mv $@.new $@

$(LAUNCHED): bin/pyruntime Makefile
	mkdir -p $(@D)
	{ echo '#!$(CURDIR)/$(LAUNCHER) $(SYSTEM_PYTHON) -IS'; \
		sed -e 1d -e 's|__file__|"$(CURDIR)/bin/pyruntime"|' $<; } >$@.new
	chmod 755 $@.new
	mv $@.new $@

$(LAUNCHER_TABLES) &: spec/launcher.toml spec/generate_launcher.py pyruntime/__init__.py \
		pyruntime/options.py pyruntime/signals.py
	$(SYSTEM_PYTHON) spec/generate_launcher.py
	touch $(LAUNCHER_TABLES)

$(OPERATIONS) pyruntime/init/operations.h &: spec/plan.toml spec/generate_operations.py
	$(SYSTEM_PYTHON) spec/generate_operations.py
	touch $(OPERATIONS) pyruntime/init/operations.h

$(CHECKER): spec/generate_checker.py $(wildcard spec/*.schema.json)
	mkdir -p $(@D)
	$(PYTHON) spec/generate_checker.py

# First all side by side. What fails runs once more by itself: a test that fails
# twice fails the run, one that then passes is printed as unsteady. The whole comes
# last, for its last lines count the requirement rows.
define twice
status=0; $(PYTEST) -n $(JOBS) $(2) $(PYTEST_ARGS) $(1) || status=$$?; \
if [ $$status -eq 1 ]; then \
	echo "== the tests that failed, once more, one after the other"; \
	status=0; $(PYTEST) -p no:xdist --last-failed --last-failed-no-failures none \
		--second-try $(PYTEST_ARGS) $(call files_of,$(1)) || status=$$?; \
fi; exit $$status
endef
# --last-failed takes a file that has no failure for empty, and a test named in it for
# an error: so the second try names files only, and none of a list (@FILE).
files_of = $(foreach test,$(filter-out @%,$(1)),$(firstword $(subst ::, ,$(test))))

# An installation of this tree, as fast as it can be here, for tests and benchmarks.
.PHONY: $(INSTALLED_TREE)
$(INSTALLED_TREE):
	@$(MAKE) --no-print-directory install-files PREFIX='$@' SNAPSHOT=try >$(CURDIR)/build/install.log
	@grep snapshot: $(CURDIR)/build/install.log || true

.PHONY: run-bench
run-bench: $(INSTALLED_TREE)
	$(SYSTEM_PYTHON) bench/lifecycle.py --runtime $</bin/pyruntime $(BENCH_ARGS)
	$(SYSTEM_PYTHON) bench/verbs.py --runtime $</bin/pyruntime $(BENCH_ARGS)
	$(SYSTEM_PYTHON) bench/memory.py --runtime $</bin/pyruntime

.PHONY: run-tests run-launched-tests run-all-tests
run-tests:
	@launched=0; \
	$(if $(TESTS),,$(MAKE) --no-print-directory run-launched-tests || launched=1;) \
	$(MAKE) --no-print-directory run-all-tests && exit $$launched
run-launched-tests: export RUNTIME := $(INSTALLED_TREE)/bin/pyruntime
run-launched-tests:
	@$(MAKE) --no-print-directory $(INSTALLED_TREE)
	@echo "== as installed: by way of the launcher, from a snapshot"; \
		$(call twice,$(LANE_TESTS))
run-all-tests:
	@$(call twice,$(TESTS),--durations 5)

# -k: also the calls after one that fails. Why a test was skipped is told by `make test`.
run-without-%:
	@echo "== without $*"; \
		export WITHOUT_CALLS=$*; $(call twice,$(or $(TESTS),$(FLOOR_TESTS)),-q -r fE)

# The guest has no compiler, no registry, and no network; emulated, it is slow.
VM_IGNORES := --ignore=tests/packaging --ignore=tests/engines
in_guest = $(PYTHON) -m tests.vm $(VM_ARGS) --timeout $(1) run -- \
	make --no-print-directory run-in-guest JOBS=$(JOBS) TESTS='$(2)' PYTEST_ARGS='$(strip $(3))' \
	VM_RUNTIME='$(VM_RUNTIME)'

# All of it on the command as installed: that starts half a second earlier there.
.PHONY: run-in-guest
run-in-guest: export RUNTIME := $(or $(VM_RUNTIME),$(INSTALLED_TREE)/bin/pyruntime)
run-in-guest: built
	@$(if $(VM_RUNTIME),,$(MAKE) --no-print-directory $(INSTALLED_TREE))
	@$(MAKE) --no-print-directory run-all-tests PYTEST_TIMEOUT=1500

LIBRARY := $(PREFIX)/lib/pyruntime
INSTALLED := $(DESTDIR)$(LIBRARY)

# The first line starts the launcher, which performs the small verbs or starts Python, from a
# snapshot if there is one; -S keeps site out (4 ms), and everything that it would put on the
# path.
# A verb that has a bundle (tools/bundle.py) gets all its modules from one file. A short
# process needs no collector of cycles: one that lives long gets there in the end.
define COMMAND
#!$(LIBRARY)/pyruntime/launcher/pyruntime-launcher $(SYSTEM_PYTHON) -IS
import gc
import marshal
import posix
import sys

gc.set_threshold(100000)
LIBRARY = "$(LIBRARY)"
sys.path.insert(0, LIBRARY)
sys.path.append(LIBRARY + "/vendor")


def bundle():
    for word in sys.argv[1:]:
        if word in VERBS:
            fd = posix.open(f"{LIBRARY}/bundles/{sys.hexversion:x}/{word}", posix.O_CLOEXEC)
            loader, modules = marshal.loads(posix.read(fd, 1 << 22))
            posix.close(fd)
            exec(loader, globals())
            load(modules)
            return


VERBS = {"create", "start", "state", "kill", "delete", "run", "exec", "list"}
try:
    bundle()
except FileNotFoundError:
    pass

from pyruntime.__main__ import main

main()
endef
export COMMAND

# The .pyc files are taken without a look at their sources: nobody edits installed
# files, and each module spares a stat.
.PHONY: install-files
install-files:
	rm -rf '$(INSTALLED)'
	install -d '$(INSTALLED)/pyruntime/spec' '$(INSTALLED)/pyruntime/init' '$(DESTDIR)$(PREFIX)/bin'
	find pyruntime -name '*.py' -exec cp --parents -t '$(INSTALLED)' {} +
	install -m 755 $(INIT) '$(INSTALLED)/pyruntime/init/'
	install -m 755 -D -t '$(INSTALLED)/pyruntime/launcher' $(LAUNCHER)
	install -m 644 spec/*.schema.json '$(INSTALLED)/pyruntime/spec/'
	$(PYTHON) tools/vendor.py '$(INSTALLED)/vendor'
	$(SYSTEM_PYTHON) -m compileall -q --invalidation-mode unchecked-hash \
		-s '$(DESTDIR)' -p / '$(INSTALLED)'
	$(SYSTEM_PYTHON) -IS -X no_debug_ranges tools/bundle.py '$(INSTALLED)' '$(LIBRARY)'
	$(if $(SNAPSHOT),CC='$(CC)' $(SYSTEM_PYTHON) -IS -X no_debug_ranges tools/snapshot.py \
		'$(INSTALLED)' '$(LIBRARY)' $(if $(filter try,$(SNAPSHOT)),|| true))
	printf '%s\n' "$$COMMAND" >'$(DESTDIR)$(PREFIX)/bin/pyruntime'
	chmod 755 '$(DESTDIR)$(PREFIX)/bin/pyruntime'
	umask 022; $(SYSTEM_PYTHON) tools/documents.py '$(DESTDIR)$(PREFIX)'
