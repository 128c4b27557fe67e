// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * state.c - the file that outlives a worker: see state.h.
 *
 * Not trusted: what stands in it.  The checksum finds what was torn or is of
 * another version; against a lie it does not help.
 */
#include "virtio/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/util.h"

size_t vg_state_bytes(unsigned int nr_queues)
{
	return sizeof(struct vg_state) +
	       nr_queues * sizeof(struct vg_queue_log);
}

int vg_state_map(int fd, unsigned int nr_queues, struct vg_state **out)
{
	size_t bytes = vg_state_bytes(nr_queues);
	char last;
	struct iovec iov = { &last, 1 };
	void *va;
	ssize_t n;

	/*
	 * Else an access behind its end would be a SIGBUS.  Not fstat(2): a
	 * confined worker has no such call.
	 */
	n = preadv2(fd, &iov, 1, (off_t)bytes - 1, 0);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPROTO;
	va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (va == MAP_FAILED)
		return -errno;
	*out = va;
	return 0;
}

int vg_state_reserve(int fd, unsigned int nr_queues)
{
	if (!fallocate(fd, 0, 0, (off_t)vg_state_bytes(nr_queues)) ||
	    errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

void vg_state_unmap(struct vg_state *st, unsigned int nr_queues)
{
	if (st)
		munmap(st, vg_state_bytes(nr_queues));
}

/* FNV-1a over words, from behind the checksum itself. */
static uint64_t regs_sum(const struct vg_state_regs *regs)
{
	uint64_t words[sizeof(*regs) / 8];
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	size_t i;

	memcpy(words, regs, sizeof(words));
	for (i = 1; i < ARRAY_SIZE(words); i++)
		sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
	return sum;
}

void vg_state_init(struct vg_state *st, uint32_t virtio_id,
		   unsigned int nr_queues)
{
	unsigned int i;

	/* Without the magic nothing below counts: see vg_state_write(). */
	WRITE_ONCE(st->magic, 0);
	smp_wmb();
	st->version = VG_STATE_VERSION;
	st->virtio_id = virtio_id;
	st->nr_queues = nr_queues;
	st->takeovers = 0;
	st->turn = 0;
	memset(st->regs, 0, sizeof(st->regs));
	for (i = 0; i < nr_queues; i++)
		st->queue[i].redone = 0;
	vg_step();
}

int vg_state_read(const struct vg_state *st, uint32_t virtio_id,
		  unsigned int nr_queues, struct vg_state_regs *regs)
{
	uint32_t turn;

	if (load_acquire(&st->magic) != VG_STATE_MAGIC ||
	    READ_ONCE(st->version) != VG_STATE_VERSION ||
	    READ_ONCE(st->virtio_id) != virtio_id ||
	    READ_ONCE(st->nr_queues) != nr_queues)
		return -EPROTO;
	turn = load_acquire(&st->turn);
	__builtin_memcpy(regs, &st->regs[turn & 1], sizeof(*regs));
	return regs->checksum == regs_sum(regs) ? 0 : -EPROTO;
}

void vg_state_write(struct vg_state *st, struct vg_state_regs *regs)
{
	uint32_t turn = st->turn + 1;

	regs->checksum = regs_sum(regs);
	vg_step();
	/* In two halves for the tests: a kill can come in its midst. */
	memcpy(&st->regs[turn & 1], regs, sizeof(*regs) / 2);
	vg_step();
	memcpy((char *)&st->regs[turn & 1] + sizeof(*regs) / 2,
	       (char *)regs + sizeof(*regs) / 2,
	       sizeof(*regs) - sizeof(*regs) / 2);
	vg_step();
	store_release(&st->turn, turn);
	vg_step();
	store_release(&st->magic, VG_STATE_MAGIC);
}
