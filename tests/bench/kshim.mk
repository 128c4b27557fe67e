# SPDX-License-Identifier: GPL-2.0-or-later
#
# kshim.mk - how kernel/virtio_grant_dma.c is compiled for user space: every
# header of the kernel that it includes is kshim.h.  Included by unit.mk; for
# bench.mk, too.

KSHIM_SRC := kernel/virtio_grant_dma.c
KSHIM_INCLUDE := build/kshim/include
# Of what calls the driver, and of the driver itself.
KSHIM_CPPFLAGS := -I$(KSHIM_INCLUDE) -Itests/bench -Ikernel
KSHIM_DRIVER_CFLAGS := -std=gnu11 -g -Wall -Werror=implicit-function-declaration \
	-fno-strict-aliasing -D__KERNEL__ $(KSHIM_CPPFLAGS) \
	-include tests/bench/kshim.h -include kernel/compat.h

$(KSHIM_INCLUDE)/made: $(KSHIM_SRC) $(KSHIM_SRC:.c=.h) kernel/compat.h tests/bench/kshim.mk
	@rm -rf $(@D)
	@sed -n 's/^#include <\(.*\/.*\)>.*/\1/p' $(filter %.c %.h,$^) | sort -u | \
	while read -r name; do \
		mkdir -p "$(@D)/$$(dirname "$$name")"; \
		echo '#include "kshim.h"' >"$(@D)/$$name"; \
	done
	@touch $@
