# SPDX-License-Identifier: GPL-2.0-or-later
#
# kshim.mk - how kernel/dma/ is compiled for user space: every header of the
# kernel that it includes is kshim.h.  Included by unit.mk; for bench.mk, too.

KSHIM_SRC := $(filter-out %kunit.c,$(wildcard kernel/dma/*.c))
KSHIM_HDR := $(wildcard kernel/dma/*.h) kernel/virtio_grant_dma.h kernel/compat.h
KSHIM_INCLUDE := build/kshim/include
# Of what calls the driver, and of the driver itself.
KSHIM_CPPFLAGS := -I$(KSHIM_INCLUDE) -Itests/bench -Ikernel
KSHIM_DRIVER_CFLAGS := -std=gnu11 -g -Wall -Werror=implicit-function-declaration \
	-fno-strict-aliasing -D__KERNEL__ $(KSHIM_CPPFLAGS) \
	-include tests/bench/kshim.h -include kernel/compat.h

$(KSHIM_INCLUDE)/made: $(KSHIM_SRC) $(KSHIM_HDR) tests/bench/kshim.mk
	@rm -rf $(@D)
	@sed -n 's/^#include <\(.*\/.*\)>.*/\1/p' $(filter %.c %.h,$^) | sort -u | \
	while read -r name; do \
		mkdir -p "$(@D)/$$(dirname "$$name")"; \
		echo '#include "kshim.h"' >"$(@D)/$$name"; \
	done
	@touch $@
