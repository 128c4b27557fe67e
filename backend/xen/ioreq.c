// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ioreq.c - the privileged part: an IOREQ server for one guest, and its
 * interrupts.  Linked into virtio-grant-broker only, and there used by the
 * process of that guest only.  See xen.h.
 *
 * The page mapped here is Xen's own (XENMEM_resource_ioreq_server), one
 * ioreq_t per vCPU; no memory of the guest is ever mapped.  Its fields are
 * written by Xen, addresses and data on the guest's behalf.
 *
 * Follows xen/include/public/hvm/ioreq.h and hvm/dm_op.h.
 */
#define __XEN_TOOLS__ 1	/* HVM_IOREQSRV_* of hvm_op.h */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/ioreq.h>
#include <xen/hvm/dm_op.h>
#include <xen/memory.h>

#include "lib/util.h"
#include "xen/xen.h"

struct xen_ioreq {
	xen_domid_t domid;
	uint16_t id;
	bool created;
	xendevicemodel_handle *dm;
	xenforeignmemory_handle *fmem;
	xenforeignmemory_resource_handle *res;
	shared_iopage_t *page;
	struct xen_evtchn *ec;
	unsigned int nr_vcpus;
	xen_port_t *port;		/* by vCPU */
	bool *begun; /* by vCPU: the predecessor fetched it */
	unsigned int nr_bound;
};

static int map_ioreq_page(struct xen_ioreq *io)
{
	void *va = NULL;

	io->res = xenforeignmemory_map_resource(io->fmem, io->domid,
			XENMEM_resource_ioreq_server, io->id,
			XENMEM_resource_ioreq_server_frame_ioreq(0), 1,
			&va, PROT_READ | PROT_WRITE, 0);
	if (!io->res)
		return -errno;
	io->page = va;
	return 0;
}

static int bind_vcpus(struct xen_ioreq *io)
{
	unsigned int i;

	for (i = 0; i < io->nr_vcpus; i++) {
		int err = xen_evtchn_bind_interdomain(io->ec, io->domid,
				io->page->vcpu_ioreq[i].vp_eport,
				&io->port[i]);

		if (err)
			return err;
		io->nr_bound = i + 1;
	}
	return 0;
}

static int open_libraries(struct xen_ioreq *io)
{
	io->dm = xendevicemodel_open(NULL, 0);
	io->fmem = xenforeignmemory_open(NULL, 0);
	if (!io->dm || !io->fmem)
		return errno ? -errno : -ENODEV;
	if (xendevicemodel_nr_vcpus(io->dm, io->domid, &io->nr_vcpus))
		return -errno;
	if (io->nr_vcpus > XEN_GRANT_PAGE_SIZE / sizeof(ioreq_t))
		return -E2BIG;
	io->port = vg_calloc(io->nr_vcpus, sizeof(*io->port));
	io->begun = vg_calloc(io->nr_vcpus, sizeof(*io->begun));
	return 0;
}

static int attach(struct xen_ioreq *io)
{
	int err = map_ioreq_page(io);

	if (err)
		return err;
	if (xendevicemodel_set_ioreq_server_state(io->dm, io->domid, io->id, 1))
		return -errno;
	return bind_vcpus(io);
}

int xen_ioreq_create(xen_domid_t domid, struct xen_evtchn *ec,
		     struct xen_ioreq **out, uint16_t *server_id)
{
	struct xen_ioreq *io = vg_zalloc(sizeof(*io));
	ioservid_t id;
	int err;

	io->domid = domid;
	io->ec = ec;
	err = open_libraries(io);
	if (err)
		goto fail;
	if (xendevicemodel_create_ioreq_server(io->dm, domid,
					       HVM_IOREQSRV_BUFIOREQ_OFF,
					       &id)) {
		err = -errno;
		goto fail;
	}
	io->id = id;
	io->created = true;
	err = attach(io);
	if (err)
		goto fail;
	*server_id = id;
	*out = io;
	return 0;
fail:
	xen_ioreq_destroy(io);
	return err;
}

void xen_ioreq_leave(struct xen_ioreq *io)
{
	if (io)
		io->created = false;
	xen_ioreq_destroy(io);
}

int xen_ioreq_adopt(xen_domid_t domid, uint16_t server_id,
		    struct xen_evtchn *ec, struct xen_ioreq **out)
{
	struct xen_ioreq *io = vg_zalloc(sizeof(*io));
	unsigned int i;
	int err;

	io->domid = domid;
	io->ec = ec;
	io->id = server_id;
	err = open_libraries(io);
	if (!err)
		err = attach(io);
	if (err) {
		xen_ioreq_destroy(io);
		return err;
	}
	io->created = true;
	/*
	 * What the predecessor had begun is fetched from the start again.  Its
	 * state stays: if Xen saw it go backwards, it would crash the guest
	 * (wait_for_io() of xen/common/ioreq.c).
	 */
	for (i = 0; i < io->nr_vcpus; i++) {
		volatile ioreq_t *req = &io->page->vcpu_ioreq[i];

		io->begun[i] = req->state == STATE_IOREQ_INPROCESS;
	}
	*out = io;
	return 0;
}

void xen_ioreq_destroy(struct xen_ioreq *io)
{
	unsigned int i;

	if (!io)
		return;
	for (i = 0; i < io->nr_bound; i++)
		xen_evtchn_unbind(io->ec, io->port[i]);
	if (io->res)
		xenforeignmemory_unmap_resource(io->fmem, io->res);
	if (io->created)	/* fails when the domain is gone: as well */
		xendevicemodel_destroy_ioreq_server(io->dm, io->domid, io->id);
	if (io->fmem)
		xenforeignmemory_close(io->fmem);
	if (io->dm)
		xendevicemodel_close(io->dm);
	free(io->begun);
	free(io->port);
	free(io);
}

unsigned int xen_ioreq_nr_vcpus(const struct xen_ioreq *io)
{
	return io->nr_vcpus;
}

int xen_ioreq_vcpu_of_port(const struct xen_ioreq *io, xen_port_t port)
{
	unsigned int i;

	for (i = 0; i < io->nr_bound; i++)
		if (io->port[i] == port)
			return (int)i;
	return -ENOENT;
}

int xen_ioreq_map_range(struct xen_ioreq *io, uint64_t first_byte,
			uint64_t last_byte)
{
	if (xendevicemodel_map_io_range_to_ioreq_server(io->dm, io->domid,
			io->id, 1, first_byte, last_byte))
		return -errno;
	return 0;
}

int xen_ioreq_unmap_range(struct xen_ioreq *io, uint64_t first_byte,
			  uint64_t last_byte)
{
	if (xendevicemodel_unmap_io_range_from_ioreq_server(io->dm, io->domid,
			io->id, 1, first_byte, last_byte))
		return -errno;
	return 0;
}

/*
 * The bit-field that holds `state` shares a word with `dir` and others, so it
 * is read as one byte of the structure only through the compiler's own
 * access.  Xen writes it before the event and leaves it alone until the
 * answer: a barrier behind the read of the state is what is needed, partner
 * of the one in ioreq_send() of xen/common/ioreq.c.
 */
bool xen_ioreq_fetch(struct xen_ioreq *io, unsigned int vcpu,
		     struct xen_ioreq_access *acc)
{
	volatile ioreq_t *req = &io->page->vcpu_ioreq[vcpu];

	if (req->state != STATE_IOREQ_READY &&
	    !(io->begun[vcpu] && req->state == STATE_IOREQ_INPROCESS))
		return false;
	smp_rmb();
	io->begun[vcpu] = false;
	req->state = STATE_IOREQ_INPROCESS;
	if (req->type != IOREQ_TYPE_COPY || req->data_is_ptr ||
	    req->count != 1) {
		/*
		 * Nothing that Xen on Arm sends to a server with only MMIO
		 * ranges (xen/arch/arm/ioreq.c); IOREQ_TYPE_INVALIDATE needs
		 * no more than an answer.
		 */
		xen_ioreq_complete(io, vcpu, ~UINT64_C(0));
		return false;
	}
	acc->addr = req->addr;
	acc->data = req->data;
	acc->size_bytes = req->size;
	acc->is_write = req->dir == IOREQ_WRITE;
	return true;
}

int xen_ioreq_complete(struct xen_ioreq *io, unsigned int vcpu, uint64_t data)
{
	volatile ioreq_t *req = &io->page->vcpu_ioreq[vcpu];

	if (req->dir == IOREQ_READ)
		req->data = data;
	/* Data before state: partner in wait_for_io()'s read of the state. */
	smp_wmb();
	req->state = STATE_IORESP_READY;
	return xen_evtchn_notify(io->ec, io->port[vcpu]);
}

int xen_ioreq_raise_spi(struct xen_ioreq *io, uint32_t irq)
{
	/*
	 * The device tree says edge: Xen's vgic_inject_irq() takes level 1 as
	 * one edge and ignores level 0, so one call is the whole of it.
	 */
	if (xendevicemodel_set_irq_level(io->dm, io->domid, irq, 1))
		return -errno;
	return 0;
}
