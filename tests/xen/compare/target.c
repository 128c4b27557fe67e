// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * target.c - gives one domain privilege over another, as a toolstack does for
 * a stub domain: XEN_DOMCTL_set_target, and the xenstore key "target" by which
 * the domain's own kernel lets its privcmd out.
 *
 *	vg-target DOMID TARGET		run in dom0
 *
 * For virtio-foreignd in the comparison, which could map nothing otherwise.
 * Can be done once in DOMID's life; until its end Xen keeps TARGET's memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xenctrl.h>
#include <xenstore.h>

int main(int argc, char **argv)
{
	struct xs_handle *xs;
	xc_interface *xc;
	char path[64];

	if (argc != 3) {
		fputs("Usage: vg-target DOMID TARGET\n", stderr);
		return 2;
	}
	xc = xc_interface_open(NULL, NULL, 0);
	if (!xc || xc_domain_set_target(xc, (uint32_t)atoi(argv[1]),
					(uint32_t)atoi(argv[2]))) {
		fprintf(stderr, "vg-target: %s\n", strerror(errno));
		return 1;
	}
	xs = xs_open(0);
	snprintf(path, sizeof(path), "/local/domain/%s/target", argv[1]);
	if (!xs || !xs_write(xs, XBT_NULL, path, argv[2],
			     (unsigned int)strlen(argv[2]))) {
		fprintf(stderr, "vg-target: %s: %s\n", path, strerror(errno));
		return 1;
	}
	return 0;
}
