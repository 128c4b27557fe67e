/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msg.h - virtio over messages (kernel/uapi/virtio_grant_bus.h, which says what
 * each is): requests in, operations of a device (virtio/device.h) out.
 *
 * Not trusted: the driver, in every byte of a message.  What carries them
 * copies a message once, and hands over the copy.
 */
#ifndef VG_TRANSPORT_MSG_H
#define VG_TRANSPORT_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/uapi/virtio_grant_bus.h"
#include "virtio/device.h"

#define VG_MSG_BYTES_MAX	VIRTIO_GRANT_BUS_MSG_BYTES

struct vg_msg;

/* What carries messages, answers and notifications. */
struct vg_msg_link_ops {
	/*
	 * The answer to request @seq, @bytes in all; maybe from within
	 * vg_msg_request(), maybe long after.
	 */
	void (*reply)(void *link, uint32_t seq, const void *msg, size_t bytes);
	/*
	 * Tells the driver of VG_NOTIFY_*, at the end of the turn at the
	 * latest.  False: there is nobody to tell; then vg_msg_set_link()
	 * will come.
	 */
	bool (*raise)(void *link, uint32_t what);
	/* The same from any thread, and at once. */
	void (*raise_now)(void *link, uint32_t what);
	/*
	 * A reset is over, whoever wanted it.  Nothing may be asked of the
	 * device from within.
	 */
	void (*was_reset)(void *link);
};

/* Which link it is, as long as two of them can be told apart. */
struct vg_msg_link_id {
	uint32_t word[3];
};

/*
 * For vg_device_create(): its transport and vg_msg_transport_ops.  Then
 * vg_msg_set_device(), before anything else.
 */
struct vg_msg *vg_msg_create(const struct vg_msg_link_ops *ops, void *link);
void vg_msg_set_device(struct vg_msg *m, struct vg_device *dev);
void vg_msg_destroy(struct vg_msg *m);
extern const struct vg_transport_ops vg_msg_transport_ops;

/*
 * Messages come over this link from now on; NULL: there is none.  True: it is
 * the one that a predecessor or we had last, and *last is its last request that
 * was carried out, which vg_msg_repeat() answers again; 0: none was.  Else, or
 * with @is_new, what came over another is forgotten.
 */
bool vg_msg_set_link(struct vg_msg *m, const struct vg_msg_link_id *id,
		     bool is_new, uint32_t *last);
void vg_msg_repeat(struct vg_msg *m);

/*
 * A request, of which @bytes were copied: 8 at least, and no more than
 * VG_MSG_BYTES_MAX.  It is carried out once.  The one before is forgotten if it
 * has not been answered yet.
 */
void vg_msg_request(struct vg_msg *m, uint32_t seq, const void *msg,
		    size_t bytes);
/* The driver says that there are buffers, and not in which queue. */
void vg_msg_avail(struct vg_msg *m);

#endif
