# SPDX-License-Identifier: GPL-2.0-or-later
#
# The programs of backend/, for this machine (build/host/), and for the
# rig's domains (build/arm64/ and build/amd64/, against its sysroots).  Included by the top Makefile.
#
# The link lines are part of the design: virtio-grantd has neither
# libxenforeignmemory nor libxendevicemodel nor libxenctrl, directly or by
# way of another; tests/check.sh looks at the result.

VG_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Wshadow \
	     -Wmissing-prototypes -Wstrict-prototypes -Wvla \
	     -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE \
	     -iquote backend -iquote .
VG_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

include backend/sources-device.mk	# VG_DEVICE_SRCS

VG_LIB_SRCS := $(addprefix backend/lib/,util.c log.c printable.c child_log.c \
		  loop.c daemon.c sd_notify.c ctl_server.c msg.c keys.c)
VG_COMMON_SRCS := $(VG_LIB_SRCS) backend/toolstack/libxl_keys.c \
		  backend/toolstack/walk.c
VG_GRANTD_SRCS := $(VG_COMMON_SRCS) backend/toolstack/refusals.c \
		  $(addprefix backend/grantd/,main.c supervisor.c devices.c \
		  fronts.c guests.c nodes.c states.c status.c resize.c worker.c \
		  channels.c worker_main.c spawn.c mapper.c sandbox.c \
		  sandbox_filter.c) \
		  $(VG_DEVICE_SRCS) \
		  backend/transport/types.c backend/transport/ports.c \
		  backend/transport/mmio_keys.c \
		  backend/relay/backend.c backend/bus/backend.c \
		  $(addprefix backend/xen/,remote.c raw.c gnttab.c \
		  evtchn.c store.c)
# The same with guest memory swapped, for the comparison; never installed.
VG_FOREIGND_SRCS := $(VG_GRANTD_SRCS) backend/grantd/program_foreignd.c \
		  backend/mem/foreign.c backend/xen/foreign.c
VG_GRANTD_SRCS += backend/grantd/program_grantd.c
VG_BROKER_SRCS := $(VG_COMMON_SRCS) \
		  $(addprefix backend/broker/,main.c broker.c scan.c devices.c \
		  guests.c servers.c status.c child.c guest.c window.c credit.c) \
		  backend/transport/mmio_keys.c \
		  backend/xen/gntshr.c backend/xen/evtchn.c \
		  backend/xen/store.c backend/xen/ioreq.c backend/xen/confine.c
VG_CTL_SRCS    := $(addprefix backend/ctl/,main.c ask.c answer.c session.c \
		  attach.c detach.c list.c create.c watch.c saved.c resize.c) \
		  $(VG_LIB_SRCS) \
		  $(addprefix backend/toolstack/,refusals.c libxl_keys.c \
		  transact.c domains.c bus_spec.c bus_nodes.c bus_follow.c \
		  xl_cfg.c) backend/xen/store.c

VG_GRANTD_LIBS := -lxengnttab -lxenevtchn -lxenstore -luring -lseccomp -ljson-c
VG_BROKER_LIBS := -lxenevtchn -lxenstore -lxendevicemodel \
		  -lxenforeignmemory -lxentoolcore -lseccomp -ljson-c
VG_CTL_LIBS    := -ljson-c -lxenstore
# Static: the rig's guests do not have the library.
VG_FOREIGND_LIBS := -Wl,-Bstatic -lxenforeignmemory -Wl,-Bdynamic \
		  -lxentoolcore -lxentoollog $(VG_GRANTD_LIBS)

VG_PROGRAMS := virtio-grantd virtio-grant-broker virtio-grantctl

# $(1): directory below build/, $(2): compiler
define vg_programs
build/$(1)/obj/%.o: backend/%.c
	@mkdir -p $$(@D)
	@echo "  CC      $(1)/$$*.o"
	@$(2) $$(VG_CFLAGS) $$(CFLAGS) -MMD -MP -c $$< -o $$@

build/$(1)/virtio-grantd: $$(VG_GRANTD_SRCS:backend/%.c=build/$(1)/obj/%.o)
	@echo "  LD      $(1)/virtio-grantd"
	@$(2) $$(VG_LDFLAGS) $$(LDFLAGS) $$^ -o $$@ $$(VG_GRANTD_LIBS)
build/$(1)/virtio-foreignd: $$(VG_FOREIGND_SRCS:backend/%.c=build/$(1)/obj/%.o)
	@echo "  LD      $(1)/virtio-foreignd"
	@$(2) $$(VG_LDFLAGS) $$(LDFLAGS) $$^ -o $$@ $$(VG_FOREIGND_LIBS)
build/$(1)/virtio-grant-broker: $$(VG_BROKER_SRCS:backend/%.c=build/$(1)/obj/%.o)
	@echo "  LD      $(1)/virtio-grant-broker"
	@$(2) $$(VG_LDFLAGS) $$(LDFLAGS) $$^ -o $$@ $$(VG_BROKER_LIBS)
build/$(1)/virtio-grantctl: $$(VG_CTL_SRCS:backend/%.c=build/$(1)/obj/%.o)
	@echo "  LD      $(1)/virtio-grantctl"
	@$(2) $$(VG_LDFLAGS) $$(LDFLAGS) $$^ -o $$@ $$(VG_CTL_LIBS)

-include $$(wildcard build/$(1)/obj/*.d build/$(1)/obj/*/*.d build/$(1)/obj/*/*/*.d)
endef

$(eval $(call vg_programs,host,$(CC)))
# The wrapper compilers of tests/xen/lib/build-sysroot.sh, looked up once.
$(eval $(call vg_programs,arm64,$$(VG_ARM64_CC)))
$(eval $(call vg_programs,amd64,$$(VG_AMD64_CC)))
