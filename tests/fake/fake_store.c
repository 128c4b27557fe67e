// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_store.c - xenstore: xen_store_*, and the tests' access as any domain.
 *
 * Follows tools/xenstored/{core,watch,domain}.c: permissions are inherited
 * from the parent when a node is made, and what an unprivileged domain makes
 * is its own; domain 0 may do anything; an error that a domain may not know
 * becomes EACCES.  A watch fires once when it is set, on the node and all
 * below, and once exactly when the watched node goes with a parent; only for
 * those who may read the node or its parent.
 *
 * Simplifications: a transaction sees the store as it was at its beginning
 * (xenstored: at its first access of each node), so it conflicts a little
 * more often; quotas are those on the number of nodes, of watches, and on a
 * value's size.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake_int.h"

#define PATH_ABS_MAX	3072u	/* XENSTORE_ABS_PATH_MAX */
#define PATH_REL_MAX	2048u
#define PAYLOAD_MAX	4096u	/* XENSTORE_PAYLOAD_MAX */
#define QUOTA_NODE	2048u	/* bytes of a node, unprivileged owner */
#define QUOTA_NODES	1000u
#define QUOTA_WATCHES	128u
#define PERMS_MAX	8u

enum { P_NONE = 0, P_READ = 1, P_WRITE = 2, P_OWNER = 4 };

struct perm { xen_domid_t id; unsigned int bits; };
struct perms { unsigned int n; struct perm p[PERMS_MAX]; };

struct node {
	char *name;		/* of the last component; "" for the root */
	char *value;
	size_t len;
	struct perms perms;
	uint64_t gen;
	bool is_new;		/* made in a transaction */
	struct node *parent, *child, *next;
};

struct watch { struct watch *next; char *path, *token; size_t prefix; };
struct event { struct event *next; char *path, *token; };
struct touched { struct touched *next; char *path; uint64_t gen; };

enum op_kind { OP_WRITE, OP_MKDIR, OP_RM, OP_PERMS };
struct op {
	struct op *next;
	enum op_kind kind;
	char *path;
	void *data;
	size_t len;
	struct perms perms;
};

struct xen_store {
	struct fake_handle h;
	xen_domid_t domid;
	int fd;			/* one for each event; -1 in the tests' own */
	struct watch *watches;
	struct event *events, **events_end;
	/* a transaction */
	struct node *tx_root;
	struct touched *touched;
	struct op *ops, **ops_end;
};

static struct node *root;
static uint64_t generation;
/* Every open connection, in the order of opening. */
static struct xen_store *conns[256];
static unsigned int nr_conns;

/* ---- nodes -------------------------------------------------------------- */

static void node_free(struct node *n)
{
	struct node *c;

	while ((c = n->child)) {
		n->child = c->next;
		node_free(c);
	}
	free(n->name);
	free(n->value);
	free(n);
}

static struct node *node_copy(const struct node *from, struct node *parent)
{
	struct node *n = fake_zalloc(sizeof(*n)), **end = &n->child, *c;

	*n = *from;
	n->name = fake_strf("%s", from->name);
	n->value = fake_zalloc(from->len + 1);
	if (from->len)
		memcpy(n->value, from->value, from->len);
	n->parent = parent;
	n->child = NULL;
	n->next = NULL;
	for (c = from->child; c; c = c->next) {
		*end = node_copy(c, n);
		end = &(*end)->next;
	}
	return n;
}

static struct node *child_find(struct node *n, const char *name, size_t len)
{
	struct node *c;

	for (c = n->child; c; c = c->next)
		if (strlen(c->name) == len && !memcmp(c->name, name, len))
			return c;
	return NULL;
}

/* @path is canonical.  The deepest node that exists; *rest what is missing. */
static struct node *lookup(struct node *top, const char *path,
			   const char **rest)
{
	struct node *n = top, *c;

	path++;
	while (*path) {
		size_t len = strcspn(path, "/");

		c = child_find(n, path, len);
		if (!c)
			break;
		n = c;
		path += len;
		if (*path == '/')
			path++;
	}
	*rest = path;
	return n;
}

static struct node *find(struct node *top, const char *path)
{
	const char *rest;
	struct node *n = lookup(top, path, &rest);

	return *rest ? NULL : n;
}

static char *node_path(const struct node *n)
{
	char *up, *path;

	if (!n->parent)
		return fake_strf("/");
	if (!n->parent->parent)
		return fake_strf("/%s", n->name);
	up = node_path(n->parent);
	path = fake_strf("%s/%s", up, n->name);
	free(up);
	return path;
}

static unsigned int count_nodes(const struct node *n, int owner)
{
	unsigned int k = owner < 0 || n->perms.p[0].id == owner;
	const struct node *c;

	for (c = n->child; c; c = c->next)
		k += count_nodes(c, owner);
	return k;
}

/* ---- names and permissions ---------------------------------------------- */

static bool is_valid_name(const char *path)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789-/_@";
	size_t len = strlen(path);

	if (*path != '/' || len >= PATH_ABS_MAX || strstr(path, "//"))
		return false;
	if (len > 1 && path[len - 1] == '/')
		return false;
	return strspn(path, ok) == len;
}

/* An absolute path to be freed, or NULL: EINVAL. */
static char *canonical(const struct xen_store *xs, const char *path)
{
	char *abs;

	if (*path == '/')
		abs = fake_strf("%s", path);
	else
		abs = fake_strf("/local/domain/%u/%s", xs->domid, path);
	if (!is_valid_name(abs) || (*path != '/' &&
				    strlen(path) > PATH_REL_MAX)) {
		free(abs);
		return NULL;
	}
	return abs;
}

static unsigned int perm_bits(xen_domid_t domid, const struct perms *p)
{
	unsigned int i;

	if (domid == 0 || p->p[0].id == domid)
		return P_READ | P_WRITE | P_OWNER;
	for (i = 1; i < p->n; i++)
		if (p->p[i].id == domid)
			return p->p[i].bits;
	return p->p[0].bits;
}

/* Remembers what a commit will compare; 0: it was missing. */
static void touch(struct xen_store *xs, const char *path)
{
	struct touched *t;
	struct node *n;

	if (!xs->tx_root)
		return;
	for (t = xs->touched; t; t = t->next)
		if (!strcmp(t->path, path))
			return;
	n = find(xs->tx_root, path);
	t = fake_zalloc(sizeof(*t));
	t->path = fake_strf("%s", path);
	t->gen = n && !n->is_new ? n->gen : 0;
	t->next = xs->touched;
	xs->touched = t;
}

static void touch_node(struct xen_store *xs, const struct node *n)
{
	char *path = node_path(n);

	touch(xs, path);
	free(path);
}

/* get_node() with errno_from_parents(). */
static int get(struct xen_store *xs, struct node *top, const char *path,
	       unsigned int want, struct node **out)
{
	const char *rest;
	struct node *n = lookup(top, path, &rest), *up;
	int err;

	touch(xs, path);
	if (!*rest) {
		if ((perm_bits(xs->domid, &n->perms) & want) == want) {
			*out = n;
			return 0;
		}
		err = -EACCES;
		up = n->parent ? n->parent : n;
	} else {
		err = -ENOENT;
		up = n;
	}
	if (!(perm_bits(xs->domid, &up->perms) & want))
		err = -EACCES;
	*out = NULL;
	return err;
}

/* ---- watches ------------------------------------------------------------ */

static void event_add(struct xen_store *xs, const char *path,
		      const char *token)
{
	struct event *e = fake_zalloc(sizeof(*e));
	uint64_t one = 1;

	e->path = fake_strf("%s", path);
	e->token = fake_strf("%s", token);
	*xs->events_end = e;
	xs->events_end = &e->next;
	if (write(xs->fd, &one, sizeof(one)) != sizeof(one))
		fake_die("eventfd: %s", strerror(errno));
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	if (!strcmp(top, "/"))
		return *path == '/';
	return !strncmp(path, top, len) && (!path[len] || path[len] == '/');
}

static void fire(const struct node *n, const struct perms *old, bool exact)
{
	char *path = node_path(n);
	unsigned int i;

	for (i = 0; i < nr_conns; i++) {
		struct xen_store *xs = conns[i];
		struct watch *w;

		if (!(perm_bits(xs->domid, &n->perms) & P_READ) &&
		    !(old && perm_bits(xs->domid, old) & P_READ) &&
		    !(n->parent &&
		      perm_bits(xs->domid, &n->parent->perms) & P_READ))
			continue;
		for (w = xs->watches; w; w = w->next)
			if (exact ? !strcmp(path, w->path) :
				    is_below(path, w->path))
				event_add(xs, path + w->prefix, w->token);
	}
	free(path);
}

void fake_store_special(const char *name)
{
	unsigned int i;

	for (i = 0; i < nr_conns; i++) {
		struct xen_store *xs = conns[i];
		struct fake_domain *d = fake_domain_need(xs->domid);
		struct watch *w;

		if (xs->domid && !d->special_watches)
			continue;
		for (w = xs->watches; w; w = w->next)
			if (!strcmp(w->path, name))
				event_add(xs, name, w->token);
	}
}

/* ---- changes, on the store or on a transaction's copy ------------------- */

static struct node *node_new(struct xen_store *xs, struct node *parent,
			     const char *name, size_t len)
{
	struct node *n = fake_zalloc(sizeof(*n)), **end;

	n->name = fake_strf("%.*s", (int)len, name);
	n->value = fake_zalloc(1);
	n->perms = parent->perms;
	if (xs->domid)
		n->perms.p[0].id = xs->domid;
	n->gen = ++generation;
	n->is_new = xs->tx_root;
	n->parent = parent;
	for (end = &parent->child; *end; end = &(*end)->next)
		;
	*end = n;
	parent->gen = ++generation;
	return n;
}

/* The node for writing; made, with its parents, when it is missing. */
static int get_or_make(struct xen_store *xs, struct node *top,
		       const char *path, struct node **out, bool *made)
{
	const char *rest;
	struct node *n;
	int err = get(xs, top, path, P_WRITE, out);

	*made = false;
	if (err != -ENOENT)
		return err;
	if (xs->domid && count_nodes(top, xs->domid) >= QUOTA_NODES)
		return -ENOSPC;
	n = lookup(top, path, &rest);
	/* Before anything changes: what a commit will compare. */
	touch_node(xs, n);
	while (*rest) {
		size_t len = strcspn(rest, "/");

		n = node_new(xs, n, rest, len);
		rest += len;
		if (*rest == '/')
			rest++;
	}
	*out = n;
	*made = true;
	return 0;
}

static int do_write(struct xen_store *xs, struct node *top, const char *path,
		    const void *data, size_t len)
{
	struct node *n;
	bool made;
	int err;

	if (len > PAYLOAD_MAX - strlen(path) - 1)
		return -E2BIG;
	if (xs->domid && len + strlen(path) > QUOTA_NODE)
		return -ENOSPC;
	err = get_or_make(xs, top, path, &n, &made);
	if (err)
		return err;
	free(n->value);
	n->value = fake_zalloc(len + 1);
	memcpy(n->value, data, len);
	n->len = len;
	n->gen = ++generation;
	if (top == root)
		fire(n, NULL, false);
	return 0;
}

static int do_mkdir(struct xen_store *xs, struct node *top, const char *path)
{
	struct node *n;
	bool made;
	int err = get_or_make(xs, top, path, &n, &made);

	if (!err && made && top == root)
		fire(n, NULL, false);
	return err;
}

static void fire_rm(struct xen_store *xs, struct node *n, bool is_top,
		    bool live)
{
	struct node *c;

	for (c = n->child; c; c = c->next)
		fire_rm(xs, c, false, live);
	touch_node(xs, n);
	if (live)
		fire(n, NULL, !is_top);
}

static int do_rm(struct xen_store *xs, struct node *top, const char *path)
{
	struct node *n, **p;
	int err = get(xs, top, path, P_WRITE, &n);

	if (err == -ENOENT) {
		const char *rest;

		lookup(top, path, &rest);
		return strchr(rest, '/') ? -ENOENT : 0;
	}
	if (err)
		return err;
	if (!n->parent)
		return -EINVAL;
	fire_rm(xs, n, true, top == root);
	touch_node(xs, n->parent);
	for (p = &n->parent->child; *p != n; p = &(*p)->next)
		;
	*p = n->next;
	n->parent->gen = ++generation;
	node_free(n);
	return 0;
}

static int do_perms(struct xen_store *xs, struct node *top, const char *path,
		    const struct perms *perms)
{
	struct perms old;
	struct node *n;
	int err = get(xs, top, path, P_WRITE | P_OWNER, &n);

	if (err)
		return err;
	if (xs->domid && perms->p[0].id != n->perms.p[0].id)
		return -EPERM;
	old = n->perms;
	n->perms = *perms;
	n->gen = ++generation;
	if (top == root)
		fire(n, &old, false);
	return 0;
}

static int do_op(struct xen_store *xs, struct node *top, const struct op *op)
{
	switch (op->kind) {
	case OP_WRITE:
		return do_write(xs, top, op->path, op->data, op->len);
	case OP_MKDIR:
		return do_mkdir(xs, top, op->path);
	case OP_RM:
		return do_rm(xs, top, op->path);
	case OP_PERMS:
		return do_perms(xs, top, op->path, &op->perms);
	}
	return -EINVAL;
}

static void op_free(struct op *op)
{
	free(op->path);
	free(op->data);
	free(op);
}

/* Does it, and in a transaction remembers it for the commit. */
static int change(struct xen_store *xs, enum op_kind kind, const char *path,
		  const void *data, size_t len, const struct perms *perms)
{
	struct op *op = fake_zalloc(sizeof(*op));
	int err;

	op->kind = kind;
	op->path = canonical(xs, path);
	op->data = fake_zalloc(len + 1);
	op->len = len;
	if (len)
		memcpy(op->data, data, len);
	if (perms)
		op->perms = *perms;
	err = op->path ? do_op(xs, xs->tx_root ? xs->tx_root : root, op) :
			 -EINVAL;
	if (err || !xs->tx_root) {
		op_free(op);
		return err;
	}
	*xs->ops_end = op;
	xs->ops_end = &op->next;
	return 0;
}

/* ---- connections -------------------------------------------------------- */

static void conn_init(struct xen_store *xs, xen_domid_t domid)
{
	xs->domid = domid;
	xs->fd = -1;
	xs->events_end = &xs->events;
	xs->ops_end = &xs->ops;
}

int xen_store_open(struct xen_store **out)
{
	xen_domid_t domid = fake_current_domain()->domid;
	int err = fake_call(domid, FAKE_STORE_OPEN);
	struct xen_store *xs;

	if (err)
		return err;
	if (nr_conns == sizeof(conns) / sizeof(conns[0]))
		fake_die("too many xenstore connections");
	xs = fake_zalloc(sizeof(*xs));
	conn_init(xs, domid);
	xs->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (xs->fd < 0)
		fake_die("eventfd: %s", strerror(errno));
	fake_handle_add(&xs->h, FAKE_H_STORE);
	conns[nr_conns++] = xs;
	*out = xs;
	return 0;
}

static void watch_free(struct watch *w)
{
	free(w->path);
	free(w->token);
	free(w);
}

static void tx_end(struct xen_store *xs)
{
	struct touched *t;
	struct op *op;

	if (xs->tx_root)
		node_free(xs->tx_root);
	xs->tx_root = NULL;
	while ((t = xs->touched)) {
		xs->touched = t->next;
		free(t->path);
		free(t);
	}
	while ((op = xs->ops)) {
		xs->ops = op->next;
		op_free(op);
	}
	xs->ops_end = &xs->ops;
}

void fake_store_crash(struct xen_store *xs)
{
	struct watch *w;
	struct event *e;
	uint64_t one;
	unsigned int i;

	tx_end(xs);
	while ((w = xs->watches)) {
		xs->watches = w->next;
		watch_free(w);
	}
	while ((e = xs->events)) {
		xs->events = e->next;
		free(e->path);
		free(e->token);
		free(e);
		if (read(xs->fd, &one, sizeof(one)) != sizeof(one))
			fake_die("eventfd: %s", strerror(errno));
	}
	xs->events_end = &xs->events;
	for (i = 0; i < nr_conns; i++) {
		if (conns[i] != xs)
			continue;
		memmove(&conns[i], &conns[i + 1],
			(nr_conns - i - 1) * sizeof(conns[0]));
		nr_conns--;
		break;
	}
}

void fake_store_fini(struct xen_store *xs)
{
	close(xs->fd);
}

void xen_store_close(struct xen_store *xs)
{
	if (!xs)
		return;
	if (!xs->h.dead)
		fake_store_crash(xs);
	close(xs->fd);
	fake_handle_free(&xs->h);
}

int xen_store_fd(const struct xen_store *xs)
{
	return xs->fd;
}

int xen_store_begin(struct xen_store *xs)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_BEGIN);

	if (err)
		return err;
	if (xs->tx_root)
		return -EBUSY;
	xs->tx_root = node_copy(root, NULL);
	return 0;
}

int xen_store_commit(struct xen_store *xs)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_COMMIT);
	struct touched *t;
	struct node *copy = xs->tx_root;
	struct op *op;

	if (!copy)
		return err ? err : -ENOENT;
	for (t = xs->touched; t && !err; t = t->next) {
		struct node *n = find(root, t->path);

		if ((n ? n->gen : 0) != t->gen)
			err = -EAGAIN;
	}
	/* Not in a transaction any more, so that do_op() touches nothing. */
	xs->tx_root = NULL;
	for (op = xs->ops; op && !err; op = op->next)
		if (do_op(xs, root, op))
			fake_die("replaying a transaction failed");
	xs->tx_root = copy;
	tx_end(xs);
	return err;
}

void xen_store_abort(struct xen_store *xs)
{
	if (!xs->h.dead)
		tx_end(xs);
}

/* ---- the calls ---------------------------------------------------------- */

static char *read_value(struct xen_store *xs, const char *path)
{
	char *abs = canonical(xs, path), *v = NULL;
	struct node *n;
	int err = -EINVAL;

	if (abs)
		err = get(xs, xs->tx_root ? xs->tx_root : root, abs, P_READ,
			  &n);
	if (!err && memchr(n->value, 0, n->len))
		err = -EINVAL;
	if (!err)
		v = fake_strf("%s", n->value);
	free(abs);
	if (err)
		errno = -err;
	return v;
}

char *xen_store_read(struct xen_store *xs, const char *path)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_READ);

	if (err) {
		errno = -err;
		return NULL;
	}
	return read_value(xs, path);
}

int xen_store_write(struct xen_store *xs, const char *path, const char *value)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_WRITE);

	return err ? err : change(xs, OP_WRITE, path, value, strlen(value),
				  NULL);
}

int xen_store_rm(struct xen_store *xs, const char *path)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_RM);

	return err ? err : change(xs, OP_RM, path, NULL, 0, NULL);
}

int xen_store_set_perms(struct xen_store *xs, const char *path,
			xen_domid_t owner, xen_domid_t reader)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_PERMS);
	struct perms p = { .n = owner == reader ? 1 : 2 };

	if (err)
		return err;
	p.p[0] = (struct perm){ owner, P_NONE };
	p.p[1] = (struct perm){ reader, P_READ };
	return change(xs, OP_PERMS, path, NULL, 0, &p);
}

int xen_store_directory(struct xen_store *xs, const char *path, char ***names)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_DIRECTORY);
	size_t bytes = sizeof(char *), n = 0, at;
	struct node *node, *c;
	char *abs, **v;

	if (err)
		return err;
	abs = canonical(xs, path);
	if (!abs)
		return -EINVAL;
	err = get(xs, xs->tx_root ? xs->tx_root : root, abs, P_READ, &node);
	free(abs);
	if (err)
		return err;
	for (c = node->child; c; c = c->next, n++)
		bytes += sizeof(char *) + strlen(c->name) + 1;
	/* One block, as libxenstore gives: one free() must do. */
	v = fake_zalloc(bytes);
	at = (n + 1) * sizeof(char *);
	for (c = node->child, n = 0; c; c = c->next, n++) {
		v[n] = (char *)v + at;
		memcpy(v[n], c->name, strlen(c->name) + 1);
		at += strlen(c->name) + 1;
	}
	*names = v;
	return (int)n;
}

void xen_store_free_dir(char **names)
{
	free(names);
}

int xen_store_watch(struct xen_store *xs, const char *path, const char *token)
{
	int err = fake_hcall(&xs->h, FAKE_STORE_WATCH);
	struct watch *w, **end;
	unsigned int n = 0;
	char *abs;

	if (err)
		return err;
	if (*path == '@') {
		if (strcmp(path, "@introduceDomain") &&
		    strcmp(path, "@releaseDomain"))
			return -EINVAL;
		abs = fake_strf("%s", path);
	} else {
		abs = canonical(xs, path);
		if (!abs)
			return -EINVAL;
	}
	for (end = &xs->watches; (w = *end); end = &w->next, n++) {
		if (!strcmp(w->path, abs) && !strcmp(w->token, token)) {
			free(abs);
			return -EEXIST;
		}
	}
	if (xs->domid && n >= QUOTA_WATCHES) {
		free(abs);
		return -ENOSPC;
	}
	w = fake_zalloc(sizeof(*w));
	w->path = abs;
	w->token = fake_strf("%s", token);
	w->prefix = strlen(abs) - strlen(path);
	*end = w;
	event_add(xs, path, token);
	return 0;
}

void xen_store_unwatch(struct xen_store *xs, const char *path,
		       const char *token)
{
	char *abs = canonical(xs, path);
	struct watch **p, *w;

	for (p = &xs->watches; abs && (w = *p); p = &w->next) {
		if (strcmp(w->path, abs) || strcmp(w->token, token))
			continue;
		*p = w->next;
		watch_free(w);
		break;
	}
	free(abs);
}

int xen_store_next_watch(struct xen_store *xs, char **path, char **token)
{
	struct event *e = xs->events;
	uint64_t one;

	if (xs->h.dead)
		return -EBADF;
	if (!e)
		return -EAGAIN;
	xs->events = e->next;
	if (!xs->events)
		xs->events_end = &xs->events;
	if (read(xs->fd, &one, sizeof(one)) != sizeof(one))
		fake_die("eventfd: %s", strerror(errno));
	*path = e->path;
	*token = e->token;
	free(e);
	return 0;
}

int xen_store_own_domid(struct xen_store *xs, xen_domid_t *domid)
{
	char *v = xen_store_read(xs, "domid"), *end;
	unsigned long id;

	if (!v)
		return -errno;
	id = strtoul(v, &end, 10);
	if (*end || end == v || id > XEN_DOMID_MAX) {
		free(v);
		return -EINVAL;
	}
	free(v);
	*domid = (xen_domid_t)id;
	return 0;
}

/* ---- the tests' access -------------------------------------------------- */

int fake_store_write_bytes(xen_domid_t as, const char *path, const void *data,
			   unsigned int len_bytes)
{
	struct xen_store xs = { 0 };

	conn_init(&xs, as);
	return change(&xs, OP_WRITE, path, data, len_bytes, NULL);
}

int fake_store_write(xen_domid_t as, const char *path, const char *fmt, ...)
{
	char *v;
	va_list ap;
	int err;

	va_start(ap, fmt);
	if (vasprintf(&v, fmt, ap) < 0)
		fake_die("out of memory");
	va_end(ap);
	err = fake_store_write_bytes(as, path, v, (unsigned int)strlen(v));
	free(v);
	return err;
}

int fake_store_mkdir(xen_domid_t as, const char *path)
{
	struct xen_store xs = { 0 };

	conn_init(&xs, as);
	return change(&xs, OP_MKDIR, path, NULL, 0, NULL);
}

int fake_store_rm(xen_domid_t as, const char *path)
{
	struct xen_store xs = { 0 };

	conn_init(&xs, as);
	return change(&xs, OP_RM, path, NULL, 0, NULL);
}

char *fake_store_read(xen_domid_t as, const char *path)
{
	struct xen_store xs = { 0 };

	conn_init(&xs, as);
	return read_value(&xs, path);
}

bool fake_store_exists(const char *path)
{
	return find(root, path);
}

int fake_store_set_perms(xen_domid_t as, const char *path, const char *perms)
{
	struct xen_store xs = { 0 };
	struct perms p = { 0 };

	while (*perms) {
		char *end;

		if (p.n == PERMS_MAX)
			fake_die("too many permissions");
		switch (*perms) {
		case 'n': p.p[p.n].bits = P_NONE; break;
		case 'r': p.p[p.n].bits = P_READ; break;
		case 'w': p.p[p.n].bits = P_WRITE; break;
		case 'b': p.p[p.n].bits = P_READ | P_WRITE; break;
		default: fake_die("permission %s", perms);
		}
		p.p[p.n++].id = (xen_domid_t)strtoul(perms + 1, &end, 10);
		perms = *end == ' ' ? end + 1 : end;
	}
	conn_init(&xs, as);
	return change(&xs, OP_PERMS, path, NULL, 0, &p);
}

unsigned int fake_store_nr_nodes(void)
{
	return count_nodes(root, -1);
}

static void dump(FILE *f, const struct node *n)
{
	char *path = node_path(n);
	const struct node *c;
	unsigned int i;

	fprintf(f, "%s=%s (", path, n->value);
	for (i = 0; i < n->perms.n; i++)
		fprintf(f, "%s%c%u", i ? " " : "",
			"nrwb"[n->perms.p[i].bits & 3], n->perms.p[i].id);
	fputs(")\n", f);
	free(path);
	for (c = n->child; c; c = c->next)
		dump(f, c);
}

char *fake_store_dump(void)
{
	char *text;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		fake_die("open_memstream");
	dump(f, root);
	fclose(f);
	return text;
}

unsigned int fake_store_nr_watches(void)
{
	unsigned int i, n = 0;
	struct watch *w;

	for (i = 0; i < nr_conns; i++)
		for (w = conns[i]->watches; w; w = w->next)
			n++;
	return n;
}

void fake_store_allow_special(xen_domid_t domid)
{
	fake_domain_need(domid)->special_watches = true;
}

/* ---- beginning and end -------------------------------------------------- */

void fake_store_init(void)
{
	root = fake_zalloc(sizeof(*root));
	root->name = fake_strf("%s", "");
	root->value = fake_zalloc(1);
	root->perms.n = 1;	/* "n0" */
	root->gen = ++generation;
}

/* As libxl__domain_make(): the guest may read, and write a few places. */
void fake_store_domain(struct fake_domain *d)
{
	static const char *const own[] = { "data", "attr", "error", "drivers" };
	char *path = fake_strf("/local/domain/%u", d->domid), *sub;
	char *ro = fake_strf("n0 r%u", d->domid);
	char *rw = fake_strf("n%u", d->domid);
	unsigned int i;

	fake_store_mkdir(0, path);
	if (d->domid)
		fake_store_set_perms(0, path, ro);
	sub = fake_strf("%s/domid", path);
	fake_store_write(0, sub, "%u", d->domid);
	free(sub);
	sub = fake_strf("%s/vm", path);
	fake_store_write(0, sub, "/vm/00000000-0000-0000-0000-%012x",
			 d->domid);
	free(sub);
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		sub = fake_strf("%s/%s", path, own[i]);
		fake_store_mkdir(0, sub);
		fake_store_set_perms(0, sub, rw);
		free(sub);
	}
	sub = fake_strf("%s/device", path);
	fake_store_mkdir(0, sub);
	free(sub);
	free(rw);
	free(ro);
	free(path);
}

unsigned int fake_store_leaks(void)
{
	unsigned int i, n = 0;
	struct watch *w;

	for (i = 0; i < nr_conns; i++) {
		for (w = conns[i]->watches; w; w = w->next, n++)
			fake_leak("dom%u: a watch on %s", conns[i]->domid,
				  w->path);
		if (conns[i]->tx_root) {
			fake_leak("dom%u: a transaction", conns[i]->domid);
			n++;
		}
	}
	return n;
}

void fake_store_exit(void)
{
	node_free(root);
	root = NULL;
}
