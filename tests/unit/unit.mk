# SPDX-License-Identifier: GPL-2.0-or-later
#
# unit.mk - the tests that need no Xen: every test_*.c below tests/unit/ (a room of
# the source each) and tests/system/ (the whole stack) is a cmocka program, linked
# with what it needs of backend/ and with tests/fake/ in place of backend/xen/,
# under ASan and UBSan.  Included by the top Makefile, or run as
#	make -f tests/unit/unit.mk check-unit
#
# Leaves build/unit/summary ("N passed, N failed, N skipped"), build/unit/seconds
# and a log beside each program.  UNIT_ONLY=test_fake runs that program alone.

# For whoever installs packages: tests/unit/deps.sh does, and says so.
UNIT_PACKAGES := $(shell sh tests/unit/deps.sh --list)

UNIT_CC ?= gcc
UNIT_BUILD := build/unit
UNIT_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow \
	-Wmissing-prototypes -Wstrict-prototypes -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
UNIT_CPPFLAGS := -DVG_STEPS -iquote backend -iquote . -iquote tests/fake \
	-iquote tests/unit -iquote tests/system
UNIT_LIBS := -lcmocka -luring -lseccomp -ljson-c

# Everything of the backend but its programs' main() and Xen itself.
UNIT_BACKEND_SRC := $(filter-out backend/xen/%,$(shell grep -Lw '^int main' \
	backend/*.c backend/*/*.c backend/*/*/*.c 2>/dev/null))
# At any depth, so that none is forgotten.
UNIT_TEST_SRC := $(sort $(shell find tests/system tests/unit -name 'test_*.c'))
UNIT_LIB_SRC := $(UNIT_BACKEND_SRC) $(wildcard tests/fake/*.c) \
	$(filter-out $(UNIT_TEST_SRC),$(wildcard tests/unit/*.c tests/system/*.c))

UNIT_LIB_OBJ := $(UNIT_LIB_SRC:%.c=$(UNIT_BUILD)/%.o)
UNIT_TESTS := $(UNIT_TEST_SRC:%.c=$(UNIT_BUILD)/%)

$(UNIT_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@

$(UNIT_BUILD)/libunit.a: $(UNIT_LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(filter-out %/test_pool,$(UNIT_TESTS)): $(UNIT_BUILD)/%: $(UNIT_BUILD)/%.o $(UNIT_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_CFLAGS) $< $(UNIT_BUILD)/libunit.a $(UNIT_LIBS) -o $@

UNIT_COMMA := ,
# Whose calls of the C library can be made to fail.
UNIT_WRAPPED := vg_now_ns open flock fcntl fstat ftruncate pread preadv2 \
	socketpair memfd_create mmap sendmsg recvmsg epoll_ctl epoll_create1 \
	eventfd
$(UNIT_BUILD)/tests/system/test_lives: UNIT_LIBS += $(UNIT_WRAPPED:%=-Wl,--wrap=%)
UNIT_ENDS := posix_openpt ioctl mkdirat openat open fstat fchmod fcntl \
	unlinkat symlinkat socket bind listen tcgetattr tcsetattr
$(UNIT_BUILD)/tests/unit/lib/test_endpoint: UNIT_LIBS += \
	$(UNIT_ENDS:%=-Wl,--wrap=%)
$(UNIT_BUILD)/tests/unit/dev/console/test_console: UNIT_LIBS += \
	$(UNIT_ENDS:%=-Wl,--wrap=%) -Wl,--wrap=epoll_ctl
$(UNIT_BUILD)/tests/unit/lib/test_stream: UNIT_LIBS += $(addprefix \
	-Wl$(UNIT_COMMA)--wrap=,epoll_ctl accept4 ppoll)
$(UNIT_BUILD)/tests/unit/ctl/test_bus: UNIT_LIBS += -Wl,--wrap=xen_store_commit
$(UNIT_BUILD)/tests/unit/toolstack/test_bus_follow: UNIT_LIBS += \
	-Wl,--wrap=vg_domains_read -Wl,--wrap=vg_transact

# What has threads a second time, under ThreadSanitizer, if gcc has it.
UNIT_TSAN_BUILD := $(UNIT_BUILD)/tsan
# -Wno-tsan: it does not know fences; those here order words of two mappings.
UNIT_TSAN_CFLAGS := $(filter-out -fsanitize=% -fno-sanitize%,$(UNIT_CFLAGS)) \
	-fsanitize=thread $(if $(findstring gcc,$(UNIT_CC)),-Wno-tsan)
UNIT_TSAN_OBJ := $(UNIT_LIB_SRC:%.c=$(UNIT_TSAN_BUILD)/%.o)
UNIT_HAS_TSAN := $(shell echo 'int main(void) { return 0; }' | $(UNIT_CC) \
	-fsanitize=thread -x c - -o /dev/null 2>/dev/null && echo y)
ifeq ($(UNIT_HAS_TSAN),y)
UNIT_TSAN_TESTS := $(UNIT_TSAN_BUILD)/tests/system/test_queues_tsan
endif

$(UNIT_TSAN_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_TSAN_CFLAGS) -MMD -MP -c $< -o $@

$(UNIT_TSAN_BUILD)/libunit.a: $(UNIT_TSAN_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(UNIT_TSAN_BUILD)/tests/%_tsan: $(UNIT_TSAN_BUILD)/tests/%.o $(UNIT_TSAN_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_TSAN_CFLAGS) $^ $(UNIT_LIBS) -o $@

# It includes what is written for Xen's library.
$(UNIT_BUILD)/tests/unit/xen/test_raw.o: UNIT_CPPFLAGS += -isystem tests/unit/stand-in

# The guest's pool, over the shim of the kernel.
include tests/bench/kshim.mk
UNIT_POOL := $(UNIT_BUILD)/tests/unit/kernel/dma/test_pool
UNIT_POOL_DRIVER_OBJ := $(KSHIM_SRC:%.c=$(UNIT_BUILD)/%.o)
UNIT_POOL_OBJ := $(UNIT_POOL_DRIVER_OBJ) $(UNIT_BUILD)/tests/bench/kshim.o

$(UNIT_POOL).o $(UNIT_POOL_OBJ): $(KSHIM_INCLUDE)/made
$(UNIT_POOL).o $(UNIT_POOL_OBJ): UNIT_CPPFLAGS += $(KSHIM_CPPFLAGS)
$(UNIT_POOL_DRIVER_OBJ): UNIT_CFLAGS := $(KSHIM_DRIVER_CFLAGS) -O1 \
	$(filter -f%,$(UNIT_CFLAGS))
$(UNIT_POOL): $(UNIT_POOL).o $(UNIT_POOL_OBJ) $(UNIT_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_CFLAGS) $^ $(UNIT_LIBS) -o $@

# The same for kernels with larger pages.
UNIT_POOL_SRC := $(KSHIM_SRC) tests/bench/kshim.c \
	tests/unit/kernel/dma/test_pool.c
UNIT_POOL_16K := $(UNIT_POOL)_16k
UNIT_POOL_64K := $(UNIT_POOL)_64k
UNIT_POOL_16K_OBJ := $(UNIT_POOL_SRC:%.c=$(UNIT_BUILD)/16k/%.o)
UNIT_POOL_64K_OBJ := $(UNIT_POOL_SRC:%.c=$(UNIT_BUILD)/64k/%.o)
UNIT_POOL_LARGE_OBJ := $(UNIT_POOL_16K_OBJ) $(UNIT_POOL_64K_OBJ)

$(UNIT_POOL_16K_OBJ): UNIT_CPPFLAGS += -DPAGE_SHIFT=14
$(UNIT_POOL_64K_OBJ): UNIT_CPPFLAGS += -DPAGE_SHIFT=16
$(UNIT_POOL_LARGE_OBJ): UNIT_CPPFLAGS += $(KSHIM_CPPFLAGS)
$(UNIT_POOL_LARGE_OBJ): $(KSHIM_INCLUDE)/made
$(foreach s,16k 64k,$(KSHIM_SRC:%.c=$(UNIT_BUILD)/$(s)/%.o)): UNIT_CFLAGS := \
	$(KSHIM_DRIVER_CFLAGS) -O1 $(filter -f%,$(UNIT_CFLAGS))
$(UNIT_POOL_16K_OBJ): $(UNIT_BUILD)/16k/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@
$(UNIT_POOL_64K_OBJ): $(UNIT_BUILD)/64k/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@
$(UNIT_POOL_16K): $(UNIT_POOL_16K_OBJ) $(UNIT_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_CFLAGS) $^ $(UNIT_LIBS) -o $@
$(UNIT_POOL_64K): $(UNIT_POOL_64K_OBJ) $(UNIT_BUILD)/libunit.a
	$(UNIT_CC) $(UNIT_CFLAGS) $^ $(UNIT_LIBS) -o $@

UNIT_ALL := $(UNIT_TESTS) $(UNIT_POOL_16K) $(UNIT_POOL_64K) $(UNIT_TSAN_TESTS)

# What takes longest begins first, or it is waited for alone (build/unit/seconds).
UNIT_SLOW := test_lives test_faults test_life test_kill_registers test_kill \
	test_broker test_bus_faults test_restart test_disk test_console \
	test_queues_tsan test_pool_64k
UNIT_ORDER := $(foreach t,$(UNIT_SLOW),$(filter %/$(t),$(UNIT_ALL))) \
	$(filter-out $(addprefix %/,$(UNIT_SLOW)),$(UNIT_ALL))

.PHONY: check-unit unit-build
unit-build: $(UNIT_ALL)

check-unit: unit-build
	@sh tests/unit/run.sh $(UNIT_BUILD) \
		$(if $(UNIT_ONLY),$(filter %/$(UNIT_ONLY),$(UNIT_ALL)),$(UNIT_ORDER))

-include $(UNIT_LIB_OBJ:.o=.d) $(UNIT_TESTS:=.d) $(UNIT_POOL_OBJ:.o=.d) $(UNIT_POOL_LARGE_OBJ:.o=.d) $(UNIT_TSAN_OBJ:.o=.d)
.SECONDARY: $(UNIT_TESTS:=.o)

include tests/fuzz/fuzz.mk
