// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_libxl.c - xenstore as libxl writes it for a virtio disk.
 *
 * Follows tools/libs/light/libxl_{disk,device,virtio}.c of Xen 4.20: the
 * frontend directory is the guest's, readable by the backend's domain; the
 * backend directory belongs to the backend's domain, readable by the guest; a
 * copy below /libxl is the toolstack's alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_int.h"

static void put(const char *dir, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void put(const char *dir, const char *key, const char *fmt, ...)
{
	char *path = fake_strf("%s/%s", dir, key), *v;
	va_list ap;
	int err;

	va_start(ap, fmt);
	if (vasprintf(&v, fmt, ap) < 0)
		fake_die("out of memory");
	va_end(ap);
	err = fake_store_write(0, path, "%s", v);
	if (err)
		fake_die("%s: %s", path, strerror(-err));
	free(v);
	free(path);
}

static void make_dir(const char *path, xen_domid_t owner, xen_domid_t reader)
{
	char *perms = fake_strf("n%u r%u", owner, reader);

	fake_store_rm(0, path);
	if (fake_store_mkdir(0, path) ||
	    fake_store_set_perms(0, path, perms))
		fake_die("can't make %s", path);
	free(perms);
}

const char *fake_libxl_disk_path(const struct fake_disk *disk)
{
	static char path[4][128];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]),
		 "/local/domain/%u/backend/virtio_disk/%u/%u", disk->backend,
		 disk->guest, disk->devid);
	return p;
}

static char *front_path(const struct fake_disk *disk)
{
	return fake_strf("/local/domain/%u/device/virtio_disk/%u", disk->guest,
			 disk->devid);
}

/* Twice, as libxl does: in the backend's directory and below /libxl. */
static void put_backend_keys(const char *dir, const struct fake_disk *disk,
			     const char *fe)
{
	put(dir, "frontend", "%s", fe);
	put(dir, "frontend-id", "%u", disk->guest);
	put(dir, "online", "1");
	put(dir, "removable", "0");
	put(dir, "bootable", "1");
	put(dir, "dev", "xvda");
	put(dir, "type", "phy");
	put(dir, "mode", disk->read_only ? "r" : "w");
	put(dir, "device-type", "disk");
	put(dir, "discard-enable", disk->discard ? "1" : "0");
	put(dir, "params", "%s", disk->params ? disk->params : "");
	put(dir, "specification", "virtio");
	put(dir, "transport", "mmio");
	put(dir, "base", "%llu",
	    (unsigned long long)(disk->base ? disk->base : 0x2000000));
	put(dir, "irq", "%u", disk->irq ? disk->irq : 33);
	put(dir, "grant_usage", disk->no_grants ? "0" : "1");
	/* One transaction in libxl: whoever sees the state sees it all. */
	put(dir, "state", "1");
}

const char *fake_libxl_disk_libxl_path(const struct fake_disk *disk)
{
	static char path[64];

	snprintf(path, sizeof(path), "/libxl/%u/device/virtio_disk/%u",
		 disk->guest, disk->devid);
	return path;
}

void fake_libxl_disk_add(const struct fake_disk *disk)
{
	const char *be = fake_libxl_disk_path(disk);
	const char *tool = fake_libxl_disk_libxl_path(disk);
	char *fe = front_path(disk);

	fake_store_rm(0, tool);
	put(tool, "frontend", "%s", fe);
	put(tool, "backend", "%s", be);

	make_dir(fe, disk->guest, disk->backend);
	put(fe, "backend", "%s", be);
	put(fe, "backend-id", "%u", disk->backend);
	put(fe, "state", "1");
	put(fe, "virtual-device", "%u", disk->devid);
	put(fe, "device-type", "disk");
	put(fe, "trusted", "1");

	make_dir(be, disk->backend, disk->guest);
	put_backend_keys(be, disk, fe);
	put_backend_keys(tool, disk, fe);
	free(fe);
}

void fake_libxl_disk_close(const struct fake_disk *disk)
{
	const char *be = fake_libxl_disk_path(disk);

	put(be, "online", "0");
	put(be, "state", "5");
}

void fake_libxl_disk_remove(const struct fake_disk *disk)
{
	char *fe = front_path(disk);

	fake_store_rm(0, fake_libxl_disk_path(disk));
	fake_store_rm(0, fe);
	fake_store_rm(0, fake_libxl_disk_libxl_path(disk));
	free(fe);
}

long fake_libxl_disk_key(const struct fake_disk *disk, const char *key)
{
	char *path = fake_strf("%s/%s", fake_libxl_disk_path(disk), key);
	char *v = fake_store_read(0, path), *end;
	long n = -1;

	free(path);
	if (!v)
		return -1;
	n = strtol(v, &end, 10);
	if (*end || end == v)
		n = -1;
	free(v);
	return n;
}
