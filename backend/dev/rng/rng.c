// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rng.c - the virtio entropy device (virtio 1.3, 5.4): random bytes of this
 * domain's kernel, so many per second and device.
 *
 * Not trusted: the guest.  It gets no more than its rate; a second's worth at
 * once, and up to 63 bytes in advance.  No request waits here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include <linux/virtio_ids.h>

#include "dev/type.h"
#include "lib/util.h"

#define RATE_DEFAULT		65536u		/* bytes per second */
#define RATE_MAX		(1u << 30)
#define NS_PER_S		UINT64_C(1000000000)
#define TRIES_PER_S		50u		/* while there is nothing */
#define LEAST_BYTES		64u		/* a buffer of Linux */

enum { STAT_REQUESTS, STAT_BYTES, STAT_WAITS };

static const char *const stat_names[] = { "requests", "bytes", "waits", NULL };

struct rng {
	struct vg_device *dev;
	uint32_t rate;			/* bytes per second, and at once */
	uint64_t granted_ns;		/* the rate is used up to here */
	uint64_t *stats;
	struct vg_timer *refill;
	unsigned int have;		/* of bytes[] */
	uint8_t bytes[4096];
};

/* ---- in the worker ------------------------------------------------------ */

/* So many in all, on credit if need be. */
static void fill(struct rng *r, uint64_t n)
{
	ssize_t got = n <= r->have ? 0 :
		      getrandom(r->bytes + r->have, n - r->have, GRND_NONBLOCK);

	r->have += (unsigned int)(got > 0 ? got : 0);
	r->granted_ns += (uint64_t)(got > 0 ? got : 0) * NS_PER_S / r->rate;
}

/* Asks for a request when there are bytes for it, or is called again. */
static void ask(void *arg)
{
	struct rng *r = arg;
	uint64_t now = vg_now_ns(), n;

	r->granted_ns = max_u(r->granted_ns, now - NS_PER_S);
	n = (now - min_u(now, r->granted_ns)) * r->rate / NS_PER_S;
	if (!r->have && n >= min_u(LEAST_BYTES, r->rate / TRIES_PER_S + 1))
		fill(r, min_u(n, sizeof(r->bytes)));
	if (r->have)
		return vg_queue_want(r->dev, 0, 1);
	count_add(r->stats[STAT_WAITS], 1);
	vg_timer_arm(r->refill, NS_PER_S / TRIES_PER_S);
}

static int rng_start(void *queue, struct vg_req *req)
{
	struct rng *r = queue;
	unsigned int n;

	/* 5.4.6.1: the device writes, and nothing else. */
	if (req->nr_out)
		return -EINVAL;
	/* All of a small one: if not, readers of Linux 6.12.118 may hang. */
	fill(r, min_u(req->in_bytes, LEAST_BYTES));
	n = (unsigned int)min_u(req->in_bytes, (uint64_t)r->have);
	r->have -= n;
	vg_iov_copy(req->iov, req->nr_in, r->bytes + r->have, n, true);
	explicit_bzero(r->bytes + r->have, n);
	count_add(r->stats[STAT_REQUESTS], 1);
	count_add(r->stats[STAT_BYTES], n);
	vg_req_complete(req, n);
	ask(r);
	return 0;
}

static void *rng_queue_create(void *priv, unsigned int queue,
			      struct vg_loop *loop, uint64_t *stats)
{
	struct rng *r = priv;

	(void)queue;
	r->stats = stats;
	r->refill = vg_timer_create(loop, ask, r);
	ask(r);
	return r;
}

static void rng_queue_destroy(void *queue)
{
	vg_timer_destroy(((struct rng *)queue)->refill);
}

static int rng_create(struct vg_device *dev, const struct vg_dev_parts *parts,
		      void **priv)
{
	struct rng *r = vg_zalloc(sizeof(*r));

	r->dev = dev;
	r->rate = (uint32_t)max_u(parts->blob[0], UINT64_C(1));
	*priv = r;
	return 0;
}

static const struct vg_queue_traits all = { .segs_max = 16, .is_pull = true };

static void rng_prepare(struct vg_dev_prepared *p)
{
	static const struct vg_dev_syscall call = { SYS_getrandom, -1, 0 };

	p->syscalls = &call;
	p->nr_syscalls = 1;
}

/* ---- in the supervisor -------------------------------------------------- */

static uint64_t rate_option = RATE_DEFAULT;

static const char *rate_parse(void *rate, const char *text)
{
	uint64_t v;

	if (vg_parse_u64(text, 10, RATE_MAX, &v) || !v)
		return "not 1 to 1073741824 bytes per second";
	*(uint64_t *)rate = v;
	return NULL;
}

static const char *parse_rate(const char *arg)
{
	return rate_parse(&rate_option, arg);
}

static const struct vg_dev_option options[] = {
	{ "rng-rate", 0, "BYTES", "random bytes a second, per device (65536)",
	  parse_rate },
	{ 0 },
};

static void *rng_res_create(void *daemon, const char *label)
{
	(void)daemon;
	(void)label;
	return vg_zalloc(sizeof(uint64_t));
}

static int rng_res_open(void *res, const struct vg_dev_how *how,
			struct vg_dev_parts *parts, char **why)
{
	uint64_t *rate = res;
	int err;

	*rate = rate_option;
	err = vg_keys_parse_if(how->keys, "rng-rate", rate_parse, rate, why);
	vg_dev_parts_init(parts);
	parts->blob[0] = *rate;
	return err;
}

static char *rng_res_summary(const void *res)
{
	return vg_strf("random bytes, %llu a second at most",
		       (unsigned long long)*(const uint64_t *)res);
}

static const struct vg_dev_host host = {
	.create = rng_res_create,
	.destroy = free,
	.open = rng_res_open,
	.summary = rng_res_summary,
};

extern const struct vg_dev_type vg_dev_rng;	/* types.c */
const struct vg_dev_type vg_dev_rng = {
	.name = "rng",
	.virtio_id = VIRTIO_ID_RNG,
	.options = options,
	.stat_names = stat_names,
	.host = &host,
	.prepare = rng_prepare,
	.create = rng_create,
	.destroy = free,
	.all_traits = &all,
	.start = rng_start,
	.queue_create = rng_queue_create,
	.queue_destroy = rng_queue_destroy,
};
