# SPDX-License-Identifier: GPL-2.0-or-later
#
# fuzz.mk - the fuzzers.  Needs unit.mk.
#	make fuzz FUZZ_SECONDS=60	each, with libFuzzer, which clang has (deps.sh
#					installs it); the corpus and what was
#					found (crash-*: give it to
#					fuzz_device_alone) are in build/fuzz/
#	make fuzz-alone			FUZZ_RUNS inputs from a fixed seed, which needs
#					no clang

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_BUILD := build/fuzz
# An archive, as for the unit tests: of programs and of what needs a real Xen, only
# what a fuzzer calls is linked, and that is nothing.
FUZZ_LIB_OBJ := $(patsubst %.c,$(FUZZ_BUILD)/%.o,$(UNIT_BACKEND_SRC) \
	$(wildcard tests/fake/*.c))
FUZZ_OBJ := $(FUZZ_BUILD)/tests/fuzz/fuzz_device.o
FUZZ_XL_CFG_OBJ := $(FUZZ_BUILD)/tests/fuzz/fuzz_xl_cfg.o \
	$(addprefix $(FUZZ_BUILD)/backend/,toolstack/xl_cfg.o \
	toolstack/bus_spec.o lib/util.o lib/log.o lib/printable.o)
FUZZ_CFLAGS := $(filter-out -fsanitize=%,$(UNIT_CFLAGS)) -DFUZZ_LIBFUZZER \
	-fsanitize=fuzzer-no-link,address,undefined
FUZZ_LIBS := $(filter-out -lcmocka,$(UNIT_LIBS))
FUZZ_RUNS ?= 2000

.PHONY: fuzz fuzz-build fuzz-alone

$(FUZZ_BUILD)/fuzz_device_alone: tests/fuzz/fuzz_device.c $(UNIT_BUILD)/libunit.a
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) $< $(UNIT_BUILD)/libunit.a \
		$(UNIT_LIBS) -o $@

$(FUZZ_BUILD)/fuzz_xl_cfg_alone: tests/fuzz/fuzz_xl_cfg.c \
		$(UNIT_BUILD)/libunit.a
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) $< $(UNIT_BUILD)/libunit.a \
		-o $@

$(FUZZ_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(UNIT_CPPFLAGS) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@

$(FUZZ_BUILD)/libfuzz.a: $(FUZZ_LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(FUZZ_BUILD)/fuzz_device: $(FUZZ_OBJ) $(FUZZ_BUILD)/libfuzz.a
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer $^ $(FUZZ_LIBS) -o $@

$(FUZZ_BUILD)/fuzz_xl_cfg: $(FUZZ_XL_CFG_OBJ)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer $^ -o $@

fuzz-build: $(FUZZ_BUILD)/fuzz_device_alone $(FUZZ_BUILD)/fuzz_xl_cfg_alone

fuzz:
	@sh tests/fuzz/deps.sh
	@$(MAKE) --no-print-directory -s -j2 $(FUZZ_BUILD)/fuzz_device \
		$(FUZZ_BUILD)/fuzz_xl_cfg fuzz-build
	@mkdir -p $(FUZZ_BUILD)/corpus $(FUZZ_BUILD)/seeds \
		$(FUZZ_BUILD)/corpus-xl-cfg
	@$(FUZZ_BUILD)/fuzz_device_alone -w 64 $(FUZZ_BUILD)/seeds
	cd $(FUZZ_BUILD) && ./fuzz_device -max_total_time=$(FUZZ_SECONDS) \
		-max_len=2048 -len_control=0 -print_final_stats=1 corpus seeds
	cd $(FUZZ_BUILD) && ./fuzz_xl_cfg -max_total_time=$(FUZZ_SECONDS) \
		-max_len=1024 -print_final_stats=1 corpus-xl-cfg

fuzz-alone: fuzz-build
	$(FUZZ_BUILD)/fuzz_device_alone -r $(FUZZ_RUNS)
	$(FUZZ_BUILD)/fuzz_xl_cfg_alone -r $(FUZZ_RUNS)0

-include $(FUZZ_OBJ:.o=.d) $(FUZZ_XL_CFG_OBJ:.o=.d) $(FUZZ_LIB_OBJ:.o=.d)
