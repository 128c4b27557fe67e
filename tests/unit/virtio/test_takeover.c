// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_takeover.c - a queue whose process is killed between any two of its
 * stores, and the state file.
 *
 * A world is a driver and a device that do random things with one queue, from
 * a seed.  Each availability of a head has a serial number, which is the
 * length of its buffer; the device writes it back as the used length.  The
 * device is killed at its k-th step, for each k that there is, and at each step
 * of its successor's taking over.  In the end each serial was shown as used
 * exactly once, and none was executed again that had been finished.
 */
#include <errno.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flat.h"
#include "virtio/state.h"
#include "lib/util.h"
#include "virtio/ring.h"

/* Shows the batch, and asks. */
static bool publish(struct vg_vq *vq)
{
	vg_vq_show(vq);
	return vg_vq_wants_event(vq);
}

#define NUM		8u
#define SEGS		4u
#define OPS		70u
#define SERIALS_MAX	256u

struct world {
	struct flat f;
	struct flat_queue d;
	struct vg_queue_log log;
	struct vg_vq vq;
	uint32_t rand;

	/* driver */
	unsigned int serial;			/* the last one given */
	unsigned int serial_of[NUM];		/* by head; 0: free */
	unsigned int shown[SERIALS_MAX];
	/* device: in this life, and over all */
	uint16_t in_flight[NUM];
	unsigned int nr_in_flight;
	unsigned int executed[SERIALS_MAX];
	bool finished[SERIALS_MAX];
	unsigned int lives;
	bool waits;				/* its requests do */
};

/* ---- death -------------------------------------------------------------- */

static unsigned int left;		/* steps to live; 0: for ever */
static jmp_buf grave;

static void step(void)
{
	if (left && !--left)
		longjmp(grave, 1);
}

/* ---- a world ------------------------------------------------------------ */

static unsigned int roll(struct world *w, unsigned int n)
{
	w->rand = w->rand * 1664525u + 1013904223u;
	return (w->rand >> 16) % n;
}

static struct vg_vq_config config(const struct world *w)
{
	return (struct vg_vq_config){
		.num = NUM, .event_idx = true,
		.desc_addr = w->d.desc_addr, .driver_addr = w->d.avail_addr,
		.device_addr = w->d.used_addr,
	};
}

static void begin(struct world *w, uint32_t seed)
{
	static struct flat f;
	struct vg_vq_config cfg;

	memset(w, 0, sizeof(*w));
	w->rand = seed;
	/* One for all: only the rings are looked at. */
	if (!f.ram)
		flat_init(&f);
	w->f = f;
	memset(f.ram, 0, 4 * 4096);
	drv_init(&w->d, &w->f, NUM);
	memset(&w->log, 0xee, sizeof(w->log));
	w->log.redone = 0;
	vg_vq_init(&w->vq, &w->f.mem, SEGS);
	vg_vq_set_log(&w->vq, &w->log);
	cfg = config(w);
	assert_int_equal(vg_vq_map(&w->vq, &cfg), 0);
}

static void driver_adds(struct world *w)
{
	unsigned int head = roll(w, NUM);

	while (w->serial_of[head])
		if (++head == NUM)
			return;
	w->serial_of[head] = ++w->serial;
	drv_desc(&w->d.desc[head], VG_ADDR_GRANT | 0x100000, w->serial,
		 VRING_DESC_F_WRITE, 0);
	drv_offer(&w->d, (uint16_t)head);
	drv_show(&w->d);
}

static void driver_takes(struct world *w)
{
	while (w->d.used_seen != w->d.used->idx) {
		struct vring_used_elem *e =
			&w->d.used->ring[w->d.used_seen++ % NUM];
		unsigned int serial;

		assert_in_range(e->id, 0, NUM - 1);
		serial = w->serial_of[e->id];
		assert_int_not_equal(serial, 0);	/* not twice */
		assert_int_equal(e->len, serial);
		w->serial_of[e->id] = 0;
		w->shown[serial]++;
	}
}

static void device_pops(struct world *w, bool may_put_back)
{
	struct vg_chain c;
	int n = vg_vq_pop(&w->vq, &c);

	if (!n)
		return;
	assert_int_equal(n, 1);
	assert_int_equal(c.in_bytes, w->serial_of[c.head]);
	if (may_put_back && !roll(w, 4)) {
		vg_vq_unpop(&w->vq);
		return;
	}
	assert_false(w->finished[c.in_bytes]);
	w->executed[c.in_bytes]++;
	w->in_flight[w->nr_in_flight++] = c.head;
}

static void device_finishes(struct world *w)
{
	unsigned int i, serial;
	uint16_t head;

	if (!w->nr_in_flight)
		return;
	i = roll(w, w->nr_in_flight);
	head = w->in_flight[i];
	serial = w->serial_of[head];
	w->in_flight[i] = w->in_flight[--w->nr_in_flight];
	vg_vq_push(&w->vq, head, serial);
	w->finished[serial] = true;
}

static void device_acts(struct world *w, bool may_put_back)
{
	switch (roll(w, 5)) {
	case 0:
	case 1:
		return device_pops(w, may_put_back);
	case 2:
		return device_finishes(w);
	case 3:
		publish(&w->vq);
		return;
	case 4:
		vg_vq_sleep(&w->vq);
		return;
	}
}

static void bury(struct world *w)
{
	vg_vq_exit(&w->vq);
	assert_int_equal(w->f.rings_now, 0);
	w->nr_in_flight = 0;
	w->lives++;
}

/* A new process; killed in turn at its @at-th step, if there is one. */
static void follow(struct world *w, unsigned int first_at)
{
	struct vg_vq_config cfg = config(w);
	volatile unsigned int at = first_at;
	int err;

	for (;;) {
		bury(w);
		vg_vq_init(&w->vq, &w->f.mem, SEGS);
		vg_vq_set_log(&w->vq, &w->log);
		left = at;
		at = 0;
		if (setjmp(grave))
			continue;
		err = vg_vq_take_over(&w->vq, &cfg, false, w->waits);
		if (err)
			fail_msg("taking over: %s, 0x%llx",
				 vg_broken_name(w->vq.broken),
				 (unsigned long long)w->vq.bad_value);
		return;
	}
}

/* True: it was killed at step @at. */
static bool live(struct world *w, unsigned int at)
{
	volatile unsigned int i;

	left = at;
	if (setjmp(grave))
		return true;
	for (i = 0; i < OPS; i++) {
		if (roll(w, 3) == 0)
			driver_adds(w);
		if (roll(w, 4) == 0)
			driver_takes(w);
		device_acts(w, true);
	}
	left = 0;
	return false;
}

static void settle(struct world *w)
{
	unsigned int i;

	left = 0;
	for (i = 0; i < 4 * NUM; i++)
		device_pops(w, false);
	while (w->nr_in_flight)
		device_finishes(w);
	publish(&w->vq);
	driver_takes(w);
	for (i = 1; i <= w->serial; i++) {
		assert_int_equal(w->shown[i], 1);
		assert_in_range(w->executed[i], 1, w->lives + 1);
	}
	assert_int_equal(w->d.used->idx, w->d.avail_idx);
}

static void end(struct world *w)
{
	bury(w);
}

static struct world w;

static void killed_at_each_step(void **state)
{
	unsigned int seed, at, steps = 0;

	(void)state;
	for (seed = 1; seed <= 40; seed++) {
		for (at = 1;; at++) {
			bool killed;

			begin(&w, seed);
			killed = live(&w, at);
			if (killed) {
				follow(&w, 0);
				/* And its life goes on. */
				live(&w, 0);
			}
			settle(&w);
			end(&w);
			if (!killed)
				break;
			steps++;
		}
	}
	/* Not by accident none: see vg_step() in ring.c and inflight.h. */
	assert_in_range(steps, 40 * 60, 40 * 2000);
}

static void killed_while_taking_over(void **state)
{
	unsigned int seed, at, at2;
	unsigned int lives_max = 0;

	(void)state;
	for (seed = 50; seed < 54; seed++) {
		for (at = 1;; at++) {
			for (at2 = 1;; at2++) {
				begin(&w, seed);
				if (!live(&w, at))
					goto next_seed;
				w.lives = 0;
				follow(&w, at2);
				if (w.lives > lives_max)
					lives_max = w.lives;
				settle(&w);
				end(&w);
				if (w.lives == 2)	/* it was not killed */
					break;
			}
		}
next_seed:
		settle(&w);
		end(&w);
	}
	assert_int_equal(lives_max, 2);
}

static void killed_again_and_again(void **state)
{
	unsigned int seed, i;

	(void)state;
	for (seed = 1000; seed < 1200; seed++) {
		begin(&w, seed);
		for (i = 0; i < 8 && w.serial < SERIALS_MAX - OPS; i++)
			if (live(&w, 1 + roll(&w, 200)))
				follow(&w, 0);
		settle(&w);
		end(&w);
	}
}

/* ---- what makes no sense ------------------------------------------------ */

static void take_over_fails(enum vg_broken why)
{
	struct vg_vq_config cfg = config(&w);

	vg_vq_exit(&w.vq);
	vg_vq_init(&w.vq, &w.f.mem, SEGS);
	vg_vq_set_log(&w.vq, &w.log);
	assert_int_equal(vg_vq_take_over(&w.vq, &cfg, false, false),
			 -EPROTO);
	assert_int_equal(w.vq.broken, why);
	assert_int_equal(w.f.rings_now, 0);
}

/* Three taken, one of them finished, none published. */
static void begin_three(void)
{
	begin(&w, 7);
	driver_adds(&w);
	driver_adds(&w);
	driver_adds(&w);
	device_pops(&w, false);
	device_pops(&w, false);
	device_pops(&w, false);
	device_finishes(&w);
}

static uint64_t *word_in(uint64_t head_state)
{
	unsigned int i;

	for (i = 0; i < NUM; i++)
		if ((w.log.heads[i] & VG_HEAD_STATE) == head_state)
			return &w.log.heads[i];
	fail();
	return NULL;
}

static void lies(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 11; i++) {
		begin_three();
		switch (i) {
		case 0:		/* by the guest: no index that we wrote */
			w.d.used->idx = 5;
			break;
		case 1:
			w.log.publishing = NUM + 1;
			break;
		case 2:		/* more taken than there are */
			w.log.taken++;
			break;
		case 3:
			w.log.taken = UINT64_MAX;
			break;
		case 4:		/* taken in the future */
			*word_in(VG_HEAD_TAKEN) = VG_HEAD_TAKEN | 4;
			break;
		case 5:		/* a hole before it */
			*word_in(VG_HEAD_DONE) |= UINT64_C(1) << 32;
			break;
		case 6:
			*word_in(VG_HEAD_DONE) |= UINT64_C(0x7fff) << 32;
			break;
		case 7:
			*word_in(VG_HEAD_TAKEN) |= VG_HEAD_STATE;
			break;
		case 8:		/* one is forgotten */
			*word_in(VG_HEAD_TAKEN) = 0;
			break;
		case 9:		/* one is made up */
			*word_in(0) = VG_HEAD_TAKEN;
			break;
		case 10:	/* two at one place */
			*word_in(VG_HEAD_TAKEN) = *word_in(VG_HEAD_DONE);
			break;
		}
		take_over_fails(VG_BROKEN_STATE);
		end(&w);
	}
}

/* Whatever stands there, nothing beyond the queue is touched, nor for ever. */
static void garbage(void **state)
{
	struct vg_vq_config cfg;
	unsigned int i, k, taken_over = 0;
	struct vg_chain c;

	(void)state;
	for (i = 0; i < 3000; i++) {
		begin_three();
		w.rand = i;
		for (k = 1 + roll(&w, 3); k; k--) {
			uint64_t v = (uint64_t)roll(&w, 4) << 62 |
				     (uint64_t)roll(&w, 16) << 32 |
				     roll(&w, 16);

			switch (roll(&w, 6)) {
			case 0:
				w.log.taken = roll(&w, 12);
				break;
			case 1:
				w.log.published = (uint16_t)roll(&w, 12);
				break;
			case 2:
				w.log.publishing = (uint16_t)roll(&w, 12);
				break;
			default:
				w.log.heads[roll(&w, NUM)] = v;
			}
		}
		vg_vq_exit(&w.vq);
		vg_vq_init(&w.vq, &w.f.mem, SEGS);
		vg_vq_set_log(&w.vq, &w.log);
		cfg = config(&w);
		if (!vg_vq_take_over(&w.vq, &cfg, false, false)) {
			taken_over++;
			for (k = 0; k < 3 * NUM; k++) {
				if (vg_vq_pop(&w.vq, &c) != 1)
					break;
				assert_in_range(c.head, 0, NUM - 1);
				vg_vq_push(&w.vq, c.head, 1);
			}
			assert_true(k <= NUM);
			publish(&w.vq);
		} else {
			assert_int_equal(w.vq.broken, VG_BROKEN_STATE);
		}
		end(&w);
	}
	assert_in_range(taken_over, 1, 2999);
}

/* A request that its device does not survive. */
static void deadly(void **state)
{
	struct vg_chain c;
	unsigned int i;

	(void)state;
	begin(&w, 3);
	driver_adds(&w);
	assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
	for (i = 0; i < 8; i++) {
		follow(&w, 0);
		/* Put back is not executed, and does not count. */
		assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
		vg_vq_unpop(&w.vq);
		assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
		assert_int_equal(c.in_bytes, 1);
		assert_int_equal(w.log.redone, i + 1);
	}
	follow(&w, 0);
	assert_int_equal(vg_vq_pop(&w.vq, &c), -EPROTO);
	assert_int_equal(w.vq.broken, VG_BROKEN_DEADLY);
	end(&w);
}

/* One that waited while its device died, of whatever. */
static void waits(void **state)
{
	struct vg_chain c;
	unsigned int i;

	(void)state;
	begin(&w, 3);
	w.waits = true;
	driver_adds(&w);
	assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
	/* More often than the log can count. */
	for (i = 0; i < 2 * VG_HEAD_REDONE_MAX; i++) {
		follow(&w, 0);
		assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
		vg_vq_unpop(&w.vq);
		assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
		assert_int_equal(c.in_bytes, 1);
		assert_int_equal(w.log.redone, i + 1);
	}
	vg_vq_push(&w.vq, c.head, 1);
	publish(&w.vq);
	driver_takes(&w);
	assert_int_equal(w.shown[1], 1);
	end(&w);
}

static void head_twice(void **state)
{
	struct vg_chain c;

	(void)state;
	begin(&w, 3);
	driver_adds(&w);
	drv_offer(&w.d, w.d.avail->ring[0]);
	drv_show(&w.d);
	assert_int_equal(vg_vq_pop(&w.vq, &c), 1);
	assert_int_equal(vg_vq_pop(&w.vq, &c), -EPROTO);
	assert_int_equal(w.vq.broken, VG_BROKEN_UNDER_WAY);
	end(&w);
}

/* ---- the file ----------------------------------------------------------- */

static struct vg_state *st;
static int st_fd;

static int setup_state(void **state)
{
	struct vg_state_regs none = { 0 };

	(void)state;
	st_fd = memfd_create("state", MFD_CLOEXEC);
	if (ftruncate(st_fd, (off_t)vg_state_bytes(1)) ||
	    vg_state_map(st_fd, 1, &st))
		return -1;
	vg_state_init(st, 2, 1);
	if (!vg_state_read(st, 2, 1, &none))
		return -1;	/* nothing stands there yet */
	vg_state_write(st, &none);
	return 0;
}

static int teardown_state(void **state)
{
	(void)state;
	vg_state_unmap(st, 1);
	close(st_fd);
	return 0;
}

/* Old or new, whole, whenever the writer is killed. */
static void registers_at_each_step(void **state)
{
	struct vg_state_regs r, got;
	volatile unsigned int at, nr_old = 0;

	(void)state;
	memset(&r, 0, sizeof(r));
	for (at = 1;; at++) {
		memset(&r, (int)at, sizeof(r));
		left = at;
		if (!setjmp(grave)) {
			vg_state_write(st, &r);
			break;
		}
		left = 0;
		assert_int_equal(vg_state_read(st, 2, 1, &got), 0);
		assert_true(got.status == r.status ||
			    (got.status & 0xff) == (at == 1 ? 0 : at - 1) ||
			    got.status == 0);
		nr_old += got.status != r.status;
		/* The next one starts from the same. */
		vg_state_write(st, &r);
	}
	left = 0;
	assert_int_equal(vg_state_read(st, 2, 1, &got), 0);
	assert_memory_equal(&got, &r, sizeof(r));
	assert_in_range(nr_old, 3, 10);
}

static void no_state(void **state)
{
	struct vg_state_regs r = { .status = 15 }, got;
	struct vg_state *other;

	(void)state;
	vg_state_write(st, &r);
	assert_int_equal(vg_state_read(st, 2, 1, &got), 0);
	assert_int_equal(got.status, 15);
	assert_int_equal(vg_state_read(st, 1, 1, &got), -EPROTO);
	assert_int_equal(vg_state_read(st, 2, 2, &got), -EPROTO);
	st->version++;
	assert_int_equal(vg_state_read(st, 2, 1, &got), -EPROTO);
	st->version--;
	st->regs[st->turn & 1].queue[3].num ^= 1;
	assert_int_equal(vg_state_read(st, 2, 1, &got), -EPROTO);
	vg_state_write(st, &r);
	assert_int_equal(vg_state_read(st, 2, 1, &got), 0);
	st->magic = 0;
	assert_int_equal(vg_state_read(st, 2, 1, &got), -EPROTO);
	assert_int_equal(ftruncate(st_fd, (off_t)vg_state_bytes(1) - 1), 0);
	assert_int_equal(vg_state_map(st_fd, 1, &other), -EPROTO);
}

#define S(f) cmocka_unit_test_setup_teardown(f, setup_state, teardown_state)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_each_step),
		cmocka_unit_test(killed_while_taking_over),
		cmocka_unit_test(killed_again_and_again),
		cmocka_unit_test(lies),
		cmocka_unit_test(garbage),
		cmocka_unit_test(deadly),
		cmocka_unit_test(waits),
		cmocka_unit_test(head_twice),
		S(registers_at_each_step),
		S(no_state),
	};

	vg_step_hook = step;
	return cmocka_run_group_tests_name("takeover", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\n";
}
