// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * link.c - messages to a backend, and its answers, in a page that it maps.
 *
 * Who is not trusted: the backend, which can write any word of the page at any
 * time, and never answer.  An answer is copied before it is looked at, waits are
 * bounded, and an event costs a look at three words.
 *
 * Who owns what: the link owns the page, its reference and the port.  A page that
 * the backend maps when the link ends, is the kernel's grant table code's, which
 * frees it when it is let go of.
 */
#include <linux/device.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <xen/events.h>
#include <xen/page.h>
#include <asm/xen/hypercall.h>

#include "bus/bus_priv.h"

/* For an answer: more than a busy backend takes, or a restart of its process. */
VISIBLE_IF_KUNIT unsigned int vgb_answer_ms = 5000;
EXPORT_SYMBOL_IF_KUNIT(vgb_answer_ms);
/* ... of one that has been silent, and may have come back; or if we are killed. */
VISIBLE_IF_KUNIT unsigned int vgb_silent_ms = 100;
EXPORT_SYMBOL_IF_KUNIT(vgb_silent_ms);

/*
 * Has one of our requests been answered since the last event?  One is so once: what
 * the backend writes there makes no more events of ours than we make requests.
 */
static bool vgb_is_answer_new(struct vgb_link *link)
{
	u32 seq = le32_to_cpu(READ_ONCE(link->page->response_seq));
	u32 ahead = seq - link->response_seen;

	if (!ahead || ahead > READ_ONCE(link->seq) - link->response_seen)
		return false;
	link->response_seen = seq;
	return true;
}

static irqreturn_t vgb_event(int irq, void *opaque)
{
	struct vgb_link *link = opaque;
	struct virtio_grant_bus_page *page = link->page;
	u32 config_events, used_events;
	bool is_config, is_used, has_cause;

	config_events = le32_to_cpu(READ_ONCE(page->config_events));
	used_events = le32_to_cpu(READ_ONCE(page->used_events));
	/* Before what they tell of; partner: the device's release of them. */
	virt_rmb();
	is_config = config_events != link->config_events;
	is_used = used_events != link->used_events;
	link->config_events = config_events;
	link->used_events = used_events;
	has_cause = vgb_is_answer_new(link);
	wake_up(&link->answered);
	if ((is_config || is_used) && link->changed(link, is_config, is_used))
		has_cause = true;
	/*
	 * A storm of events has no cause, whatever the counters say, and is held
	 * against the backend: the kernel takes the next ones later.
	 */
	xen_irq_lateeoi(irq, has_cause ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

/* Returns: 0 or -ENOMEM. */
int vgb_link_init(struct vgb_link *link,
		  bool (*changed)(struct vgb_link *link, bool is_config,
				  bool is_used))
{
	BUILD_BUG_ON(sizeof(*link->page) != XEN_PAGE_SIZE);
	link->page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!link->page)
		return -ENOMEM;
	link->changed = changed;
	mutex_init(&link->lock);
	init_waitqueue_head(&link->answered);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_link_init);

static void vgb_port_close(struct vgb_link *link)
{
	if (link->irq)
		unbind_from_irqhandler(link->irq, link);
	link->irq = 0;
}

static int vgb_port_open(struct vgb_link *link, const char *name)
{
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = link->backend,
	};
	struct evtchn_close close;
	int ret;

	ret = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
	if (ret)
		return ret;
	ret = bind_evtchn_to_irqhandler_lateeoi(alloc.port, vgb_event, 0, name,
						link);
	if (ret < 0) {
		close.port = alloc.port;
		HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
		return ret;
	}
	link->port = alloc.port;
	link->irq = ret;
	return 0;
}

/*
 * Ends the grant of the page.  False: it is mapped still.  Event channels of a
 * domain that is gone are nothing to wait for.
 */
bool vgb_link_close(struct vgb_link *link)
{
	vgb_link_set_reach(link, VGB_DOWN);
	vgb_port_close(link);
	if (!link->ref)
		return true;
	if (!gnttab_end_foreign_access_ref(link->ref))
		return false;
	gnttab_free_grant_reference(link->ref);
	link->ref = 0;
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_link_close);

/* Who saw a backend there still, has put its request into the old page by then. */
static void vgb_page_init(struct vgb_link *link)
{
	struct virtio_grant_bus_page *page = link->page;

	mutex_lock(&link->lock);
	memset(page, 0, sizeof(*page));
	page->magic = cpu_to_le32(VIRTIO_GRANT_BUS_MAGIC);
	page->version = cpu_to_le32(VIRTIO_GRANT_BUS_VERSION);
	WRITE_ONCE(link->seq, 0);
	WRITE_ONCE(link->opens, link->opens + 1);
	link->is_silent = false;
	link->response_seen = 0;
	link->config_events = 0;
	link->used_events = 0;
	mutex_unlock(&link->lock);
}

/*
 * A page that begins anew, for @backend; a link that is closed.  Returns: 0 or a
 * negative errno.
 */
int vgb_link_open(struct vgb_link *link, domid_t backend, const char *name)
{
	int ret;

	vgb_page_init(link);
	link->backend = backend;
	ret = gnttab_grant_foreign_access(backend, virt_to_gfn(link->page), 0);
	if (ret < 0)
		return ret;
	link->ref = ret;
	ret = vgb_port_open(link, name);
	if (ret)
		vgb_link_close(link);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_link_open);

/* A link that was never opened, or closed as well as it could be. */
void vgb_link_exit(struct vgb_link *link)
{
	vgb_link_set_reach(link, VGB_DOWN);
	vgb_port_close(link);
	if (link->ref)
		gnttab_end_foreign_access(link->ref, virt_to_page(link->page));
	else
		free_page((unsigned long)link->page);
}
EXPORT_SYMBOL_IF_KUNIT(vgb_link_exit);

/* Who waits for an answer that does not come any more, does not wait on. */
void vgb_link_set_reach(struct vgb_link *link, enum vgb_reach reach)
{
	WRITE_ONCE(link->resumer, reach == VGB_RESUMING ? current : NULL);
	WRITE_ONCE(link->reach, reach);
	wake_up_all(&link->answered);
}
EXPORT_SYMBOL_IF_KUNIT(vgb_link_set_reach);

/* The backend, for the task that asks. */
bool vgb_link_reaches(const struct vgb_link *link)
{
	enum vgb_reach reach = READ_ONCE(link->reach);

	return reach == VGB_UP || (reach == VGB_RESUMING &&
				   READ_ONCE(link->resumer) == current);
}

/* There is something in the page. */
void vgb_link_kick(struct vgb_link *link)
{
	/*
	 * A hypercall is a full barrier to what was written before; its partner
	 * is the device's unmasking before it looks.
	 */
	if (READ_ONCE(link->irq))
		notify_remote_via_evtchn(link->port);
}

static void vgb_put_request(struct vgb_link *link, u8 type, u8 id,
			    const void *req, unsigned int req_bytes)
{
	struct virtio_grant_bus_page *page = link->page;
	u32 seq = link->seq + 1;
	struct virtio_grant_msg_header header = {
		.type = type,
		.msg_id = id,
		.token = cpu_to_le16(seq),
		.msg_size = cpu_to_le16(sizeof(header) + req_bytes),
	};

	memcpy(page->request, &header, sizeof(header));
	memcpy(page->request + sizeof(header), req, req_bytes);
	/* vgb_event() may see the answer at once. */
	WRITE_ONCE(link->seq, seq);
	/* The message before its number; partner: the device's acquire. */
	virt_store_release(&page->request_seq, cpu_to_le32(seq));
	vgb_link_kick(link);
}

static bool vgb_is_answered(struct vgb_link *link)
{
	/* Partner: the device's release, after its answer. */
	return le32_to_cpu(virt_load_acquire(&link->page->response_seq)) ==
	       link->seq;
}

/*
 * The answer to the last request: its payload, which has to be of this size.
 * Returns 0; or -EPROTO, it makes no sense or says that the request makes none.
 */
static int vgb_get_response(struct vgb_link *link, u8 type, u8 id, void *rsp,
			    unsigned int rsp_bytes)
{
	struct virtio_grant_bus_page *page = link->page;
	struct virtio_grant_msg_header header;

	memcpy(&header, page->response, sizeof(header));
	barrier();
	if (header.type != (type | VIRTIO_GRANT_MSG_TYPE_RESPONSE) ||
	    header.msg_id != id || header.dev_num ||
	    le16_to_cpu(header.token) != (u16)link->seq ||
	    le16_to_cpu(header.msg_size) != sizeof(header) + rsp_bytes)
		return -EPROTO;
	memcpy(rsp, page->response + sizeof(header), rsp_bytes);
	return 0;
}

/*
 * Waits for the answer to the last request; who is killed meanwhile, for one that
 * is there anyway.  Returns: was it given the time that there is for one?
 */
static bool vgb_wait(struct vgb_link *link)
{
	unsigned long soon = msecs_to_jiffies(READ_ONCE(vgb_silent_ms));
	long ret;

	ret = wait_event_killable_timeout(link->answered,
					  vgb_is_answered(link) ||
					  !vgb_link_reaches(link),
					  link->is_silent ? soon :
					  msecs_to_jiffies(READ_ONCE(vgb_answer_ms)));
	if (ret >= 0)
		return true;
	wait_event_timeout(link->answered,
			   vgb_is_answered(link) || !vgb_link_reaches(link), soon);
	return false;
}

/**
 * vgb_request - asks the backend for something, and waits for the answer
 * @link: the link
 * @type: VIRTIO_GRANT_MSG_TYPE_*, without RESPONSE
 * @id: of the message
 * @req: its payload
 * @req_bytes: of @req
 * @rsp: for the payload of the answer: private memory
 * @rsp_bytes: how long that has to be
 *
 * May sleep, for vgb_answer_ms at most; and for vgb_silent_ms after a fatal signal, so
 * that who is killed can still leave a device in order if its backend answers.
 *
 * Returns: 0; -EAGAIN if nobody answers; -EPROTO if the answer is none.
 */
int vgb_request(struct vgb_link *link, u8 type, u8 id, const void *req,
		unsigned int req_bytes, void *rsp, unsigned int rsp_bytes)
{
	const unsigned int max = VIRTIO_GRANT_BUS_MSG_BYTES -
				 sizeof(struct virtio_grant_msg_header);
	int ret = -EAGAIN;
	bool had_time;

	might_sleep();
	if (WARN_ON_ONCE(req_bytes > max || rsp_bytes > max))
		return -EPROTO;
	mutex_lock(&link->lock);
	if (!vgb_link_reaches(link))
		goto unlock;
	vgb_put_request(link, type, id, req, req_bytes);
	had_time = vgb_wait(link);
	if (vgb_is_answered(link)) {
		link->is_silent = false;
		ret = vgb_get_response(link, type, id, rsp, rsp_bytes);
	} else if (had_time) {
		link->is_silent = true;
		WRITE_ONCE(link->silences, link->silences + 1);
	}
unlock:
	mutex_unlock(&link->lock);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_request);
