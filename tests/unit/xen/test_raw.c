// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_raw.c - copies by /dev/xen/gntdev (backend/xen/raw.c, gnttab.c) against
 * a gntdev that fails on the way, as Linux' does (drivers/xen/gntdev.c,
 * gntdev_ioctl_grant_copy()): it sets the status of a piece to GNTST_okay
 * before it is copied, copies 16 pieces at a time, and what it has gathered
 * when it fails is not copied at all.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "unit.h"
#include "lib/util.h"

static int gntdev_ioctl(int fd, unsigned long request, void *arg);

/* They are none of what these programs are linked with. */
#define ioctl gntdev_ioctl
#include "xen/raw.c"
#undef ioctl
#include "xen/gnttab.c"

#define GUEST	7u
#define BATCH	16u
#define PIECES	(2 * XEN_RAW_COPY_SEGS_MAX + 10)
/* Xen refuses it. */
#define BAD_REF	4000u

static struct {
	unsigned int fails_at, seen;	/* so many pieces are taken, then */
	int err;
	unsigned int calls, copied;
	bool is_copied[PIECES];
} gntdev;

static int batch(struct gntdev_grant_copy_segment **b, unsigned int *n)
{
	unsigned int i;

	for (i = 0; i < *n; i++) {
		bool is_out = b[i]->flags & GNTCOPY_dest_gref;
		grant_ref_t ref = is_out ? b[i]->dest.foreign.ref :
					   b[i]->source.foreign.ref;

		if (ref == BAD_REF) {
			b[i]->status = -1;
			continue;
		}
		gntdev.is_copied[ref] = true;
		gntdev.copied++;
	}
	*n = 0;
	return 0;
}

static int gntdev_ioctl(int fd, unsigned long request, void *arg)
{
	struct gntdev_grant_copy_segment *b[BATCH];
	struct ioctl_gntdev_grant_copy *op = arg;
	unsigned int i, n = 0;

	(void)fd;
	assert_true(request == IOCTL_GNTDEV_GRANT_COPY);
	gntdev.calls++;
	for (i = 0; i < op->count; i++) {
		struct gntdev_grant_copy_segment *s = &op->segments[i];

		s->status = 0;			/* GNTST_okay */
		if (n == BATCH)
			batch(b, &n);
		/* The page of ours can't be had. */
		if (++gntdev.seen == gntdev.fails_at) {
			errno = gntdev.err;
			return -1;
		}
		b[n++] = s;
	}
	return batch(b, &n);
}

xengnttab_handle *xengnttab_open(void *logger, unsigned int flags)
{
	(void)logger;
	(void)flags;
	return (void *)&gntdev;
}

int xengnttab_close(xengnttab_handle *h)
{
	(void)h;
	return 0;
}

int xengnttab_fd(xengnttab_handle *h)
{
	(void)h;
	return 5;
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *h, uint32_t count,
				      uint32_t domid, uint32_t *refs, int prot)
{
	(void)h;
	(void)count;
	(void)domid;
	(void)refs;
	(void)prot;
	fail();
	return NULL;
}

int xengnttab_unmap(xengnttab_handle *h, void *addr, uint32_t count)
{
	(void)h;
	(void)addr;
	(void)count;
	fail();
	return -1;
}

static struct xen_copy_seg segs[PIECES];
static uint8_t local[8];

static void pieces(bool to_foreign)
{
	unsigned int i;

	memset(&gntdev, 0, sizeof(gntdev));
	for (i = 0; i < PIECES; i++)
		segs[i] = (struct xen_copy_seg){
			.ref = i, .len_bytes = 8, .to_foreign = to_foreign,
			.local = local,
		};
}

static void all_are_copied(void **state)
{
	struct xen_gnttab *gt;
	unsigned int i;

	(void)state;
	assert_int_equal(xen_gnttab_open(&gt), 0);
	pieces(true);
	segs[20].ref = BAD_REF;
	assert_int_equal(xen_gnttab_copy(gt, GUEST, segs, PIECES), -EFAULT);
	assert_int_equal(gntdev.copied, PIECES - 1);
	for (i = 0; i < PIECES; i++)
		assert_int_equal(segs[i].status, i == 20 ? -1 : 0);
	segs[20].ref = 20;
	assert_int_equal(xen_gnttab_copy(gt, GUEST, segs, PIECES), 0);
	assert_int_equal(segs[20].status, 0);
	xen_gnttab_close(gt);
}

/* Whatever fails, and where: what says that it was copied was. */
static void done_means_copied(void **state)
{
	static const int errs[] = { EFAULT, ENOMEM, EINVAL };
	unsigned int at, k, i, dir;
	struct xen_gnttab *gt;

	(void)state;
	assert_int_equal(xen_gnttab_open(&gt), 0);
	for (k = 0; k < 3; k++) {
		for (at = 1; at <= PIECES; at += 1 + at / 9) {
			dir = (at + k) % 2;
			pieces(dir);
			gntdev.fails_at = at;
			gntdev.err = errs[k];
			assert_int_equal(xen_gnttab_copy(gt, GUEST, segs,
							 PIECES), -errs[k]);
			for (i = 0; i < PIECES; i++) {
				assert_true(segs[i].status == 0 ||
					    segs[i].status ==
					    XEN_COPY_NOT_TRIED);
				if (!segs[i].status &&
				    !gntdev.is_copied[i])
					fail_msg("piece %u is said to be copied: error %d at piece %u",
						 i, errs[k], at);
			}
			/* With EFAULT the rest is tried; else it is not. */
			assert_int_equal(segs[PIECES - 1].status == 0,
					 errs[k] == EFAULT &&
					 at <= 2 * XEN_RAW_COPY_SEGS_MAX);
		}
	}
	xen_gnttab_close(gt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_copied),
		cmocka_unit_test(done_means_copied),
	};

	return cmocka_run_group_tests_name("raw", tests, NULL, NULL);
}
