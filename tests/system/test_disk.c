// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_disk.c - a disk from libxl's first key to its last, with the real
 * broker, supervisor and worker: it appears, its data are right in every
 * shape, several of them do not meet, it goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"
#include "virtio/state.h"

#define GUEST 3u

/* ---- appearing and going ------------------------------------------------ */

static void appears_and_goes(void **state)
{
	struct fake_disk disk;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_true(fake_libxl_disk_key(&disk, "relay-ref") > 0);
	assert_int_equal(fake_libxl_disk_key(&disk, "relay-domid"), 0);
	assert_true(rig_disk_remove(&disk));
	assert_true(rig_until(!fake_ioreq_servers(GUEST)));
	assert_true(rig_until(!rig_worker_of(GUEST)));
	/* Nothing of it may be held any more: asked by rig_teardown(), too. */
	assert_int_equal(fake_maps_held(RIG_BACKEND), 0);
}

static void broker_after_backend(void **state)
{
	struct fake_disk disk;

	(void)state;
	rig_up();
	assert_int_equal(rig_sup_start(), 0);
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	rig_steps(20);
	assert_int_equal(fake_libxl_disk_key(&disk, "state"), 1);
	assert_int_equal(rig_broker_start(), 0);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	assert_true(rig_disk_remove(&disk));
	rig_steps(20);
	assert_int_equal(rig_down(), 0);
}

static void backend_after_broker(void **state)
{
	struct fake_disk disk;

	(void)state;
	rig_up();
	assert_int_equal(rig_broker_start(), 0);
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	rig_steps(20);
	assert_true(fake_libxl_disk_key(&disk, "relay-ref") > 0);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	assert_true(rig_disk_remove(&disk));
	rig_steps(20);
	assert_int_equal(rig_down(), 0);
}

static uint64_t allowed_bytes;

static int allow_file(void *arg, xen_domid_t guest, uint64_t size_bytes)
{
	(void)arg;
	assert_int_equal(guest, GUEST);
	allowed_bytes = size_bytes;
	return 0;
}

/* All of a state's room is its own, whoever fills its file system later. */
static void a_states_room(void **state)
{
	struct fake_disk disk;
	struct stat st;
	char path[512];

	(void)state;
	rig_up();
	rig.cfg.allow_file = allow_file;
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(rig_sup_start(), 0);
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	snprintf(path, sizeof(path), "%s/%u-virtio_disk-%u", rig.state_dir,
		 GUEST, disk.devid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, vg_state_bytes(1));
	assert_true((size_t)st.st_blocks * 512 >= vg_state_bytes(1));
	/* And its worker may write its image to the end. */
	assert_int_equal(allowed_bytes, RIG_IMAGE_BYTES);
	assert_true(rig_disk_remove(&disk));
	assert_int_equal(rig_down(), 0);
}

static void fifty_cycles_leave_nothing(void **state)
{
	unsigned int i, nodes = 0;

	(void)state;
	for (i = 0; i < 50; i++) {
		xen_domid_t guest = (xen_domid_t)(10 + i);
		struct fake_disk disk;
		struct drv d;

		rig_guest(guest, 1);
		disk = rig_disk(guest, 0);
		assert_true(rig_disk_add(&disk));
		d = rig_drv(&disk);
		assert_int_equal(drv_start(&d, 1), 0);
		if (i % 2)
			assert_int_equal(drv_reset(&d), 0);
		/* Without a reset: the guest was destroyed. */
		assert_true(rig_disk_remove(&disk));
		assert_true(rig_until(!fake_ioreq_servers(guest)));
		fake_domain_destroy(guest);
		assert_int_equal(fake_maps_held(RIG_BACKEND), 0);
		unlink(disk.params);
		fake_store_rm(0, "/local/domain/1/backend/virtio_disk");
		fake_store_rm(0, "/libxl");
		if (!i)
			nodes = fake_store_nr_nodes();
	}
	/* Nine nodes per guest are the fake's own: /local/domain/<guest>. */
	assert_int_equal(fake_store_nr_nodes(), nodes + 49 * 9);
	rig_steps(50);
}

/*
 * libxl waits for this domain to remove the node after state 6; somebody
 * changes it meanwhile, so the first try is in vain.
 */
static void node_is_removed_by_us(void **state)
{
	struct fake_disk disk;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	fake_libxl_disk_close(&disk);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 6));
	assert_true(fake_store_exists(fake_libxl_disk_path(&disk)));
	fake_fail_nth(RIG_BACKEND, FAKE_STORE_COMMIT, 1, EAGAIN);
	assert_true(rig_until(!fake_store_exists(fake_libxl_disk_path(&disk))));
	assert_true(fake_failed(FAKE_STORE_COMMIT));
	fake_libxl_disk_remove(&disk);
	rig_steps(20);
}

/* What can't be served: libxl is told at once, in the backend's words. */
static void refusals(void **state)
{
	static const struct {
		const char *key, *value, *log;
	} cases[] = {
		{ "params", "", "no image is named" },
		{ "params", "relative/path", "not an absolute path" },
		{ "params", "/nonexistent/image", "No such file" },
		{ "params", "/", "s a directory" },
		{ "mode", "rw", "neither r nor w" },
		{ "mode", "", "neither r nor w" },
		{ "base", "0x2000000", "no decimal number" },
		{ "base", "33554432 ", "no decimal number" },
		{ "base", "-1", "no decimal number" },
		{ "base", "", "no decimal number" },
		{ "base", "18446744073709551616", "out of range" },
		{ "base", "18446744073709551615", "out of range" },
		{ "irq", "31", "is no SPI" },
		{ "irq", "1020", "out of range" },
		{ "irq", "33x", "no decimal number" },
		{ "irq", "+33", "no decimal number" },
		{ "grant_usage", "2", "out of range" },
		{ "grant_usage", "0", "grant_usage=0" },
		{ "transport", "pci", "transport: \"pci\" is no transport that is served here (mmio)" },
		{ "transport", "", "transport: \"\" is no transport" },
	};
	unsigned int i;

	(void)state;
	rig_guest(GUEST, 1);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fake_disk disk = rig_disk(GUEST, i % 4);
		char path[256];

		unit_log_start();
		free(unit_image(disk.params, 4096));
		fake_libxl_disk_add(&disk);
		snprintf(path, sizeof(path), "%s/%s",
			 fake_libxl_disk_path(&disk), cases[i].key);
		fake_store_write(0, path, "%s", cases[i].value);
		snprintf(path, sizeof(path), "%s/%s",
			 fake_libxl_disk_libxl_path(&disk), cases[i].key);
		fake_store_write(0, path, "%s", cases[i].value);
		if (!rig_until(unit_logged(cases[i].log))) {
			unit_log_dump();
			fail_msg("%s=\"%s\": not said in words: %s",
				 cases[i].key, cases[i].value, cases[i].log);
		}
		rig_steps(20);
		if (fake_libxl_disk_key(&disk, "state") == 2)
			fail_msg("%s=\"%s\" was served", cases[i].key,
				 cases[i].value);
		fake_libxl_disk_remove(&disk);
		rig_steps(20);
	}
}

static void image_errors(void **state)
{
	struct fake_disk disk;
	int fd;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	fd = open(disk.params, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	fake_libxl_disk_add(&disk);
	assert_true(rig_until(unit_logged("is empty")));
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == -1));
	fake_libxl_disk_remove(&disk);
	rig_steps(10);
	assert_int_equal(ftruncate(fd, 1000), 0);
	fake_libxl_disk_add(&disk);
	assert_true(rig_until(unit_logged("multiple of 512")));
	fake_libxl_disk_remove(&disk);
	rig_steps(10);
	/* And after it was mended, it is served. */
	assert_int_equal(ftruncate(fd, 1024), 0);
	close(fd);
	assert_true(rig_disk_add(&disk));
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
}

static void second_writer_is_refused(void **state)
{
	struct fake_disk a, b;

	(void)state;
	rig_guest(GUEST, 1);
	rig_guest(4, 1);
	a = rig_disk(GUEST, 0);
	b = rig_disk(4, 0);
	b.params = a.params;
	assert_true(rig_disk_add(&a));
	assert_false(rig_disk_add(&b));
	assert_true(unit_logged("in use by another device"));
	assert_int_equal(fake_libxl_disk_key(&b, "state"), -1);
	assert_int_equal(fake_libxl_disk_key(&a, "state"), 2);
	fake_libxl_disk_remove(&b);
	assert_true(rig_disk_remove(&a));
	rig_steps(10);
}

static void same_window_is_refused(void **state)
{
	struct fake_disk a, b;

	(void)state;
	rig_guest(GUEST, 1);
	a = rig_disk(GUEST, 0);
	b = rig_disk(GUEST, 1);
	b.base = a.base + 0x100;
	assert_true(rig_disk_add(&a));
	assert_false(rig_disk_add(&b));
	assert_true(unit_logged("another backend has it already"));
	fake_libxl_disk_remove(&b);
	assert_true(rig_disk_remove(&a));
	rig_steps(10);
}

/* ---- data --------------------------------------------------------------- */

static void start(struct fake_disk *disk, struct drv *d)
{
	rig_guest(GUEST, 1);
	*disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(disk));
	*d = rig_drv(disk);
	assert_int_equal(drv_start(d, 1), 0);
}

static void finish(struct fake_disk *disk, struct drv *d)
{
	assert_int_equal(drv_reset(d), 0);
	assert_int_equal(drv_exit(d), 0);	/* all can be taken back */
	assert_true(rig_disk_remove(disk));
	rig_steps(10);
}

static void identity(void **state)
{
	struct fake_disk disk;
	struct drv d;
	struct drv_buf b;

	(void)state;
	start(&disk, &d);
	assert_true(d.offered & DRV_BIT(VIRTIO_F_VERSION_1));
	assert_true(d.offered & DRV_BIT(VIRTIO_F_ACCESS_PLATFORM));
	assert_int_equal(drv_config(&d, 0, 8), RIG_IMAGE_BYTES / 512);
	assert_int_equal(drv_config(&d, 0, 4), RIG_IMAGE_BYTES / 512);
	b = drv_buf(&d, 4096, false);
	memset(b.va, 0xee, 4096);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_GET_ID, 0, &b, 0, 20),
			 VIRTIO_BLK_S_OK);
	assert_memory_equal(b.va, "xvda", 5);
	assert_int_equal(b.va[20], 0xee);
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

static void reads_are_the_image(void **state)
{
	/* bytes; where in a page they begin */
	static const struct { uint32_t len, offset, sector; } cases[] = {
		{ 512, 0, 0 }, { 512, 3584, 1 }, { 512, 4095, 2 },
		{ 512, 1, 2047 }, { 1024, 3900, 7 }, { 4096, 0, 8 },
		{ 4096, 2048, 9 }, { 4608, 17, 100 }, { 65536, 0, 128 },
		{ 65536, 4095, 256 }, { 130560, 123, 1000 },
	};
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i, k;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 256 * 1024, false);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(b.va, 0x5c, 256 * 1024);
		assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN,
					     cases[i].sector, &b,
					     cases[i].offset, cases[i].len),
				 VIRTIO_BLK_S_OK);
		for (k = 0; k < cases[i].len; k++)
			if (b.va[cases[i].offset + k] !=
			    unit_pattern(cases[i].sector * 512ull + k))
				fail_msg("case %u, byte %u", i, k);
		/* Not a byte beside it. */
		assert_int_equal(b.va[cases[i].offset + cases[i].len], 0x5c);
		if (cases[i].offset)
			assert_int_equal(b.va[cases[i].offset - 1], 0x5c);
	}
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

static void writes_reach_the_image(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i, len = 66048;

	(void)state;
	start(&disk, &d);
	/* Read-only grants: the backend must not need more for a write. */
	b = drv_buf(&d, 128 * 1024, true);
	for (i = 0; i < 128 * 1024; i++)
		b.va[i] = (uint8_t)(i * 3 + 1);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT, 5, &b, 33, len),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false,
				 NULL), VIRTIO_BLK_S_OK);
	for (i = 0; i < len; i += 97)
		assert_int_equal(rig_image_byte(&disk, 5 * 512 + i),
				 b.va[33 + i]);
	assert_int_equal(rig_image_byte(&disk, 5 * 512 - 1),
			 unit_pattern(5 * 512 - 1));
	assert_int_equal(rig_image_byte(&disk, 5 * 512 + len),
			 unit_pattern(5 * 512 + len));
	assert_int_equal(rig_image_bytes(&disk), RIG_IMAGE_BYTES);
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* Pieces of odd sizes, direct and indirect, that make whole sectors. */
static void scattered(void **state)
{
	static const uint32_t len[] = { 1, 511, 3, 1000, 533, 512, 1536, 4096 };
	const unsigned int n = sizeof(len) / sizeof(len[0]);
	struct fake_disk disk;
	struct drv_seg segs[8];
	struct drv_buf b[8];
	struct drv d;
	uint32_t used, total = 0;
	unsigned int i, k, turn;
	uint64_t at;

	(void)state;
	start(&disk, &d);
	for (i = 0; i < n; i++) {
		b[i] = drv_buf(&d, 8192, false);
		segs[i] = (struct drv_seg){ b[i].addr + 4096 - len[i] / 2,
					    len[i], true };
		total += len[i];
	}
	assert_int_equal(total % 512, 0);
	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < n; i++)
			memset(b[i].va, 0, 8192);
		assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, 77, segs, n,
					 turn, &used), VIRTIO_BLK_S_OK);
		assert_int_equal(used, total + 1);
		for (i = 0, at = 77 * 512; i < n; at += len[i++])
			for (k = 0; k < len[i]; k++)
				if (b[i].va[4096 - len[i] / 2 + k] !=
				    unit_pattern(at + k))
					fail_msg("turn %u, piece %u, byte %u",
						 turn, i, k);
	}
	for (i = 0; i < n; i++)
		drv_buf_end(&d, &b[i]);
	finish(&disk, &d);
}

static void bad_requests_are_answered(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	uint64_t last = RIG_IMAGE_BYTES / 512;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8192, false);
	memset(b.va, 0x11, 8192);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, last, &b, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, last - 1, &b, 0,
				     1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT, last - 1, &b, 0,
				     1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, UINT64_MAX, &b, 0,
				     512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT,
				     UINT64_MAX / 512 + 1, &b, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(drv_blk_buf(&d, 12345, 0, &b, 0, 512),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, 0, &b, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(rig_image_bytes(&disk), RIG_IMAGE_BYTES);
	assert_false(drv_needs_reset(&d));
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

static void read_only_disk(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	disk.read_only = true;
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	assert_int_equal(drv_start(&d, 1), 0);
	assert_true(d.offered & DRV_BIT(VIRTIO_BLK_F_RO));
	b = drv_buf(&d, 4096, false);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT, 0, &b, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_image_byte(&disk, 9), unit_pattern(9));
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, 0, &b, 0, 512),
			 VIRTIO_BLK_S_OK);
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* Depth 32 out of order: every id once, every status written, data right. */
static void many_at_once(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	uint8_t *status[32];
	int head[32], got;
	unsigned int i, k, done = 0, round;
	uint32_t used;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 32 * 4096, false);
	for (round = 0; round < 10; round++) {
		memset(b.va, 0, 32 * 4096);
		for (i = 0; i < 32; i++) {
			struct drv_seg s = { b.addr + i * 4096, 4096, true };

			head[i] = drv_blk_add(&d, &d.q[0], VIRTIO_BLK_T_IN,
					      (i * 37 % 200) * 8, &s, 1,
					      i % 2, &status[i]);
			if (head[i] < 0)	/* direct chains take three */
				break;
		}
		done = i;
		drv_kick(&d, &d.q[0], false);
		while (done) {
			assert_true(rig_until(d.q[0].used->idx !=
					      d.q[0].last_used));
			got = drv_take(&d.q[0], &used);
			assert_true(got >= 0);
			assert_int_equal(used, 4097);
			done--;
		}
		for (k = 0; k < i; k++) {
			assert_int_equal(*status[k], VIRTIO_BLK_S_OK);
			assert_int_equal(b.va[k * 4096 + 100], unit_pattern(
					(k * 37 % 200) * 4096ull + 100));
		}
		drv_irq(&d);
	}
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* At most one map and one unmap hypercall for a request, however scattered. */
static void one_map_per_request(void **state)
{
	struct fake_disk disk;
	struct drv_seg segs[64];
	struct drv_buf b[64];
	struct drv d;
	unsigned int i;

	(void)state;
	start(&disk, &d);
	for (i = 0; i < 64; i++) {
		b[i] = drv_buf(&d, 4096, false);
		segs[i] = (struct drv_seg){ b[i].addr, 4096, true };
	}
	fake_count_reset();
	assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, 0, segs, 64, true, NULL),
			 VIRTIO_BLK_S_OK);
	assert_true(fake_calls(RIG_BACKEND, FAKE_GNTTAB_MAP) <= 1);
	assert_true(fake_calls(RIG_BACKEND, FAKE_GNTTAB_UNMAP) <= 1);
	assert_true(fake_calls(0, FAKE_IOREQ_RAISE_SPI) <= 1);
	for (i = 0; i < 64; i++) {
		assert_int_equal(fake_grant_maps(GUEST, b[i].ref), 0);
		drv_buf_end(&d, &b[i]);
	}
	finish(&disk, &d);
}

/*
 * Memory is short when a batch is asked for: it waits, and goes on or is given
 * up.  All of a batch is asked for at once.
 */
static void short_of_memory(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i, round, done;
	uint8_t *status[8];

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8 * 4096, false);
	for (round = 0; round < 6; round++) {
		memset(b.va, 0, 8 * 4096);
		if (round % 3)
			fake_fail_nth(RIG_BACKEND, round % 3 == 1 ?
				      FAKE_GNTTAB_COPY : FAKE_GNTTAB_MAP,
				      1, ENOMEM);
		for (i = 0; i < 8; i++) {
			struct drv_seg s = { b.addr + i * 4096, 4096, true };

			assert_true(drv_blk_add(&d, &d.q[0], VIRTIO_BLK_T_IN,
						i * 8, &s, 1, false,
						&status[i]) >= 0);
		}
		fake_count_reset();
		drv_kick(&d, &d.q[0], true);
		if (round < 3) {
			for (done = 0; done < 8; done++)
				assert_true(rig_until(drv_take(&d.q[0], NULL)
						      >= 0));
			/* In, once more what failed, and out. */
			assert_true(fake_calls(RIG_BACKEND, FAKE_GNTTAB_COPY)
				    <= 3);
			for (i = 0; i < 8; i++) {
				assert_int_equal(*status[i], VIRTIO_BLK_S_OK);
				assert_int_equal(b.va[i * 4096 + 7],
						 unit_pattern(i * 4096 + 7));
			}
			drv_irq(&d);
		} else {
			rig_steps(2);
		}
		assert_true(!(round % 3) || fake_failed(round % 3 == 1 ?
				FAKE_GNTTAB_COPY : FAKE_GNTTAB_MAP) ||
			    rig.cfg.copy_max_bytes != RIG_COPY_LITTLE);
		if (round < 3)
			continue;
		assert_int_equal(drv_reset(&d), 0);
		for (i = 0; i < b.pages; i++)
			assert_int_equal(fake_grant_maps(GUEST, b.ref + i), 0);
		assert_int_equal(drv_exit(&d), 0);
		d.hdrs.pages = 0;
		assert_int_equal(drv_start(&d, 1), 0);
	}
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* Reset in the middle: the answer comes when nothing is mapped any more. */
static void taken_away_under_load(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i, round;
	uint8_t *status;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 64 * 8192, false);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 60; i++) {
			struct drv_seg s = { b.addr + i * 8192, 8192, i % 2 };

			assert_true(drv_blk_add(&d, &d.q[0], i % 2 ?
					VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
					i * 16, &s, 1, true, &status) >= 0);
		}
		drv_kick(&d, &d.q[0], true);
		rig_steps(round % 4);
		assert_int_equal(drv_reset(&d), 0);
		for (i = 0; i < b.pages; i++)
			if (fake_grant_maps(GUEST, b.ref + i))
				fail_msg("round %u: page %u is mapped after a reset",
					 round, i);
		assert_int_equal(drv_exit(&d), 0);
		d.hdrs.pages = 0;
		assert_int_equal(drv_start(&d, 1), 0);
	}
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* xl destroy with requests in flight: state 6 comes, and all is unmapped. */
static void destroyed_under_load(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i;
	uint8_t *status;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 64 * 8192, false);
	for (i = 0; i < 60; i++) {
		struct drv_seg s = { b.addr + i * 8192, 8192, false };

		assert_true(drv_blk_add(&d, &d.q[0], VIRTIO_BLK_T_OUT, i * 16,
					&s, 1, true, &status) >= 0);
	}
	drv_kick(&d, &d.q[0], true);
	rig_step();
	assert_true(rig_disk_remove(&disk));
	assert_true(rig_until(!fake_maps_held(RIG_BACKEND)));
	rig_steps(10);
}

/* ---- several ------------------------------------------------------------ */

/* A read and a write whose answers are on their way, and can't go out. */
static void two_under_way(struct drv *d, struct drv_buf *b, uint8_t *status[2],
			  unsigned int failing, int err)
{
	struct drv_seg r = { b->addr, 4096, true };
	struct drv_seg w = { b->addr + 4096, 4096, false };

	memset(b->va, 0xa5, 8192);
	assert_true(drv_blk_add(d, &d->q[0], VIRTIO_BLK_T_IN, 8, &r, 1, false,
				&status[0]) >= 0);
	assert_true(drv_blk_add(d, &d->q[0], VIRTIO_BLK_T_OUT, 64, &w, 1, false,
				&status[1]) >= 0);
	/* The first is what they read. */
	fake_fail_from(RIG_BACKEND, FAKE_GNTTAB_COPY, 2, failing, err);
	drv_kick(d, &d->q[0], true);
}

/*
 * Nothing of it is shown before the answer is there: not the request as used,
 * which to a driver means done.
 */
static void results_wait_for_memory(void **state)
{
	static const int errs[] = { ENOMEM, EFAULT, ENOSPC };
	struct fake_disk disk;
	uint8_t *status[2];
	struct drv_buf b;
	struct drv d;
	unsigned int i, k;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8192, false);
	for (i = 0; i < 3; i++) {
		uint64_t copies, began;

		two_under_way(&d, &b, status, 1000, errs[i]);
		assert_true(rig_until(fake_failed(FAKE_GNTTAB_COPY)));
		copies = fake_calls(RIG_BACKEND, FAKE_GNTTAB_COPY);
		began = rig_now_ms();
		while (rig_now_ms() - began < 100)
			rig_step();
		/* Tried again, and not all the time. */
		copies = fake_calls(RIG_BACKEND, FAKE_GNTTAB_COPY) - copies;
		assert_in_range(copies, 1,
				(rig_now_ms() - began) / 10 + 2);
		assert_int_equal(drv_take(&d.q[0], NULL), -EAGAIN);
		assert_int_equal(*status[0], DRV_BLK_PENDING);
		fake_fail_nth(0, FAKE_GNTTAB_COPY, 0, 0);
		for (k = 0; k < 2; k++)
			assert_true(rig_until(drv_take(&d.q[0], NULL) >= 0));
		assert_int_equal(*status[0], VIRTIO_BLK_S_OK);
		assert_int_equal(*status[1], VIRTIO_BLK_S_OK);
		for (k = 0; k < 4096; k++)
			assert_int_equal(b.va[k], unit_pattern(4096 + k));
		assert_int_equal(rig_image_byte(&disk, 64 * 512), 0xa5);
		if (fake_spi_count(GUEST, d.irq) != d.spis_seen)
			drv_irq(&d);
	}
	assert_int_equal(rig_stats(&disk)->broken_count, 0);
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

/* For ten seconds: the device says so. */
static void results_wait_in_vain(void **state)
{
	uint64_t until = rig_now_ms() + 20000;
	struct fake_disk disk;
	uint8_t *status[2];
	struct drv_buf b;
	struct drv d;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8192, false);
	two_under_way(&d, &b, status, UINT32_MAX, ENOMEM);
	while (!rig_stats(&disk)->broken && rig_now_ms() < until) {
		rig_step();
		usleep(1000);
	}
	assert_int_equal(rig_stats(&disk)->broken, VG_BROKEN_UNDELIVERED);
	assert_true(drv_needs_reset(&d));
	assert_int_equal(drv_take(&d.q[0], NULL), -EAGAIN);
	assert_int_equal(rig_stats(&disk)->in_flight, 0);
	fake_fail_nth(0, FAKE_GNTTAB_COPY, 0, 0);
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	drv_buf_end(&d, &b);
	assert_true(rig_disk_remove(&disk));
}

static void reset_does_not_wait_for_results(void **state)
{
	struct fake_disk disk;
	uint8_t *status[2];
	struct drv_buf b;
	struct drv d;
	uint64_t began;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8192, false);
	two_under_way(&d, &b, status, UINT32_MAX, ENOMEM);
	assert_true(rig_until(fake_failed(FAKE_GNTTAB_COPY)));
	rig_steps(3);
	began = rig_now_ms();
	assert_int_equal(drv_reset(&d), 0);
	assert_true(rig_now_ms() - began < 2000);
	assert_int_equal(rig_stats(&disk)->broken_count, 0);
	assert_int_equal(drv_exit(&d), 0);
	fake_fail_nth(0, FAKE_GNTTAB_COPY, 0, 0);
	drv_buf_end(&d, &b);
	assert_true(rig_disk_remove(&disk));
}

/*
 * Xen has no handle left for a mapping, which Linux tells like a missing grant.
 */
static void no_handles_for_a_while(void **state)
{
	struct fake_disk disk;
	struct drv_seg s;
	struct drv_buf b;
	uint8_t *status;
	struct drv d;

	(void)state;
	start(&disk, &d);
	b = drv_buf(&d, 8192, false);
	s = (struct drv_seg){ b.addr, 8192, true };
	fake_set_maptrack_limit(RIG_BACKEND, fake_maps_held(RIG_BACKEND));
	assert_true(drv_blk_add(&d, &d.q[0], VIRTIO_BLK_T_IN, 8, &s, 1, false,
				&status) >= 0);
	drv_kick(&d, &d.q[0], true);
	rig_steps(50);
	usleep(20000);
	rig_steps(50);
	assert_int_equal(drv_take(&d.q[0], NULL), -EAGAIN);
	assert_false(drv_needs_reset(&d));
	fake_set_maptrack_limit(RIG_BACKEND, 65536);
	assert_true(rig_until(drv_take(&d.q[0], NULL) >= 0));
	assert_int_equal(*status, VIRTIO_BLK_S_OK);
	assert_int_equal(b.va[8191], unit_pattern(4096 + 8191));
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

static void three_guests_three_disks(void **state)
{
	struct fake_disk disk[9];
	struct drv d[9];
	struct drv_buf b;
	unsigned int i, k;

	(void)state;
	for (i = 0; i < 9; i++) {
		if (i % 3 == 0)
			rig_guest((xen_domid_t)(3 + i / 3), 2);
		disk[i] = rig_disk((xen_domid_t)(3 + i / 3), i % 3);
		disk[i].params = strdup(disk[i].params);
		assert_true(rig_disk_add(&disk[i]));
		d[i] = rig_drv(&disk[i]);
		d[i].vcpu = i % 2;
		assert_int_equal(drv_start(&d[i], 1), 0);
	}
	assert_int_equal(fake_ioreq_servers(3), 1);	/* one per guest */
	for (i = 0; i < 9; i++) {
		b = drv_buf(&d[i], 4096, false);
		memset(b.va, (int)(0x40 + i), 4096);
		assert_int_equal(drv_blk_buf(&d[i], VIRTIO_BLK_T_OUT, 10, &b,
					     0, 4096), VIRTIO_BLK_S_OK);
		drv_buf_end(&d[i], &b);
	}
	for (i = 0; i < 9; i++)
		for (k = 0; k < 4096; k += 511)
			assert_int_equal(rig_image_byte(&disk[i], 5120 + k),
					 0x40 + i);
	/* One goes, the others work on. */
	assert_true(rig_disk_remove(&disk[4]));
	for (i = 0; i < 9; i++) {
		if (i == 4)
			continue;
		b = drv_buf(&d[i], 4096, false);
		assert_int_equal(drv_blk_buf(&d[i], VIRTIO_BLK_T_IN, 10, &b, 0,
					     4096), VIRTIO_BLK_S_OK);
		assert_int_equal(b.va[99], 0x40 + i);
		drv_buf_end(&d[i], &b);
		assert_true(rig_disk_remove(&disk[i]));
	}
	for (i = 0; i < 9; i++)
		free((char *)(uintptr_t)disk[i].params);
	rig_steps(10);
}

/* ---- negotiation -------------------------------------------------------- */

static void features_are_required(void **state)
{
	struct fake_disk disk;
	struct drv d;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	d.wanted = DRV_BIT(VIRTIO_F_VERSION_1);
	assert_int_equal(drv_start(&d, 1), -EINVAL);
	d.wanted = DRV_BIT(VIRTIO_F_ACCESS_PLATFORM);
	assert_int_equal(drv_start(&d, 1), -EINVAL);
	d.wanted = DRV_BIT(VIRTIO_F_VERSION_1) |
		   DRV_BIT(VIRTIO_F_ACCESS_PLATFORM) | DRV_BIT(60);
	assert_int_equal(drv_start(&d, 1), -EINVAL);
	d.wanted = DRV_BIT(VIRTIO_F_VERSION_1) |
		   DRV_BIT(VIRTIO_F_ACCESS_PLATFORM);
	assert_int_equal(drv_start(&d, 1), 0);
	finish(&disk, &d);
}

/* Every combination of ring features carries data. */
static void ring_features(void **state)
{
	static const uint64_t sets[] = {
		0, DRV_BIT(VIRTIO_RING_F_INDIRECT_DESC),
		DRV_BIT(VIRTIO_RING_F_EVENT_IDX),
		DRV_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
			DRV_BIT(VIRTIO_RING_F_EVENT_IDX),
	};
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;
	unsigned int i, k;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	for (i = 0; i < 4; i++) {
		struct drv_seg s;

		d = rig_drv(&disk);
		d.wanted = DRV_BIT(VIRTIO_F_VERSION_1) | sets[i] |
			   DRV_BIT(VIRTIO_F_ACCESS_PLATFORM);
		d.num = 16;
		assert_int_equal(drv_start(&d, 1), 0);
		b = drv_buf(&d, 4096, false);
		s = (struct drv_seg){ b.addr, 4096, true };
		/* More than the ring holds, so that the indices wrap. */
		for (k = 0; k < 100; k++) {
			assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, k * 8,
						 &s, 1, i & 1, NULL),
					 VIRTIO_BLK_S_OK);
			assert_int_equal(b.va[3], unit_pattern(k * 4096 + 3));
		}
		drv_buf_end(&d, &b);
		assert_int_equal(drv_reset(&d), 0);
		assert_int_equal(drv_exit(&d), 0);
	}
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
}

static void queue_reset(void **state)
{
	struct fake_disk disk;
	struct drv_buf b;
	struct drv d;

	(void)state;
	start(&disk, &d);
	if (!(d.features & DRV_BIT(40)))	/* VIRTIO_F_RING_RESET */
		skip();
	b = drv_buf(&d, 4096, false);
	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	drv_write(&d, 0x0c0, 1);
	assert_int_equal(drv_read(&d, 0x0c0), 0);
	assert_int_equal(drv_read(&d, VIRTIO_MMIO_QUEUE_READY), 0);
	drv_buf_end(&d, &d.q[0].mem);		/* may be taken back now */
	d.q[0].mem.pages = 0;
	assert_int_equal(drv_queue_init(&d, 0, 8), 0);
	assert_int_equal(drv_queue_enable(&d, 0), 0);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_IN, 0, &b, 0, 4096),
			 VIRTIO_BLK_S_OK);
	drv_buf_end(&d, &b);
	finish(&disk, &d);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

/* The same through io_uring, whose completions come later. */
static int setup_uring(void **state)
{
	(void)state;
	rig_up();
	vg_blk_options.engine = VG_BLK_ENGINE_AUTO;
	return rig_broker_start() || rig_sup_start();
}

#define U(f) { #f " (io_uring)", f, setup_uring, rig_teardown, NULL }

/* The same with most requests mapped. */
static int setup_mapped(void **state)
{
	int err;

	rig_copy_max_bytes = RIG_COPY_LITTLE;
	err = rig_setup(state);
	rig_copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT;
	return err;
}

#define M(f) { #f " (mapped)", f, setup_mapped, rig_teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(appears_and_goes),
		cmocka_unit_test(broker_after_backend),
		cmocka_unit_test(backend_after_broker),
		cmocka_unit_test(a_states_room),
		T(fifty_cycles_leave_nothing),
		T(node_is_removed_by_us),
		T(refusals),
		T(image_errors),
		T(second_writer_is_refused),
		T(same_window_is_refused),
		T(identity),
		T(reads_are_the_image),
		T(writes_reach_the_image),
		T(scattered),
		T(bad_requests_are_answered),
		T(read_only_disk),
		T(many_at_once),
		M(reads_are_the_image),
		M(writes_reach_the_image),
		M(scattered),
		M(bad_requests_are_answered),
		M(many_at_once),
		T(one_map_per_request), M(one_map_per_request),
		T(short_of_memory), M(short_of_memory),
		T(results_wait_for_memory),
		T(results_wait_in_vain),
		T(reset_does_not_wait_for_results),
		M(no_handles_for_a_while),
		T(three_guests_three_disks),
		T(features_are_required),
		T(ring_features),
		T(queue_reset),
		U(reads_are_the_image),
		U(writes_reach_the_image),
		U(scattered),
		U(bad_requests_are_answered),
		U(many_at_once),
		U(three_guests_three_disks),
		U(taken_away_under_load),
		U(destroyed_under_load),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
