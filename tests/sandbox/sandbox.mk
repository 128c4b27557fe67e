# SPDX-License-Identifier: GPL-2.0-or-later
#
# make check-sandbox: attempts to get out of a worker's sandbox, on this
# machine's kernel; build/arm64/vg-sandbox-probe and build/amd64/ are the same for the
# rig's.
# Without sanitizers: they make system calls of their own.

# The sandbox, and all device types, since what they call is on its list; of
# what those need, nothing of Xen.
VG_SANDBOX_SRCS := tests/sandbox/probe.c backend/grantd/sandbox.c \
	backend/grantd/sandbox_filter.c backend/mem/mem.c \
	$(filter backend/virtio/% backend/dev/%,$(VG_DEVICE_SRCS)) \
	$(addprefix backend/lib/,loop.c lane.c util.c log.c printable.c \
		keys.c endpoint.c stream.c)

build/host/vg-sandbox-probe: $(VG_SANDBOX_SRCS) $(wildcard backend/*/*.h backend/*/*/*.h)
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) $(VG_CFLAGS) $(VG_LDFLAGS) $(VG_SANDBOX_SRCS) -o $@ \
		-luring -lseccomp -ljson-c -lpthread

build/amd64/vg-sandbox-probe: VG_SANDBOX_CC = $(VG_AMD64_CC)
build/arm64/vg-sandbox-probe: VG_SANDBOX_CC = $(VG_ARM64_CC)
build/arm64/vg-sandbox-probe build/amd64/vg-sandbox-probe: $(VG_SANDBOX_SRCS) \
		$(wildcard backend/*/*.h backend/*/*/*.h)
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(VG_SANDBOX_CC) $(VG_CFLAGS) $(VG_LDFLAGS) $(VG_SANDBOX_SRCS) -o $@ \
		-luring -lseccomp -ljson-c -lpthread

.PHONY: check-sandbox
check-sandbox: build/host/vg-sandbox-probe
	@build/host/vg-sandbox-probe

# virtio-grantd with an attacker inside its workers: attack.c.
VG_ATTACK_WRAP := vg_worker_main sigaction seccomp_init epoll_wait
define vg_attacked
build/$(1)/virtio-grantd-attacked: tests/sandbox/attack.c \
		$$(VG_GRANTD_SRCS:backend/%.c=build/$(1)/obj/%.o)
	@echo "  LD      $$@"
	@$(2) $$(VG_CFLAGS) $$(VG_LDFLAGS) $$^ -o $$@ \
		$$(VG_ATTACK_WRAP:%=-Wl,--wrap=%) $$(VG_GRANTD_LIBS)
endef
$(eval $(call vg_attacked,host,$(CC)))
$(eval $(call vg_attacked,arm64,$$(VG_ARM64_CC)))
$(eval $(call vg_attacked,amd64,$$(VG_AMD64_CC)))
