// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_fake.c - the in-memory Xen keeps the promises of backend/xen/xen.h and
 * of Xen 4.20, so that what is tested over it is tested against the truth.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define BE	1u	/* the driver domain */
#define GUEST	3u
#define OTHER	4u

static int setup(void **state)
{
	(void)state;
	fake_init();
	fake_domain_create(BE, 1, 256);
	fake_domain_create(GUEST, 2, 1024);
	fake_domain_create(OTHER, 1, 64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_exit();
	return 0;
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static struct xen_gnttab *gnttab(xen_domid_t domid)
{
	struct xen_gnttab *gt;

	fake_enter(domid);
	assert_int_equal(xen_gnttab_open(&gt), 0);
	return gt;
}

static struct xen_store *store(xen_domid_t domid)
{
	struct xen_store *xs;

	fake_enter(domid);
	assert_int_equal(xen_store_open(&xs), 0);
	return xs;
}

static struct xen_evtchn *evtchn(xen_domid_t domid)
{
	struct xen_evtchn *ec;

	fake_enter(domid);
	assert_int_equal(xen_evtchn_open(&ec), 0);
	return ec;
}

/* ---- grants ------------------------------------------------------------- */

static void gnt_map_shares_pages_in_order(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 4);
	xen_ref_t r = fake_grant(GUEST, BE, pfn, 4, false);
	xen_ref_t refs[4] = { r + 2, r, r + 3, r + 1 };
	uint8_t *va;
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		memset(fake_page(GUEST, pfn + i), 'a' + (int)i, 4096);
	assert_int_equal(xen_gnttab_map(gt, GUEST, refs, 4,
					PROT_READ | PROT_WRITE,
					(void **)&va), 0);
	assert_int_equal(va[0], 'c');
	assert_int_equal(va[4096], 'a');
	assert_int_equal(va[2 * 4096], 'd');
	assert_int_equal(va[3 * 4096 + 4095], 'b');
	va[4096 + 7] = 'X';
	assert_int_equal(((uint8_t *)fake_page(GUEST, pfn))[7], 'X');
	assert_int_equal(fake_grant_maps(GUEST, r), 1);
	assert_int_equal(fake_maps_held(BE), 4);
	assert_int_equal(fake_calls(BE, FAKE_GNTTAB_MAP), 1);
	assert_int_equal(fake_pages_mapped(BE), 4);

	assert_int_equal(fake_grant_end(GUEST, r), -EBUSY);
	assert_int_equal(xen_gnttab_unmap(gt, va, 3), -EINVAL);
	assert_int_equal(xen_gnttab_unmap(gt, va, 4), 0);
	assert_int_equal(xen_gnttab_unmap(gt, va, 4), -EINVAL);
	assert_int_equal(fake_grant_end(GUEST, r), 0);
	assert_int_equal(fake_grant_end(GUEST, r), -ENOENT);
	xen_gnttab_close(gt);
	assert_int_equal(fake_leaks(), 0);
}

static void gnt_map_refused(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 2);
	xen_ref_t ro = fake_grant(GUEST, BE, pfn, 1, true);
	xen_ref_t foreign = fake_grant(GUEST, OTHER, pfn + 1, 1, false);
	const struct {
		xen_domid_t domid;
		xen_ref_t ref;
		int prot, want;
	} cases[] = {
		{ GUEST, ro, PROT_READ, 0 },
		{ GUEST, ro, PROT_READ | PROT_WRITE, -EINVAL },
		{ GUEST, foreign, PROT_READ, -EINVAL },	/* for another */
		{ OTHER, ro, PROT_READ, -EINVAL },	/* not granted */
		{ 77, ro, PROT_READ, -EINVAL },		/* no such domain */
		{ GUEST, 40000, PROT_READ, -EINVAL },	/* beyond the table */
		{ GUEST, 0xffffffff, PROT_READ, -EINVAL },
	};
	unsigned int i;
	void *va;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = xen_gnttab_map(gt, cases[i].domid, &cases[i].ref, 1,
					 cases[i].prot, &va);

		if (err != cases[i].want)
			fail_msg("case %u: %d", i, err);
		if (!err)
			assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	}
	xen_gnttab_close(gt);
}

static void gnt_map_all_or_nothing(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 3);
	xen_ref_t r = fake_grant(GUEST, BE, pfn, 3, false);
	xen_ref_t refs[3] = { r, r + 1, r + 2 };
	void *va;

	(void)state;
	assert_int_equal(fake_grant_end(GUEST, r + 2), 0);
	assert_int_equal(xen_gnttab_map(gt, GUEST, refs, 3, PROT_READ, &va),
			 -EINVAL);
	assert_int_equal(fake_grant_maps(GUEST, r), 0);
	fake_set_maptrack_limit(BE, 1);
	assert_int_equal(xen_gnttab_map(gt, GUEST, refs, 2, PROT_READ, &va),
			 -EINVAL);
	xen_gnttab_close(gt);
	assert_int_equal(fake_leaks(), 0);
}

/* In a child, since the point is that it dies. */
static int child_signal(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		fn(arg);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void poke(void *arg)
{
	*(volatile char *)arg = 1;
}

static void peek(void *arg)
{
	(void)*(volatile char *)arg;
}

static void gnt_protection_is_real(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 1);
	xen_ref_t ref = fake_grant(GUEST, BE, pfn, 1, false);
	void *va;

	(void)state;
	assert_int_equal(xen_gnttab_map(gt, GUEST, &ref, 1, PROT_READ, &va), 0);
	assert_int_equal(child_signal(peek, va), 0);
	assert_int_equal(child_signal(poke, va), SIGSEGV);
	assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	assert_int_equal(child_signal(peek, va), SIGSEGV);
	xen_gnttab_close(gt);
}

static void gnt_copy_status_per_segment(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 2);
	xen_ref_t rw = fake_grant(GUEST, BE, pfn, 1, false);
	xen_ref_t ro = fake_grant(GUEST, BE, pfn + 1, 1, true);
	char in[8] = { 0 }, out[] = "outside";
	struct xen_copy_seg s[] = {
		{ .ref = ro, .offset = 16, .len_bytes = 8, .local = in },
		{ .ref = rw, .offset = 4090, .len_bytes = 7, .local = out,
		  .to_foreign = true },			/* over the end */
		{ .ref = ro, .offset = 0, .len_bytes = 8, .local = out,
		  .to_foreign = true },			/* read-only */
		{ .ref = rw, .offset = 4088, .len_bytes = 8, .local = out,
		  .to_foreign = true },
		{ .ref = 12345, .len_bytes = 1, .local = in },
	};

	(void)state;
	memcpy((char *)fake_page(GUEST, pfn + 1) + 16, "12345678", 8);
	assert_int_equal(xen_gnttab_copy(gt, GUEST, s, 5), -EFAULT);
	assert_int_equal(s[0].status, 0);
	assert_memory_equal(in, "12345678", 8);
	assert_int_equal(s[1].status, -10);
	assert_int_equal(s[2].status, -1);
	assert_int_equal(s[3].status, 0);
	assert_string_equal((char *)fake_page(GUEST, pfn) + 4088, "outside");
	assert_int_equal(s[4].status, -1);
	assert_int_equal(fake_bytes_copied(BE), 16);
	assert_int_equal(xen_gnttab_copy(gt, GUEST, s, 1), 0);
	xen_gnttab_close(gt);
}

static void shared_page_outlives_its_holders_while_mapped(void **state)
{
	struct xen_shared_page *mine, *theirs;
	struct fake_proc *other;
	struct xen_gnttab *gt;
	xen_ref_t ref;
	char *page, *va;

	(void)state;
	fake_enter(0);
	assert_int_equal(xen_shared_page_create(BE, &mine, &ref), 0);
	other = fake_proc_create(0);
	fake_enter_proc(other);
	assert_int_equal(xen_shared_page_take(dup(xen_shared_page_fd(mine)),
					      &theirs), 0);
	page = xen_shared_page_addr(theirs);
	assert_int_equal(page[0] | page[4095], 0);
	gt = gnttab(BE);
	assert_int_equal(xen_gnttab_map(gt, 0, &ref, 1,
					PROT_READ | PROT_WRITE,
					(void **)&va), 0);
	strcpy(page, "hello");
	assert_string_equal(va, "hello");
	assert_string_equal((char *)xen_shared_page_addr(mine), "hello");
	/* One holder crashes: the grant stays for the other. */
	fake_proc_crash(other);
	assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	assert_int_equal(xen_gnttab_map(gt, 0, &ref, 1, PROT_READ,
					(void **)&va), 0);
	assert_string_equal(va, "hello");
	xen_shared_page_close(mine);
	assert_string_equal(va, "hello");
	assert_int_equal(fake_leaks(), 2);	/* a handle, one map */
	assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	assert_int_equal(xen_gnttab_map(gt, 0, &ref, 1, PROT_READ,
					(void **)&va), -EINVAL);
	xen_gnttab_close(gt);
	assert_int_equal(fake_leaks(), 0);
}

/* ---- event channels ----------------------------------------------------- */

/* A handle in two processes: the ports close with the last one. */
static void evtchn_is_shared_and_restricted(void **state)
{
	struct xen_evtchn *mine = evtchn(0), *theirs, *be = evtchn(BE);
	struct fake_proc *other = fake_proc_create(0);
	xen_port_t port, remote, got, guest;

	(void)state;
	assert_int_equal(xen_evtchn_alloc_unbound(mine, BE, &port), 0);
	assert_int_equal(xen_evtchn_restrict(mine, 0), -EINVAL);
	assert_int_equal(xen_evtchn_restrict(mine, GUEST), 0);
	assert_int_equal(xen_evtchn_restrict(mine, BE), -EACCES);
	assert_int_equal(xen_evtchn_alloc_unbound(mine, BE, &got), -EACCES);
	fake_enter_proc(other);
	assert_int_equal(xen_evtchn_take(dup(xen_evtchn_fd(mine)), &theirs),
			 0);
	assert_int_equal(xen_evtchn_bind_interdomain(be, 0, port, &remote), 0);
	assert_int_equal(xen_evtchn_pending(be, &got), 0);
	assert_int_equal(xen_evtchn_unmask(be, got), 0);
	assert_int_equal(xen_evtchn_notify(be, remote), 0);
	assert_int_equal(xen_evtchn_pending(theirs, &got), 0);
	assert_int_equal(got, port);
	assert_int_equal(xen_evtchn_pending(mine, &got), -EAGAIN);
	assert_int_equal(xen_evtchn_unmask(mine, port), 0);
	assert_int_equal(xen_evtchn_notify(theirs, port), 0);
	assert_int_equal(xen_evtchn_pending(be, &got), 0);
	/* To the guest it may bind, to another not. */
	guest = fake_guest_alloc_unbound(GUEST, 0);
	assert_int_equal(xen_evtchn_bind_interdomain(theirs, GUEST, guest,
						     &got), 0);
	guest = fake_guest_alloc_unbound(BE, 0);
	assert_int_equal(xen_evtchn_bind_interdomain(theirs, BE, guest, &got),
			 -EACCES);
	fake_proc_crash(other);
	assert_int_equal(xen_evtchn_notify(be, remote), 0);
	assert_int_equal(xen_evtchn_pending(mine, &got), 0);
	xen_evtchn_close(mine);
	assert_int_equal(xen_evtchn_bind_interdomain(be, 0, port, &got),
			 -EINVAL);
	xen_evtchn_close(be);
	assert_int_equal(fake_leaks(), 0);
}

static void evtchn_masks_until_unmask(void **state)
{
	struct xen_evtchn *ec = evtchn(BE);
	xen_port_t port, guest, got;
	unsigned int i;

	(void)state;
	assert_int_equal(xen_evtchn_alloc_unbound(ec, GUEST, &port), 0);
	assert_int_equal(xen_evtchn_pending(ec, &got), -EAGAIN);
	/* Only the domain it was made for. */
	assert_int_equal(fake_guest_bind(OTHER, BE, port, &guest), -EINVAL);
	assert_int_equal(fake_guest_bind(GUEST, BE, port, &guest), 0);
	assert_int_equal(fake_guest_bind(GUEST, BE, port, &got), -EINVAL);
	assert_true(fake_guest_take_event(GUEST, guest));	/* Xen's own */
	assert_false(readable(xen_evtchn_fd(ec)));

	for (i = 0; i < 100; i++)
		assert_int_equal(fake_guest_notify(GUEST, guest), 0);
	assert_true(readable(xen_evtchn_fd(ec)));
	assert_int_equal(xen_evtchn_pending(ec, &got), 0);
	assert_int_equal(got, port);
	assert_int_equal(xen_evtchn_pending(ec, &got), -EAGAIN);
	assert_false(readable(xen_evtchn_fd(ec)));
	assert_int_equal(fake_guest_notify(GUEST, guest), 0);
	assert_false(readable(xen_evtchn_fd(ec)));	/* still masked */
	assert_int_equal(xen_evtchn_unmask(ec, port), 0);
	assert_true(readable(xen_evtchn_fd(ec)));	/* once, remembered */
	assert_int_equal(xen_evtchn_pending(ec, &got), 0);
	assert_int_equal(xen_evtchn_unmask(ec, port), 0);
	assert_false(readable(xen_evtchn_fd(ec)));

	assert_int_equal(xen_evtchn_notify(ec, port), 0);
	assert_true(fake_guest_take_event(GUEST, guest));
	assert_int_equal(xen_evtchn_notify(ec, port + 1), -ENOTCONN);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 0);
}

static void evtchn_peer_closes_and_rebinds(void **state)
{
	struct xen_evtchn *broker = evtchn(0), *backend = evtchn(BE);
	xen_port_t port, local, got;

	(void)state;
	assert_int_equal(xen_evtchn_alloc_unbound(broker, BE, &port), 0);
	assert_int_equal(xen_evtchn_bind_interdomain(backend, 0, port, &local),
			 0);
	assert_int_equal(xen_evtchn_pending(backend, &got), 0);
	xen_evtchn_close(backend);		/* as a dying process does */
	assert_int_equal(xen_evtchn_notify(broker, port), 0);	/* dropped */
	backend = evtchn(BE);
	assert_int_equal(xen_evtchn_bind_interdomain(backend, 0, port, &local),
			 0);
	assert_int_equal(xen_evtchn_bind_interdomain(backend, 99, port, &got),
			 -ESRCH);
	assert_int_equal(xen_evtchn_bind_interdomain(backend, 0, 0, &got),
			 -EINVAL);
	assert_int_equal(xen_evtchn_bind_interdomain(backend, 0, 0xffffffff,
						     &got), -EINVAL);
	assert_int_equal(xen_evtchn_unbind(backend, local), 0);
	assert_int_equal(xen_evtchn_unbind(backend, local), -ENOTCONN);
	assert_false(readable(xen_evtchn_fd(backend)));
	xen_evtchn_close(backend);
	xen_evtchn_close(broker);
	assert_int_equal(fake_leaks(), 0);
}

/* ---- xenstore ----------------------------------------------------------- */

static void store_permissions(void **state)
{
	static const char be[] = "/local/domain/1/backend/x/3/0";
	struct xen_store *dom0 = store(0), *xs = store(BE),
			 *guest = store(GUEST);
	char *v, **names;

	(void)state;
	fake_store_mkdir(0, be);
	assert_int_equal(fake_store_set_perms(0, be, "n1 r3"), 0);
	assert_int_equal(fake_store_write(0, "/local/domain/1/backend/x/3/0/a",
					  "dom0's"), 0);
	/* Inherited: the backend's domain owns it, the guest reads it. */
	v = xen_store_read(xs, "/local/domain/1/backend/x/3/0/a");
	assert_string_equal(v, "dom0's");
	free(v);
	v = xen_store_read(guest, "/local/domain/1/backend/x/3/0/a");
	assert_string_equal(v, "dom0's");
	free(v);
	assert_int_equal(xen_store_write(xs, "backend/x/3/0/a", "mine"), 0);
	assert_int_equal(xen_store_write(guest,
			"/local/domain/1/backend/x/3/0/a", "no"), -EACCES);
	assert_int_equal(xen_store_rm(guest, be), -EACCES);
	/* In place of what fake_store_set_perms() did: the other way round. */
	assert_int_equal(xen_store_set_perms(guest, be, GUEST, BE), -EACCES);
	assert_int_equal(xen_store_set_perms(dom0, be, GUEST, GUEST), 0);
	assert_int_equal(xen_store_write(guest, "/local/domain/1/backend/x/3/0",
					 "mine"), 0);
	assert_null(xen_store_read(xs, be));
	assert_int_equal(errno, EACCES);
	assert_int_equal(xen_store_set_perms(dom0, be, BE, GUEST), 0);
	v = xen_store_read(guest, be);
	assert_string_equal(v, "mine");
	free(v);
	/* Whether it exists is not told to who may not look. */
	assert_null(xen_store_read(guest, "/local/domain/0/secret"));
	assert_int_equal(errno, EACCES);
	assert_null(xen_store_read(dom0, "/local/domain/0/secret"));
	assert_int_equal(errno, ENOENT);
	assert_null(xen_store_read(guest, "/local/domain/1/backend/x/3/0/zz"));
	assert_int_equal(errno, ENOENT);
	assert_int_equal(xen_store_write(xs, "newnode", "x"), -EACCES);
	assert_int_equal(xen_store_write(xs, "data/newnode", "x"), 0);
	assert_int_equal(xen_store_directory(xs, "backend/x/3/0", &names), 1);
	assert_string_equal(names[0], "a");
	xen_store_free_dir(names);
	assert_int_equal(xen_store_directory(xs, "backend/x/3/0/a", &names), 0);
	xen_store_free_dir(names);
	assert_int_equal(xen_store_directory(xs, "backend/x/3/zz", &names),
			 -ENOENT);
	xen_store_close(dom0);
	xen_store_close(xs);
	xen_store_close(guest);
	assert_int_equal(fake_leaks(), 0);
}

static void store_names_and_values(void **state)
{
	static const char *const bad[] = {
		"/a//b", "/a/", "a b", "/a\n", "/tilde~", "",
	};
	struct xen_store *xs = store(0);
	char *big = malloc(5000);
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (xen_store_write(xs, bad[i], "x") != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	memset(big, 'a', 4999);
	big[4999] = 0;
	assert_int_equal(xen_store_write(xs, "/big", big), -E2BIG);
	big[0] = '/';
	assert_int_equal(xen_store_write(xs, big, "x"), -EINVAL);
	free(big);
	assert_int_equal(fake_store_write_bytes(0, "/nul", "a\0b", 3), 0);
	assert_null(xen_store_read(xs, "/nul"));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(xen_store_rm(xs, "/nothing"), 0);
	assert_int_equal(xen_store_rm(xs, "/no/thing"), -ENOENT);
	xen_store_close(xs);
}

static void expect_event(struct xen_store *xs, const char *path,
			 const char *token)
{
	char *p, *t;

	assert_true(readable(xen_store_fd(xs)));
	assert_int_equal(xen_store_next_watch(xs, &p, &t), 0);
	assert_string_equal(p, path);
	assert_string_equal(t, token);
	free(p);
	free(t);
}

static void expect_no_event(struct xen_store *xs)
{
	char *p, *t;

	assert_false(readable(xen_store_fd(xs)));
	assert_int_equal(xen_store_next_watch(xs, &p, &t), -EAGAIN);
}

static void store_watches(void **state)
{
	struct xen_store *xs = store(BE);

	(void)state;
	fake_store_mkdir(0, "/local/domain/1/backend/vd/3/0");
	assert_int_equal(xen_store_watch(xs, "backend/vd", "tok"), 0);
	expect_event(xs, "backend/vd", "tok");		/* at once */
	expect_no_event(xs);
	assert_int_equal(xen_store_watch(xs, "backend/vd", "tok"), -EEXIST);
	fake_store_write(0, "/local/domain/1/backend/vd/3/0/state", "1");
	expect_event(xs, "backend/vd/3/0/state", "tok");
	fake_store_write(0, "/local/domain/1/backend/other", "1");
	expect_no_event(xs);
	/* Not for what it may not read: neither the node nor its parent. */
	fake_store_mkdir(0, "/local/domain/1/backend/vd/4");
	expect_event(xs, "backend/vd/4", "tok");
	fake_store_set_perms(0, "/local/domain/1/backend/vd/4", "n0");
	expect_event(xs, "backend/vd/4", "tok");
	fake_store_write(0, "/local/domain/1/backend/vd/4/x", "1");
	expect_no_event(xs);
	/* A parent goes: the watch on what was below fires exactly. */
	assert_int_equal(xen_store_watch(xs,
			"/local/domain/1/backend/vd/3/0/state", "s"), 0);
	expect_event(xs, "/local/domain/1/backend/vd/3/0/state", "s");
	fake_store_rm(0, "/local/domain/1/backend/vd/3");
	expect_event(xs, "/local/domain/1/backend/vd/3/0/state", "s");
	expect_event(xs, "backend/vd/3", "tok");
	expect_no_event(xs);
	assert_int_equal(fake_store_nr_watches(), 2);
	xen_store_close(xs);
	assert_int_equal(fake_store_nr_watches(), 0);
}

static void store_special_watches(void **state)
{
	struct xen_store *dom0 = store(0), *xs = store(BE);

	(void)state;
	assert_int_equal(xen_store_watch(dom0, "@releaseDomain", "r"), 0);
	assert_int_equal(xen_store_watch(dom0, "@introduceDomain", "i"), 0);
	expect_event(dom0, "@releaseDomain", "r");
	expect_event(dom0, "@introduceDomain", "i");
	assert_int_equal(xen_store_watch(xs, "@releaseDomain", "r"), 0);
	expect_event(xs, "@releaseDomain", "r");
	assert_int_equal(xen_store_watch(xs, "@nonsense", "r"), -EINVAL);
	fake_domain_create(9, 1, 1);
	fake_domain_destroy(9);
	expect_event(dom0, "@introduceDomain", "i");
	expect_event(dom0, "@releaseDomain", "r");
	expect_no_event(xs);
	fake_store_allow_special(BE);
	fake_domain_destroy(OTHER);
	expect_event(xs, "@releaseDomain", "r");
	xen_store_close(dom0);
	xen_store_close(xs);
}

static void store_transactions(void **state)
{
	struct xen_store *xs = store(0), *w = store(0);
	char *v;

	(void)state;
	fake_store_write(0, "/t/a", "1");
	assert_int_equal(xen_store_watch(w, "/t", "w"), 0);
	expect_event(w, "/t", "w");

	assert_int_equal(xen_store_begin(xs), 0);
	assert_int_equal(xen_store_write(xs, "/t/a", "2"), 0);
	assert_int_equal(xen_store_write(xs, "/t/b/c", "3"), 0);
	expect_no_event(w);
	assert_false(fake_store_exists("/t/b"));
	v = xen_store_read(xs, "/t/a");
	assert_string_equal(v, "2");
	free(v);
	assert_int_equal(xen_store_commit(xs), 0);
	expect_event(w, "/t/a", "w");
	expect_event(w, "/t/b/c", "w");
	expect_no_event(w);

	assert_int_equal(xen_store_begin(xs), 0);
	free(xen_store_read(xs, "/t/a"));
	assert_int_equal(xen_store_write(xs, "/t/d", "4"), 0);
	fake_store_write(0, "/t/a", "other");
	assert_int_equal(xen_store_commit(xs), -EAGAIN);
	assert_false(fake_store_exists("/t/d"));

	assert_int_equal(xen_store_begin(xs), 0);
	assert_int_equal(xen_store_rm(xs, "/t/b"), 0);
	xen_store_abort(xs);
	assert_true(fake_store_exists("/t/b/c"));
	/* What it did not look at may change. */
	assert_int_equal(xen_store_begin(xs), 0);
	assert_int_equal(xen_store_rm(xs, "/t/b"), 0);
	fake_store_write(0, "/unrelated", "1");
	assert_int_equal(xen_store_commit(xs), 0);
	assert_false(fake_store_exists("/t/b"));
	xen_store_close(xs);
	xen_store_close(w);
}

/* ---- IOREQ servers ------------------------------------------------------ */

static void ioreq_round_trip(void **state)
{
	struct xen_evtchn *ec = evtchn(0);
	struct xen_ioreq_access acc;
	struct xen_ioreq *io;
	xen_port_t port;
	uint64_t data;
	uint16_t id;

	(void)state;
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io, &id), 0);
	assert_int_equal(xen_ioreq_nr_vcpus(io), 2);
	while (!xen_evtchn_pending(ec, &port))		/* Xen's own */
		xen_evtchn_unmask(ec, port);
	assert_int_equal(fake_mmio_start(GUEST, 1, 0x2000000, 4, false, 0),
			 -ENXIO);
	assert_int_equal(xen_ioreq_map_range(io, 0x2000000, 0x20001ff), 0);
	assert_int_equal(xen_ioreq_map_range(io, 0x20001ff, 0x20003ff),
			 -EEXIST);
	assert_int_equal(xen_ioreq_map_range(io, 5, 4), -EINVAL);

	assert_int_equal(fake_mmio_start(GUEST, 1, 0x2000070, 2, false, 0), 0);
	assert_int_equal(fake_mmio_start(GUEST, 1, 0x2000070, 2, false, 0),
			 -EBUSY);
	assert_int_equal(xen_evtchn_pending(ec, &port), 0);
	assert_int_equal(xen_ioreq_vcpu_of_port(io, port), 1);
	assert_int_equal(xen_ioreq_vcpu_of_port(io, port + 100), -ENOENT);
	assert_false(xen_ioreq_fetch(io, 0, &acc));
	assert_int_equal(xen_ioreq_complete(io, 1, 0), -EINVAL);
	assert_true(xen_ioreq_fetch(io, 1, &acc));
	assert_false(xen_ioreq_fetch(io, 1, &acc));
	assert_int_equal(acc.addr, 0x2000070);
	assert_int_equal(acc.size_bytes, 2);
	assert_false(acc.is_write);
	assert_false(fake_mmio_done(GUEST, 1, &data));
	assert_int_equal(xen_ioreq_complete(io, 1, 0x12345678), 0);
	assert_true(fake_mmio_done(GUEST, 1, &data));
	assert_int_equal(data, 0x5678);
	assert_false(fake_mmio_done(GUEST, 1, &data));

	assert_int_equal(xen_ioreq_raise_spi(io, 33), 0);
	assert_int_equal(fake_spi_count(GUEST, 33), 1);
	assert_int_equal(xen_ioreq_raise_spi(io, 31), -EINVAL);
	assert_int_equal(xen_ioreq_raise_spi(io, 1020), -EINVAL);
	assert_int_equal(xen_ioreq_unmap_range(io, 0x2000000, 0x20001ff), 0);
	assert_int_equal(xen_ioreq_unmap_range(io, 0x2000000, 0x20001ff),
			 -ENOENT);
	xen_ioreq_destroy(io);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 0);
}

static void ioreq_needs_privilege(void **state)
{
	struct xen_evtchn *ec = evtchn(BE);
	struct xen_ioreq *io;
	uint16_t id;

	(void)state;
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io, &id), -EPERM);
	assert_int_equal(xen_ioreq_create(99, ec, &io, &id), -ESRCH);
	fake_domain_set_target(BE, GUEST);
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io, &id), 0);
	assert_int_equal(xen_ioreq_create(OTHER, ec, &io, &id), -EPERM);
	xen_ioreq_destroy(io);
	xen_evtchn_close(ec);
}

static void ioreq_eight_at_most(void **state)
{
	struct xen_evtchn *ec = evtchn(0);
	struct xen_ioreq *io[9];
	uint16_t id;
	int i;

	(void)state;
	for (i = 0; i < 8; i++)
		assert_int_equal(xen_ioreq_create(GUEST, ec, &io[i], &id), 0);
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io[8], &id), -ENOSPC);
	assert_int_equal(fake_ioreq_servers(GUEST), 8);
	for (i = 0; i < 8; i++)
		xen_ioreq_destroy(io[i]);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 0);
}

static void ioreq_server_outlives_its_process(void **state)
{
	struct fake_proc *first = fake_proc_create(0);
	struct xen_ioreq_access acc;
	struct xen_evtchn *ec;
	struct xen_ioreq *io, *io2;
	uint64_t data;
	uint16_t id;

	(void)state;
	fake_enter_proc(first);
	assert_int_equal(xen_evtchn_open(&ec), 0);
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io, &id), 0);
	assert_int_equal(xen_ioreq_map_range(io, 0x1000, 0x1fff), 0);
	assert_int_equal(fake_mmio_start(GUEST, 0, 0x1004, 4, true, 7), 0);
	assert_true(xen_ioreq_fetch(io, 0, &acc));
	fake_proc_crash(first);
	assert_int_equal(xen_ioreq_complete(io, 0, 0), -EBADF);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_true(fake_mmio_waits(GUEST, 0));

	ec = evtchn(0);
	assert_int_equal(xen_ioreq_adopt(GUEST, 5, ec, &io2), -ENOENT);
	assert_int_equal(xen_ioreq_adopt(GUEST, id, ec, &io2), 0);
	assert_int_equal(xen_ioreq_adopt(GUEST, id, ec, &io), -EINVAL);
	assert_true(xen_ioreq_fetch(io2, 0, &acc));
	assert_true(acc.is_write);
	assert_int_equal(acc.data, 7);
	assert_int_equal(xen_ioreq_complete(io2, 0, 0), 0);
	assert_true(fake_mmio_done(GUEST, 0, &data));
	xen_ioreq_leave(io2);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_int_equal(xen_ioreq_adopt(GUEST, id, ec, &io2), 0);
	assert_int_equal(xen_ioreq_map_range(io2, 0x1000, 0x1fff), -EEXIST);
	xen_ioreq_destroy(io2);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 0);
}

/* A server destroyed under an access leaves the vCPU waiting: as Xen does. */
static void ioreq_destroy_strands_a_vcpu(void **state)
{
	struct xen_evtchn *ec = evtchn(0);
	struct xen_ioreq *io;
	uint16_t id;

	(void)state;
	assert_int_equal(xen_ioreq_create(GUEST, ec, &io, &id), 0);
	assert_int_equal(xen_ioreq_map_range(io, 0, 0xfff), 0);
	assert_int_equal(fake_mmio_start(GUEST, 0, 0, 4, false, 0), 0);
	xen_ioreq_destroy(io);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 1);
	fake_domain_destroy(GUEST);
	assert_int_equal(fake_leaks(), 0);
}

/* ---- breaking, crashing ------------------------------------------------- */

static void nth_call_fails(void **state)
{
	struct xen_evtchn *ec = evtchn(BE);
	xen_port_t port;

	(void)state;
	fake_fail_nth(BE, FAKE_EVTCHN_ALLOC, 2, ENOSPC);
	assert_int_equal(xen_evtchn_alloc_unbound(ec, GUEST, &port), 0);
	assert_false(fake_failed(FAKE_EVTCHN_ALLOC));
	assert_int_equal(xen_evtchn_alloc_unbound(ec, GUEST, &port), -ENOSPC);
	assert_true(fake_failed(FAKE_EVTCHN_ALLOC));
	assert_int_equal(xen_evtchn_alloc_unbound(ec, GUEST, &port), 0);
	fake_fail_nth(GUEST, FAKE_EVTCHN_ALLOC, 1, ENOSPC);
	assert_int_equal(xen_evtchn_alloc_unbound(ec, GUEST, &port), 0);
	assert_int_equal(fake_calls(BE, FAKE_EVTCHN_ALLOC), 4);
	assert_int_equal(fake_leaks(), 4);	/* three ports, a handle */
	xen_evtchn_close(ec);
}

static void crash_takes_all_but_servers(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	struct xen_store *xs = store(BE);
	struct xen_evtchn *ec = evtchn(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 1);
	xen_ref_t ref = fake_grant(GUEST, BE, pfn, 1, false);
	xen_port_t port;
	void *va;

	(void)state;
	assert_int_equal(xen_gnttab_map(gt, GUEST, &ref, 1, PROT_READ, &va), 0);
	assert_int_equal(xen_store_watch(xs, "data", "t"), 0);
	assert_int_equal(xen_store_begin(xs), 0);
	assert_int_equal(xen_evtchn_alloc_unbound(ec, 0, &port), 0);
	assert_int_equal(fake_leaks(), 7);
	fake_crash(BE);
	assert_int_equal(fake_leaks(), 0);
	assert_int_equal(fake_grant_end(GUEST, ref), 0);
	assert_int_equal(xen_gnttab_map(gt, GUEST, &ref, 1, PROT_READ, &va),
			 -EBADF);
	assert_int_equal(xen_store_write(xs, "data/x", "1"), -EBADF);
	assert_false(readable(xen_store_fd(xs)));
	xen_gnttab_close(gt);		/* allowed, and does nothing more */
}

static void domain_death(void **state)
{
	struct xen_gnttab *gt = gnttab(BE);
	struct xen_evtchn *ec = evtchn(BE);
	unsigned int pfn = fake_alloc_pages(GUEST, 1);
	xen_ref_t ref = fake_grant(GUEST, BE, pfn, 1, false);
	xen_port_t guest, port;
	char *va;
	void *va2;

	(void)state;
	guest = fake_guest_alloc_unbound(GUEST, BE);
	assert_int_equal(xen_evtchn_bind_interdomain(ec, GUEST, guest, &port),
			 0);
	assert_int_equal(xen_gnttab_map(gt, GUEST, &ref, 1, PROT_READ,
					(void **)&va), 0);
	fake_domain_destroy(GUEST);
	assert_int_equal(va[0], 0);		/* the page lives on */
	assert_int_equal(xen_gnttab_map(gt, GUEST, &ref, 1, PROT_READ, &va2),
			 -EINVAL);
	assert_int_equal(xen_evtchn_notify(ec, port), 0);
	assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	xen_gnttab_close(gt);
	xen_evtchn_close(ec);
	assert_int_equal(fake_leaks(), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(gnt_map_shares_pages_in_order),
		T(gnt_map_refused),
		T(gnt_map_all_or_nothing),
		T(gnt_protection_is_real),
		T(gnt_copy_status_per_segment),
		T(shared_page_outlives_its_holders_while_mapped),
		T(evtchn_is_shared_and_restricted),
		T(evtchn_masks_until_unmask),
		T(evtchn_peer_closes_and_rebinds),
		T(store_permissions),
		T(store_names_and_values),
		T(store_watches),
		T(store_special_watches),
		T(store_transactions),
		T(ioreq_round_trip),
		T(ioreq_needs_privilege),
		T(ioreq_eight_at_most),
		T(ioreq_server_outlives_its_process),
		T(ioreq_destroy_strands_a_vcpu),
		T(nth_call_fails),
		T(crash_takes_all_but_servers),
		T(domain_death),
	};

	return cmocka_run_group_tests_name("fake", tests, NULL, NULL);
}
