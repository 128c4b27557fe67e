# SPDX-License-Identifier: GPL-2.0-or-later
#
# virtio-grant: the front door.  `make help` lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
CC ?= gcc

# The compilers for the rig's domains: looked up when first needed, since that
# may build the sysroot.
VG_ARM64_CC = $(eval VG_ARM64_CC := $(shell VG_ARCH=arm64 tests/xen/lib/build-sysroot.sh)/arm64-gcc)$(VG_ARM64_CC)
VG_AMD64_CC = $(eval VG_AMD64_CC := $(shell VG_ARCH=x86 tests/xen/lib/build-sysroot.sh)/amd64-gcc)$(VG_AMD64_CC)

include backend/backend.mk
include tests/unit/unit.mk
include tests/bench/bench.mk
include tests/xen/rig.mk
include backend/install.mk
include tests/sandbox/sandbox.mk

.PHONY: all arm64 amd64 modules demo compare torture prove-isolation check check-long check-unit check-kernel check-xen shell \
	clean help

all: $(VG_PROGRAMS:%=build/host/%)

help:
	@echo 'make            the programs, for this machine (needs libxen-dev liburing-dev libseccomp-dev libjson-c-dev)'
	@echo 'make demo       the main job on real Xen, in QEMU; ARCH=x86, TRANSPORT=mmio'
	@echo 'make check      all tests; ends with "N passed, N failed"'
	@echo 'make check-long what takes hours: torture, prove-isolation, compare, check-flask, fuzz, long scenarios'
	@echo 'make check-unit the fast part'
	@echo 'make check-sandbox  attempts to get out of a worker (as root)'
	@echo 'make check-kernel  the modules for every promised kernel, W=1 and sparse'
	@echo 'make check-xen  the scenarios on real Xen; SCENARIOS="a b" for some'
	@echo 'make check-flask  scenarios under Xen with FLASK, enforcing (minutes)'
	@echo 'make compare    this against PV block and foreign mapping; QUICK=1 for 10 minutes'
	@echo 'make bench      instructions per request, on this machine; BASE=FILE to compare'
	@echo 'make fuzz       a device driven by bytes, under libFuzzer (clang); FUZZ_SECONDS=60'
	@echo 'make torture    200 kills -9 of the daemons under verified load (KILLS=, SEED=, BUS=1)'
	@echo 'make prove-isolation  a hostile driver domain against a guest, and what it reaches; ARCH=x86'
	@echo 'make shell      a shell in the control domain of the rig'
	@echo 'make install    see README.md; also install-grantd, install-toolstack, install-broker, install-modules'
	@echo 'make clean      removes build/'

# For the rig's domains, against Debian trixie's libraries.
arm64: $(VG_PROGRAMS:%=build/arm64/%)
amd64: $(VG_PROGRAMS:%=build/amd64/%)

# For the kernels that the rig's domains run.
modules:
	kernel/build.sh

# ARCH=arm64 or x86, TRANSPORT=bus or mmio
demo:
	@ARCH="$(ARCH)" TRANSPORT="$(TRANSPORT)" tests/xen/demo.sh

# QUICK=1, ROUNDS=3, BACKENDS="...", WORKLOADS="...", ARCH=x86: tests/xen/compare.sh
compare:
	@QUICK="$(QUICK)" ROUNDS="$(or $(ROUNDS),3)" BACKENDS="$(BACKENDS)" \
		WORKLOADS="$(WORKLOADS)" OPTIONS="$(OPTIONS)" ARCH="$(ARCH)" \
		tests/xen/compare.sh

# KILLS=200, SEED=..., BUS=1: tests/xen/scenarios/takeover.sh
torture:
	@tests/xen/needs.sh takeover
	@VG_LIMIT_S="$(or $(LIMIT_S),7200)" tests/xen/run.sh takeover BROKER=1 \
		KILLS="$(or $(KILLS),200)" $(if $(SEED),SEED="$(SEED)") BUS="$(BUS)"

# ARCH=arm64 or x86: docs/threat-model.md
prove-isolation:
	@ARCH="$(ARCH)" tests/xen/isolation/prove.sh

check:
	@tests/check.sh

check-long:
	@tests/check.sh long

check-kernel:
	@kernel/check-build.sh

clean:
	rm -rf build
