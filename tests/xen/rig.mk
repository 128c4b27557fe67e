# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rig's part of the top-level Makefile: real Xen in QEMU (tests/xen/README.md).
#
#	rig		fetch and build all that the rig boots from
#	shell		an interactive dom0
#	check-xen	every scenario that is not long ("# rig: long" in its
#			head, or "# rig: long x86" for that machine), one
#			after the other; the counts go to
#			build/xen/summary as "PASSED FAILED SKIPPED"
#	check-xen-long	those that are, and more cycles; and on the Xen bus what is
#			about virtio-mmio otherwise
#	check-xen-NAME	one scenario
#	check-flask	those of FLASK_SCENARIOS under Xen with FLASK, enforcing
#			(minutes; the scenario flask is in check-xen,
#			flask-typed and flask-isolation in check-xen-long)
#	rig-clean	what the runs left (the caches stay)
#
# SCENARIOS="a b": which, instead of all.  What they need is built first.

XEN_DIR := tests/xen
# Looked up when asked for.
XEN_SCENARIOS = $(shell $(XEN_DIR)/run.sh --list)
XEN_LONG_SCENARIOS = $(filter-out cycles,$(shell $(XEN_DIR)/run.sh --list-long)) \
	cycles:CYCLES=50 cycles:BUS=1 integrity:BUS=1 takeover:BUS=1 \
	kunit:BUS=1 isolation:BUS=1 busmove:AWAY=1 bus@x86:DOM0=pvh

FLASK_SCENARIOS := boot disk clients demo-mmio restart module cycles:CYCLES=10 dom0 hardening

.PHONY: rig shell check-xen check-xen-long check-flask rig-clean

rig:
	@$(XEN_DIR)/run.sh --prepare

shell:
	@$(XEN_DIR)/shell.sh

# A pattern loses to check-xen-long, which is a rule of its own.
check-xen-%:
	@$(XEN_DIR)/needs.sh $*
	@$(XEN_DIR)/run.sh $*

check-xen: SCENARIOS ?= $(XEN_SCENARIOS)
check-xen:
	@$(XEN_DIR)/needs.sh $(SCENARIOS)
	@$(XEN_DIR)/run-all.sh $(SCENARIOS)

check-xen-long: SCENARIOS ?= $(XEN_LONG_SCENARIOS)
check-xen-long:
	@$(XEN_DIR)/needs.sh $(SCENARIOS)
	@$(XEN_DIR)/run-all.sh $(SCENARIOS)

check-flask: SCENARIOS ?= $(FLASK_SCENARIOS)
check-flask:
	@$(XEN_DIR)/needs.sh $(SCENARIOS)
	@VG_XEN_VARIANT=flask $(XEN_DIR)/run-all.sh $(SCENARIOS)

rig-clean:
	rm -rf build/xen
