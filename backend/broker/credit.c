// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * credit.c - see credit.h.
 */
#include "broker/credit.h"

#include "lib/util.h"

/*
 * In terms of the limit: what an access may wait in any case, and at no charge;
 * and the largest credit.  A tenth of the time that passes is restored.
 */
#define FREE_WAIT(limit)	((limit) / 10)
#define CREDIT_MAX(limit)	((limit) * 5)
#define RESTORED(elapsed)	((elapsed) / 10)

void vg_credit_begin(struct vg_credit *c, uint64_t limit_ns, uint64_t now)
{
	c->limit_ns = limit_ns;
	c->left_ns = CREDIT_MAX(limit_ns);
	c->at_ns = now;
}

void vg_credit_spend(struct vg_credit *c, uint64_t now)
{
	c->left_ns = 0;
	c->at_ns = now;
}

static void restore(struct vg_credit *c, uint64_t now)
{
	c->left_ns = min_u(CREDIT_MAX(c->limit_ns),
			   c->left_ns + RESTORED(now - c->at_ns));
	c->at_ns = now;
}

uint64_t vg_credit_limit(struct vg_credit *c, uint64_t now)
{
	restore(c, now);
	return min_u(c->limit_ns, max_u(c->left_ns, FREE_WAIT(c->limit_ns)));
}

void vg_credit_charge(struct vg_credit *c, uint64_t took_ns, uint64_t now)
{
	uint64_t free_ns = FREE_WAIT(c->limit_ns);

	restore(c, now);
	if (took_ns > free_ns)
		c->left_ns -= min_u(c->left_ns, took_ns - free_ns);
}

uint64_t vg_credit_in_vain(struct vg_credit *c, uint64_t now)
{
	vg_credit_spend(c, now);
	return now + FREE_WAIT(c->limit_ns);
}
