// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * servers.c - which IOREQ server is whose, for a broker that comes after
 * us.
 *
 * One file per guest, where nobody but the broker writes, with the server's id
 * and the guest's VM path, which holds its UUID: a domain id can come back, a
 * UUID does not.
 */
#include "broker/broker_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"

static char *server_file(struct vg_broker *b, xen_domid_t domid)
{
	return vg_strf("%s/ioreq-%u", b->cfg.run_dir, domid);
}

static char *vm_of(struct vg_broker *b, xen_domid_t domid)
{
	char *dir = vg_strf("/local/domain/%u", domid);
	char *vm = vg_key_read(b->xs, dir, "vm");

	free(dir);
	return vm;
}

/* Whole or not at all: the old one is as good until then. */
static int write_server(const char *path, uint16_t id, const char *vm)
{
	char *fresh = vg_strf("%s.new", path);
	FILE *f = fopen(fresh, "we");
	int err = f ? 0 : -errno;

	if (f && fprintf(f, "%u %s\n", id, vm ? vm : "-") < 0)
		err = -errno;
	if (f && fclose(f) && !err)
		err = -errno;
	if (!err && rename(fresh, path) < 0)
		err = -errno;
	if (err)
		unlink(fresh);
	free(fresh);
	return err;
}

void vg_broker_remember_server(struct vg_broker *b, xen_domid_t domid,
			       uint16_t id)
{
	char *path, *vm;
	int err;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	vm = vm_of(b, domid);
	err = write_server(path, id, vm);
	if (err)
		vg_warn("%s: %s; a restarted broker will not find dom%u's IOREQ server",
			path, strerror(-err), domid);
	free(vm);
	free(path);
}

void vg_broker_forget_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	unlink(path);
	free(path);
}

bool vg_broker_has_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path;
	bool has;

	if (!b->cfg.run_dir)
		return false;
	path = server_file(b, domid);
	has = !access(path, F_OK);
	free(path);
	return has;
}

int vg_broker_recall_server(struct vg_broker *b, xen_domid_t domid, int *id)
{
	char *path, *vm, was[256];
	unsigned int n;
	int err = 0;
	FILE *f;

	*id = -1;
	if (!b->cfg.run_dir)
		return 0;
	path = server_file(b, domid);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	vm = vm_of(b, domid);
	if (!vm && errno != ENOENT)
		err = -errno;
	if (fscanf(f, "%u %255s", &n, was) == 2 && n <= UINT16_MAX && vm &&
	    !strcmp(was, vm))
		*id = (int)n;
	fclose(f);
	free(vm);
	return err;
}
