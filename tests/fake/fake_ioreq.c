// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_ioreq.c - IOREQ servers, vCPUs and SPIs: xen_ioreq_* and the guest's
 * side.
 *
 * Follows xen/common/ioreq.c and xen/arch/arm/dm.c.  What matters most to
 * callers and is easy to get wrong: a server belongs to the domain that
 * created it, not to the process, so it outlives a crash; ranges may overlap
 * those of another server (the highest id wins) but not the server's own; a
 * vCPU whose server is destroyed before the access is completed waits for
 * ever, since nothing wakes it.
 *
 * Simplification: ranges that touch are not merged, so one unmap can't span
 * two maps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_int.h"

struct xen_ioreq {
	struct fake_handle h;
	struct fake_domain *d;
	struct fake_server *s;		/* NULL: gone, with the domain */
	uint16_t id;
	struct xen_evtchn *ec;
	unsigned int nr_ports;
	xen_port_t port[FAKE_NR_VCPUS];
};

unsigned int fake_mmio_timeout_ms = 5000;
static void (*pump_fn)(void *arg);
static void *pump_arg;

/* rcu_lock_remote_domain_by_id() and xsm_dm_op(): who may do DM ops. */
static int dm_permitted(struct fake_domain *by, xen_domid_t domid,
			struct fake_domain **out)
{
	struct fake_domain *d = fake_domain_alive(domid);

	if (!d)
		return -ESRCH;
	if (d == by)
		return -EPERM;
	if (by->domid != 0 && by->target != domid)
		return -EPERM;
	*out = d;
	return 0;
}

/* ---- making and ending servers ------------------------------------------ */

static void server_init(struct fake_domain *d, struct fake_server *s,
			xen_domid_t emulator)
{
	unsigned int i;

	memset(s, 0, sizeof(*s));
	s->exists = true;
	s->enabled = true;
	s->emulator = emulator;
	for (i = 0; i < d->nr_vcpus; i++) {
		xen_port_t p = fake_port_new(d);

		if (!p)
			fake_die("dom%u: out of ports", d->domid);
		d->port[p] = (struct fake_port){
			.state = FAKE_PORT_UNBOUND, .is_xens = true,
			.remote_dom = emulator,
		};
		s->vcpu_port[i] = p;
	}
}

static void server_exit(struct fake_domain *d, unsigned int id)
{
	struct fake_server *s = &d->server[id];
	unsigned int i;

	for (i = 0; i < d->nr_vcpus; i++) {
		fake_port_close(d, s->vcpu_port[i]);
		if (d->vcpu[i].waits && d->vcpu[i].server == (int)id)
			d->vcpu[i].server = -1;
	}
	if (s->handle)
		s->handle->s = NULL;
	memset(s, 0, sizeof(*s));
}

static struct xen_ioreq *handle_new(struct fake_domain *d, unsigned int id,
				    struct xen_evtchn *ec)
{
	/* Every handle begins with this. */
	struct fake_proc *proc = ((struct fake_handle *)ec)->proc;
	struct fake_proc *saved = fake_current_proc();
	struct xen_ioreq *io = fake_zalloc(sizeof(*io));

	fake_enter_proc(proc);
	fake_handle_add(&io->h, FAKE_H_IOREQ);
	fake_enter_proc(saved);
	io->d = d;
	io->s = &d->server[id];
	io->s->handle = io;
	io->id = (uint16_t)id;
	io->ec = ec;
	return io;
}

static int bind_vcpus(struct xen_ioreq *io)
{
	unsigned int i;
	int err;

	for (i = 0; i < io->d->nr_vcpus; i++) {
		err = xen_evtchn_bind_interdomain(io->ec, io->d->domid,
						  io->s->vcpu_port[i],
						  &io->port[i]);
		if (err)
			return err;
		io->nr_ports = i + 1;
	}
	return 0;
}

int xen_ioreq_create(xen_domid_t domid, struct xen_evtchn *ec,
		     struct xen_ioreq **out, uint16_t *server_id)
{
	struct fake_domain *d, *by = fake_domain_need(
			((struct fake_handle *)ec)->proc->domid);
	struct xen_ioreq *io;
	unsigned int id;
	int err = fake_hcall((struct fake_handle *)ec, FAKE_IOREQ_CREATE);

	if (err)
		return err;
	err = dm_permitted(by, domid, &d);
	if (err)
		return err;
	for (id = 0; id < FAKE_NR_IOREQ_SERVERS; id++)
		if (!d->server[id].exists)
			break;
	if (id == FAKE_NR_IOREQ_SERVERS)
		return -ENOSPC;
	server_init(d, &d->server[id], by->domid);
	io = handle_new(d, id, ec);
	err = bind_vcpus(io);
	if (err) {
		xen_ioreq_destroy(io);
		return err;
	}
	*server_id = (uint16_t)id;
	*out = io;
	return 0;
}

int xen_ioreq_adopt(xen_domid_t domid, uint16_t server_id,
		    struct xen_evtchn *ec, struct xen_ioreq **out)
{
	struct fake_domain *d, *by = fake_domain_need(
			((struct fake_handle *)ec)->proc->domid);
	struct xen_ioreq *io;
	unsigned int i;
	int err = fake_hcall((struct fake_handle *)ec, FAKE_IOREQ_ADOPT);

	if (!err)
		err = dm_permitted(by, domid, &d);
	if (err)
		return err;
	if (server_id >= FAKE_NR_IOREQ_SERVERS || !d->server[server_id].exists)
		return -ENOENT;
	if (d->server[server_id].emulator != by->domid)
		return -EPERM;
	if (d->server[server_id].handle)
		return -EINVAL;	/* the vCPUs' ports are bound already */
	io = handle_new(d, server_id, ec);
	err = bind_vcpus(io);
	if (err) {
		xen_ioreq_leave(io);
		return err;
	}
	for (i = 0; i < d->nr_vcpus; i++)
		if (d->vcpu[i].waits && d->vcpu[i].server == server_id)
			d->vcpu[i].fetched = false;
	*out = io;
	return 0;
}

static void handle_free(struct xen_ioreq *io, bool keep_server)
{
	unsigned int i;

	if (!io->h.dead) {
		for (i = 0; i < io->nr_ports; i++)
			xen_evtchn_unbind(io->ec, io->port[i]);
		if (io->s && keep_server)
			io->s->handle = NULL;
		else if (io->s)
			server_exit(io->d, io->id);
	}
	fake_handle_free(&io->h);
}

void xen_ioreq_destroy(struct xen_ioreq *io)
{
	if (io)
		handle_free(io, false);
}

void xen_ioreq_leave(struct xen_ioreq *io)
{
	if (io)
		handle_free(io, true);
}

static void vcpu_complete(struct fake_vcpu *v, uint64_t data)
{
	v->result = data;
	v->waits = false;
	v->done = true;
}

unsigned int xen_ioreq_nr_vcpus(const struct xen_ioreq *io)
{
	return io->d->nr_vcpus;
}

int xen_ioreq_vcpu_of_port(const struct xen_ioreq *io, xen_port_t port)
{
	unsigned int i;

	for (i = 0; i < io->nr_ports; i++)
		if (io->port[i] == port)
			return (int)i;
	return -ENOENT;
}

/* ---- ranges ------------------------------------------------------------- */

int xen_ioreq_map_range(struct xen_ioreq *io, uint64_t first_byte,
			uint64_t last_byte)
{
	int err = fake_hcall(&io->h, FAKE_IOREQ_MAP_RANGE);
	struct fake_server *s = io->s;
	unsigned int i;

	if (err)
		return err;
	if (!s)
		return -ESRCH;
	if (first_byte > last_byte)
		return -EINVAL;
	for (i = 0; i < s->nr_ranges; i++)
		if (first_byte <= s->range[i].last &&
		    s->range[i].first <= last_byte)
			return -EEXIST;
	if (s->nr_ranges == FAKE_NR_IO_RANGES)
		return -ENOMEM;
	s->range[s->nr_ranges++] =
		(struct fake_range){ first_byte, last_byte };
	return 0;
}

int xen_ioreq_unmap_range(struct xen_ioreq *io, uint64_t first_byte,
			  uint64_t last_byte)
{
	int err = fake_hcall(&io->h, FAKE_IOREQ_UNMAP_RANGE);
	struct fake_server *s = io->s;
	struct fake_range old;
	unsigned int i;

	if (err)
		return err;
	if (!s)
		return -ESRCH;
	if (first_byte > last_byte)
		return -EINVAL;
	for (i = 0; i < s->nr_ranges; i++)
		if (s->range[i].first <= first_byte &&
		    s->range[i].last >= last_byte)
			break;
	if (i == s->nr_ranges)
		return -ENOENT;
	old = s->range[i];
	s->range[i] = s->range[--s->nr_ranges];
	if (old.first < first_byte)
		s->range[s->nr_ranges++] =
			(struct fake_range){ old.first, first_byte - 1 };
	if (old.last > last_byte)
		s->range[s->nr_ranges++] =
			(struct fake_range){ last_byte + 1, old.last };
	return 0;
}

/* ---- accesses ----------------------------------------------------------- */

bool xen_ioreq_fetch(struct xen_ioreq *io, unsigned int vcpu,
		     struct xen_ioreq_access *access)
{
	struct fake_vcpu *v;

	if (io->h.dead || !io->s || vcpu >= io->d->nr_vcpus)
		return false;
	v = &io->d->vcpu[vcpu];
	if (!v->waits || v->fetched || v->server != io->id)
		return false;
	v->fetched = true;
	*access = v->access;
	return true;
}

int xen_ioreq_complete(struct xen_ioreq *io, unsigned int vcpu, uint64_t data)
{
	int err = fake_hcall(&io->h, FAKE_IOREQ_COMPLETE);
	struct fake_vcpu *v;

	if (err)
		return err;
	if (!io->s)
		return 0;	/* the page is ours still; nobody looks at it */
	if (vcpu >= io->d->nr_vcpus)
		return -EINVAL;
	v = &io->d->vcpu[vcpu];
	if (!v->waits || !v->fetched || v->server != io->id)
		return -EINVAL;
	vcpu_complete(v, data);
	return 0;
}

int xen_ioreq_raise_spi(struct xen_ioreq *io, uint32_t irq)
{
	int err = fake_hcall(&io->h, FAKE_IOREQ_RAISE_SPI);

	if (err)
		return err;
	if (!io->d->alive)
		return -ESRCH;
	if (irq < 32 || irq >= FAKE_NR_SPIS_END)
		return -EINVAL;
	io->d->spi[irq]++;
	return 0;
}

/* ---- the guest's side --------------------------------------------------- */

static struct fake_vcpu *vcpu_of(xen_domid_t domid, unsigned int vcpu)
{
	struct fake_domain *d = fake_domain_need(domid);

	if (vcpu >= d->nr_vcpus)
		fake_die("dom%u has no vCPU %u", domid, vcpu);
	return &d->vcpu[vcpu];
}

/* ioreq_server_select(): the highest id wins. */
static int server_select(struct fake_domain *d, uint64_t first, uint64_t last)
{
	unsigned int i;
	int id;

	for (id = FAKE_NR_IOREQ_SERVERS - 1; id >= 0; id--) {
		struct fake_server *s = &d->server[id];

		for (i = 0; s->exists && s->enabled && i < s->nr_ranges; i++)
			if (s->range[i].first <= first &&
			    last <= s->range[i].last)
				return id;
	}
	return -1;
}

int fake_mmio_start(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		    unsigned int size_bytes, bool is_write, uint64_t data)
{
	struct fake_domain *d = fake_domain_need(domid);
	struct fake_vcpu *v = vcpu_of(domid, vcpu);
	int id;

	if (!d->alive)
		fake_die("dom%u does not run", domid);
	if (v->waits)
		return -EBUSY;
	id = server_select(d, addr, addr + size_bytes - 1);
	if (id < 0)
		return -ENXIO;
	memset(v, 0, sizeof(*v));
	v->waits = true;
	v->server = id;
	v->access = (struct xen_ioreq_access){
		.addr = addr, .data = is_write ? data : 0,
		.size_bytes = size_bytes, .is_write = is_write,
	};
	fake_evtchn_send(d, d->server[id].vcpu_port[vcpu]);
	return 0;
}

bool fake_mmio_waits(xen_domid_t domid, unsigned int vcpu)
{
	return vcpu_of(domid, vcpu)->waits;
}

bool fake_mmio_done(xen_domid_t domid, unsigned int vcpu, uint64_t *data)
{
	struct fake_vcpu *v = vcpu_of(domid, vcpu);
	unsigned int bits = v->access.size_bytes * 8;

	if (!v->done)
		return false;
	v->done = false;
	if (data)
		*data = bits < 64 ? v->result & ((UINT64_C(1) << bits) - 1) :
				    v->result;
	return true;
}

void fake_set_pump(void (*pump)(void *arg), void *arg)
{
	pump_fn = pump;
	pump_arg = arg;
}

void fake_pump(void)
{
	if (!pump_fn)
		fake_die("no pump: fake_set_pump()");
	pump_fn(pump_arg);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int mmio(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		unsigned int size_bytes, bool is_write, uint64_t in,
		uint64_t *out)
{
	uint64_t until = now_ms() + fake_mmio_timeout_ms;
	int err = fake_mmio_start(domid, vcpu, addr, size_bytes, is_write, in);

	if (err)
		return err;
	while (!fake_mmio_done(domid, vcpu, out)) {
		if (now_ms() > until)
			return -ETIMEDOUT;
		fake_pump();
	}
	return 0;
}

int fake_mmio_read(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		   unsigned int size_bytes, uint64_t *data)
{
	return mmio(domid, vcpu, addr, size_bytes, false, 0, data);
}

int fake_mmio_write(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		    unsigned int size_bytes, uint64_t data)
{
	return mmio(domid, vcpu, addr, size_bytes, true, data, NULL);
}

uint64_t fake_spi_count(xen_domid_t domid, uint32_t irq)
{
	if (irq >= FAKE_NR_SPIS_END)
		fake_die("no SPI %u", irq);
	return fake_domain_need(domid)->spi[irq];
}

unsigned int fake_ioreq_servers(xen_domid_t domid)
{
	struct fake_domain *d = fake_domain_need(domid);
	unsigned int i, n = 0;

	for (i = 0; i < FAKE_NR_IOREQ_SERVERS; i++)
		n += d->server[i].exists;
	return n;
}

/* ---- the end ------------------------------------------------------------ */

void fake_ioreq_crash(struct xen_ioreq *io)
{
	if (io->s)
		io->s->handle = NULL;
	io->s = NULL;
}

void fake_ioreq_domain_gone(struct fake_domain *d)
{
	unsigned int i;

	for (i = 0; i < FAKE_NR_IOREQ_SERVERS; i++)
		if (d->server[i].exists)
			server_exit(d, i);
	memset(d->vcpu, 0, sizeof(d->vcpu));
}

unsigned int fake_ioreq_leaks(void)
{
	unsigned int domid, i, n = 0;

	for (domid = 0; domid <= XEN_DOMID_MAX; domid++) {
		struct fake_domain *d = fake_domain_any(domid);

		for (i = 0; d && i < FAKE_NR_IOREQ_SERVERS; i++) {
			if (!d->server[i].exists)
				continue;
			fake_leak("dom%u: IOREQ server %u", domid, i);
			n++;
		}
		for (i = 0; d && i < d->nr_vcpus; i++) {
			if (!d->vcpu[i].waits)
				continue;
			fake_leak("dom%u: vCPU %u waits for an access to %#llx",
				  domid, i,
				  (unsigned long long)d->vcpu[i].access.addr);
			n++;
		}
	}
	return n;
}
