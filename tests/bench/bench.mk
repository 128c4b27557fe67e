# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench.mk - the micro-benchmark: the backend, and the guest's slot allocator,
# each over tests/fake/ on this machine.  Included by the top Makefile, behind
# backend.mk (how the programs are built) and unit.mk (what is linked with the
# fake).
#
# Leaves build/bench/results.json.  BASE=FILE prints the differences to another
# such file.  docs/benchmarks.md has the recorded figures and how to read them.

BENCH_CC ?= gcc
BENCH_BUILD := build/bench
BENCH_CFLAGS := $(VG_CFLAGS)
BENCH_LIBS := $(UNIT_LIBS) -lpthread

# An archive: of the backend only what is needed, and of what backend.c replaces
# (engine_sync.c) nothing.
BENCH_LIB_SRC := $(UNIT_LIB_SRC) tests/bench/bench.c
BENCH_LIB_OBJ := $(BENCH_LIB_SRC:%.c=$(BENCH_BUILD)/%.o)
BENCH_LIB := $(BENCH_BUILD)/libbench.a

$(BENCH_BUILD)/%.o: %.c tests/bench/bench.mk
	@mkdir -p $(@D)
	$(BENCH_CC) -iquote backend -iquote . -iquote tests/fake -iquote tests/unit \
		-iquote tests/system $(BENCH_CFLAGS) -MMD -MP -c $< -o $@

$(BENCH_LIB): $(BENCH_LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BENCH_BUILD)/bench-backend: $(BENCH_BUILD)/tests/bench/backend.o $(BENCH_LIB)
	$(BENCH_CC) -pie -Wl,--wrap=xen_evtchn_pending,--wrap=xen_evtchn_pending_all \
		-Wl,--wrap=xen_gnttab_copy,--wrap=xen_gnttab_exchange \
		$^ $(BENCH_LIBS) -o $@

# ---- the guest: every header that its driver includes is kshim.h (kshim.mk)
BENCH_DRIVER_OBJ := $(KSHIM_SRC:%.c=$(BENCH_BUILD)/%.o)
BENCH_GUEST_OBJ := $(BENCH_DRIVER_OBJ) \
	$(BENCH_BUILD)/tests/bench/guest.o $(BENCH_BUILD)/tests/bench/kshim.o

$(BENCH_GUEST_OBJ): $(KSHIM_INCLUDE)/made
$(BENCH_GUEST_OBJ): BENCH_CFLAGS += $(KSHIM_CPPFLAGS)
$(BENCH_DRIVER_OBJ): BENCH_CFLAGS := -O2 -fPIE $(KSHIM_DRIVER_CFLAGS)
$(BENCH_DRIVER_OBJ): $(BENCH_BUILD)/%.o: %.c tests/bench/bench.mk
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -MMD -MP -c $< -o $@ || { \
		echo "tests/bench/kshim.h has not all that $< wants from the kernel" >&2; \
		false; }

$(BENCH_BUILD)/bench-guest: $(BENCH_GUEST_OBJ) $(BENCH_LIB)
	$(BENCH_CC) -pie $^ $(BENCH_LIBS) -o $@

# An allocation of the fake's is none of the backend's.
$(BENCH_BUILD)/tests/fake/%.o: BENCH_CFLAGS += -Dmalloc=__libc_malloc -Dcalloc=__libc_calloc
# They mention what only a build for tests has: backend.c.
$(BENCH_BUILD)/tests/system/rig.o $(BENCH_BUILD)/tests/unit/bus.o: BENCH_CFLAGS += -DVG_STEPS
# The driver reads a word of the ring through another type.
$(BENCH_BUILD)/tests/%.o: BENCH_CFLAGS += -fno-strict-aliasing

.PHONY: bench bench-build check-bench
bench-build: $(BENCH_BUILD)/bench-backend $(BENCH_BUILD)/bench-guest

bench:
	@sh tests/bench/deps.sh
	@$(MAKE) --no-print-directory -s -j2 bench-build
	@tests/bench/bench.py run $(if $(BASE),--base=$(BASE))

# What is counted only, against docs/benchmarks.md.
check-bench: bench-build
	@tests/bench/bench.py check

-include $(BENCH_LIB_OBJ:.o=.d) $(BENCH_GUEST_OBJ:.o=.d) $(BENCH_BUILD)/tests/bench/backend.d
