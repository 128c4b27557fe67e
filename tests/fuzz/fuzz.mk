# SPDX-License-Identifier: GPL-2.0-or-later
#
# fuzz.mk - the fuzzers: built on request, run on request.  Needs unit.mk.
#	make fuzz-build			standalone, any compiler
#	make fuzz FUZZ_SECONDS=60	with libFuzzer: needs clang and its
#					runtime (libclang-rt-*-dev); the corpus
#					and what was found are in build/fuzz/

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_BUILD := build/fuzz
FUZZ_LIB_SRC := $(UNIT_BACKEND_SRC) $(wildcard tests/fake/*.c)
FUZZ_CFLAGS := $(filter-out -fsanitize=%,$(UNIT_CFLAGS)) \
	-fsanitize=fuzzer,address,undefined -DFUZZ_LIBFUZZER

.PHONY: fuzz fuzz-build

$(FUZZ_BUILD)/fuzz_device_alone: tests/fuzz/fuzz_device.c $(UNIT_BUILD)/libunit.a
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) $< $(UNIT_BUILD)/libunit.a \
		$(UNIT_LIBS) -o $@

$(FUZZ_BUILD)/fuzz_device: tests/fuzz/fuzz_device.c $(FUZZ_LIB_SRC)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(UNIT_CPPFLAGS) $(FUZZ_CFLAGS) $^ -luring -ljson-c -o $@

fuzz-build: $(FUZZ_BUILD)/fuzz_device_alone

fuzz: $(FUZZ_BUILD)/fuzz_device
	@mkdir -p $(FUZZ_BUILD)/corpus
	cd $(FUZZ_BUILD) && ./fuzz_device -max_total_time=$(FUZZ_SECONDS) \
		-max_len=2048 -print_final_stats=1 corpus
