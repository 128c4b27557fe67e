// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vg_victim.c - secrets in a guest kernel's memory, as close to its disk's
 * buffers as they can get.  A test's module, never part of the product.
 *
 *	kernel=HEX	planted in objects of every kmalloc cache from 32 bytes
 *			to 8 KiB.  Every other one is freed again, as it is, so
 *			that the block layer's request structures, indirect
 *			tables and whatever else the driver allocates lie
 *			between the others, and on top of what the freed ones
 *			held
 *	canary=HEX	around every buffer that this module does I/O with, and
 *			in it before a read
 *	inflight=HEX	what it writes and reads
 *	dev=PATH	the disk
 *	first_kib=, kib= its own part of the disk
 *
 * Each HEX is a secret of 32 bytes with all bits inverted, so that what
 * carried it here (command lines, xenstore rings, consoles) does not contain
 * it.  I/O is of every size from 512 bytes to 64 KiB at every kind of odd
 * address, until the module is unloaded; rounds and errors count.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/hex.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>

#define SECRET_BYTES	32
#define OBJECTS		256
#define GUARD_BYTES	1024
#define IO_MAX_BYTES	65536

static char *kernel = "", *canary = "", *inflight = "", *dev = "";
module_param(kernel, charp, 0400);
module_param(canary, charp, 0400);
module_param(inflight, charp, 0400);
module_param(dev, charp, 0400);
static unsigned int first_kib, kib = 1024;
module_param(first_kib, uint, 0400);
module_param(kib, uint, 0400);
static unsigned long rounds, errors;
module_param(rounds, ulong, 0444);
module_param(errors, ulong, 0444);

static u8 kernel_secret[SECRET_BYTES], canary_secret[SECRET_BYTES];
static u8 inflight_secret[SECRET_BYTES];
static void *planted[16][OBJECTS];
static struct file *disk;
static struct task_struct *thread;

static int take(const char *hex, u8 *secret)
{
	unsigned int i;

	if (strlen(hex) != 2 * SECRET_BYTES ||
	    hex2bin(secret, hex, SECRET_BYTES))
		return -EINVAL;
	for (i = 0; i < SECRET_BYTES; i++)
		secret[i] = ~secret[i];
	return 0;
}

static void fill(void *to, size_t bytes, const u8 *secret)
{
	size_t i;

	for (i = 0; i + SECRET_BYTES <= bytes; i += SECRET_BYTES)
		memcpy(to + i, secret, SECRET_BYTES);
	memcpy(to + i, secret, bytes - i);
}

/* Whether @bytes at @from are what fill() puts there, @skip bytes in. */
static bool is_filled(const u8 *from, size_t bytes, size_t skip,
		      const u8 *secret)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		if (from[i] != secret[(skip + i) % SECRET_BYTES])
			return false;
	return true;
}

static void plant(void)
{
	unsigned int class, i;

	for (class = 5; class <= 13; class++) {
		for (i = 0; i < OBJECTS; i++) {
			planted[class][i] = kmalloc(1UL << class, GFP_KERNEL);
			if (planted[class][i])
				fill(planted[class][i], 1UL << class,
				     kernel_secret);
		}
		for (i = 0; i < OBJECTS; i += 2) {
			kfree(planted[class][i]);
			planted[class][i] = NULL;
		}
	}
}

static void uproot(void)
{
	unsigned int class, i;

	for (class = 5; class <= 13; class++)
		for (i = 0; i < OBJECTS; i++)
			kfree_sensitive(planted[class][i]);
}

static int transfer(blk_opf_t op, sector_t sector, void *data, size_t bytes)
{
	unsigned int pages = PFN_UP(offset_in_page(data) + bytes);
	struct bio *bio;
	int ret;

	bio = bio_alloc(file_bdev(disk), pages, op, GFP_KERNEL);
	bio->bi_iter.bi_sector = sector;
	while (bytes) {
		size_t part = min_t(size_t, bytes,
				    PAGE_SIZE - offset_in_page(data));

		__bio_add_page(bio, virt_to_page(data), part,
			       offset_in_page(data));
		data += part;
		bytes -= part;
	}
	ret = submit_bio_wait(bio);
	bio_put(bio);
	return ret;
}

/* One write and one read of @bytes at an odd address, all checked. */
static int io_once(size_t bytes, size_t shift, sector_t sector)
{
	size_t all = GUARD_BYTES + bytes + GUARD_BYTES;
	u8 *buf = kmalloc(all, GFP_KERNEL),
	   *data = buf + GUARD_BYTES / 2 + shift;
	size_t before = data - buf, after = all - before - bytes;
	int ret;

	if (!buf)
		return 0;
	fill(buf, all, canary_secret);
	fill(data, bytes, inflight_secret);
	ret = transfer(REQ_OP_WRITE, sector, data, bytes);
	if (ret)
		goto out;
	fill(buf, all, canary_secret);
	ret = transfer(REQ_OP_READ, sector, data, bytes);
	if (!ret && (!is_filled(data, bytes, 0, inflight_secret) ||
		     !is_filled(buf, before, 0, canary_secret) ||
		     !is_filled(data + bytes, after, before + bytes,
				canary_secret)))
		ret = -EBADMSG;
out:
	kfree(buf);
	return ret;
}

static int io_thread(void *unused)
{
	unsigned int sectors = kib * 2, bytes, shift;

	while (!kthread_should_stop()) {
		/* Nothing larger than a page moves within a page. */
		for (bytes = 512; bytes <= IO_MAX_BYTES;
		     bytes += bytes < 8192 ? 512 : 8192) {
			shift = get_random_u32_below(GUARD_BYTES / 2);
			if (io_once(bytes, shift,
				    first_kib * 2 +
					    get_random_u32_below(sectors -
								 bytes / 512)))
				errors++;
			if (kthread_should_stop())
				break;
		}
		rounds++;
	}
	return 0;
}

static int __init victim_init(void)
{
	if (take(kernel, kernel_secret) || take(canary, canary_secret) ||
	    take(inflight, inflight_secret) || kib < IO_MAX_BYTES / 1024 * 2)
		return -EINVAL;
	plant();
	if (!*dev)
		return 0;
	disk = bdev_file_open_by_path(dev, BLK_OPEN_READ | BLK_OPEN_WRITE, NULL,
				      NULL);
	if (IS_ERR(disk)) {
		uproot();
		return PTR_ERR(disk);
	}
	thread = kthread_run(io_thread, NULL, "vg-victim");
	if (IS_ERR(thread)) {
		fput(disk);
		uproot();
		return PTR_ERR(thread);
	}
	return 0;
}
module_init(victim_init);

static void __exit victim_exit(void)
{
	if (thread) {
		kthread_stop(thread);
		fput(disk);
	}
	uproot();
}
module_exit(victim_exit);

MODULE_DESCRIPTION("Secrets in a guest, for virtio-grant's isolation test");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
