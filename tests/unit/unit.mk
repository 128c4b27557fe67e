# SPDX-License-Identifier: GPL-2.0-or-later
#
# unit.mk - the unit tests: every tests/unit/{,*/}test_*.c is a cmocka program,
# linked with what it needs of backend/ and with tests/fake/ in place of
# backend/xen/, under ASan and UBSan.  Included by the top Makefile, or run as
#	make -f tests/unit/unit.mk check-unit
#
# Leaves build/unit/summary ("N passed, N failed, N skipped") and a log per
# program beside it.  UNIT_ONLY=test_fake runs that program alone.

# For whoever installs packages: tests/unit/deps.sh does, and says so.
UNIT_PACKAGES := $(shell sh tests/unit/deps.sh --list)

UNIT_CC ?= gcc
UNIT_BUILD := build/unit
UNIT_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow \
	-Wmissing-prototypes -Wstrict-prototypes -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
UNIT_CPPFLAGS := -DVG_STEPS -Ibackend -Itests/fake -Itests/unit
UNIT_LIBS := -lcmocka -luring -ljson-c

# Everything of the backend but its programs' main() and Xen itself.
UNIT_BACKEND_SRC := $(filter-out backend/xen/%,$(shell grep -Lw '^int main' \
	backend/*.c backend/*/*.c 2>/dev/null))
UNIT_LIB_SRC := $(UNIT_BACKEND_SRC) $(wildcard tests/fake/*.c) \
	$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
UNIT_TEST_SRC := $(wildcard tests/unit/test_*.c tests/unit/*/test_*.c)

UNIT_LIB_OBJ := $(UNIT_LIB_SRC:%.c=$(UNIT_BUILD)/%.o)
UNIT_TESTS := $(UNIT_TEST_SRC:%.c=$(UNIT_BUILD)/%)

$(UNIT_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@

$(UNIT_BUILD)/libunit.a: $(UNIT_LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(UNIT_TESTS): $(UNIT_BUILD)/%: $(UNIT_BUILD)/%.o $(UNIT_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_CFLAGS) $< $(UNIT_BUILD)/libunit.a $(UNIT_LIBS) -o $@

.PHONY: check-unit unit-build
unit-build: $(UNIT_TESTS)

check-unit: unit-build
	@sh tests/unit/run.sh $(UNIT_BUILD) \
		$(if $(UNIT_ONLY),$(filter %/$(UNIT_ONLY),$(UNIT_TESTS)),$(UNIT_TESTS))

-include $(UNIT_LIB_OBJ:.o=.d) $(UNIT_TESTS:=.d)
.SECONDARY: $(UNIT_TESTS:=.o)

# make fuzz, make fuzz-build: never part of check-unit.
-include tests/fuzz/fuzz.mk
