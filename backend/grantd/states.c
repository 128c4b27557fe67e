// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * states.c - the files that devices leave to their next workers (state.h):
 * whose they are, and since when.
 *
 * Not trusted: what a worker wrote there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"

/* While the last I/O of a worker that died is not done. */
#define LOCK_RETRY_NS		UINT64_C(5000000)
#define LOCK_RETRY_MAX_NS	UINT64_C(250000000)
#define LOCK_WARN_NS		UINT64_C(5000000000)
/* Deaths in a row between which a device got nothing done. */
#define BARREN_MAX		8u

/* ---- states (state.h) --------------------------------------------------- */

static char *state_path(const struct vg_sdev *d)
{
	return vg_strf("%s/%u-%s-%u", d->s->cfg.state_dir, d->name.guest,
		       d->name.kind->name, d->name.devid);
}

void vg_sup_state_remove(const struct vg_sdev *d)
{
	char *path;

	if (!d->s->cfg.state_dir)
		return;
	path = state_path(d);
	unlink(path);
	free(path);
}

/*
 * Something of a worker that died is not over yet.  False: it has been for so
 * long that it may be another's lock.
 */
bool vg_sup_lock_awaited(struct vg_sdev *d)
{
	uint64_t now = vg_now_ns(), waited;

	if (!d->locked_out_ns)
		d->locked_out_ns = now;
	waited = now - d->locked_out_ns;
	/* Mostly it takes a moment only: the longer, the less it matters. */
	vg_timer_arm(d->is_held ? d->hold : d->retry,
		     min_u(max_u(waited / 16, LOCK_RETRY_NS),
			   LOCK_RETRY_MAX_NS));
	return waited < LOCK_WARN_NS;
}

/*
 * Two locks on a state, which do not mind each other.
 *
 * The one by fcntl(2) is that of a worker's process: by what it is on the
 * process has mapped the state, and nobody else has it open, so it goes when
 * the process does, which until then may write into the state.
 *
 * The one by flock(2) is on the state as its device's type has the kernel hold
 * it, opened for reading only, until the last I/O of a worker that died is
 * done: before that, what it reads would land in buffers that the guest uses
 * for something else by then.  There is no bound on waiting for it, and the
 * guest's driver has one on waiting for what it asks the device.  So a
 * successor begins before, and holds the requests back.
 */
static int life_lock(struct vg_sdev *d, int fd)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(fd, F_OFD_SETLK, &all))
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	if (!vg_sup_lock_awaited(d))
		vg_sup_failed(d->s, "%s: waits for the end of its last worker",
			      d->label);
	return -EAGAIN;
}

static int io_lock(struct vg_sdev *d, int fd)
{
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	if (!vg_sup_lock_awaited(d))
		vg_sup_failed(d->s, "%s: waits for I/O that its last worker had begun",
			      d->label);
	return -EAGAIN;
}

static int res_lock(struct vg_sdev *d, const struct vg_dev_parts *parts)
{
	char *why = NULL;
	int err = 0;

	if (d->type->host->lock)
		err = d->type->host->lock(d->res, parts, &why);
	if (err == -EAGAIN)
		vg_sup_lock_awaited(d);
	if (why)
		vg_sup_failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/*
 * Read, not mapped: a worker could have made the file shorter.  If it lies,
 * about its own device, this is checked in vain.  0 or negative errno.
 */
static int left_read(int fd, struct vg_left *left)
{
	struct vg_state head;
	ssize_t n = pread(fd, &head, offsetof(struct vg_state, regs), 0);
	struct stat sb;

	*left = (struct vg_left){ 0 };
	if (n < 0 || fstat(fd, &sb) < 0)
		return -errno;
	/* Of another size: of another version. */
	if (n != (ssize_t)offsetof(struct vg_state, regs) ||
	    head.nr_queues > VG_STATE_QUEUES_MAX ||
	    sb.st_size != (off_t)vg_state_bytes(head.nr_queues))
		return 0;
	left->nr_queues = head.nr_queues;
	memcpy(left->resource, head.resource, sizeof(left->resource));
	memcpy(left->told, head.told, sizeof(left->told));
	return 0;
}

/*
 * -EAGAIN: it is somebody's still.  @left: what a predecessor wrote, if there
 * was one that was served.
 */
int vg_sup_state_open(struct vg_sdev *d, int *state_fd, int *hold_fd,
		      bool *is_held, struct vg_left *left)
{
	char *path;
	int fd, hold, err;

	*left = (struct vg_left){ 0 };
	if (!d->s->cfg.state_dir)
		return 0;
	path = state_path(d);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	hold = fd < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	err = hold < 0 ? -errno : life_lock(d, fd);
	if (!err)
		err = io_lock(d, hold);
	else if (err == -EAGAIN)
		goto not_yet;
	*is_held = err == -EAGAIN && d->was_served;
	if (*is_held)
		err = 0;
	if (!err && d->was_served)
		err = left_read(fd, left);
	if (err && err != -EAGAIN)
		vg_sup_failed(d->s, "%s: %s: %s", d->label, path, strerror(-err));
not_yet:
	free(path);
	if (!err) {
		*state_fd = fd;
		*hold_fd = hold;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (hold >= 0)
		close(hold);
	return err;
}

/*
 * Makes it what a device with so many queues wants: emptied, if it is another's
 * (@left has none).  Which resource it is, is noted in any case.
 */
int vg_sup_state_fit(struct vg_sdev *d, int fd, const struct vg_left *left,
		     const struct vg_dev_parts *parts)
{
	size_t bytes = sizeof(parts->resource);
	ssize_t n;
	int err = 0;

	if (left->nr_queues != parts->nr_queues &&
	    (ftruncate(fd, 0) < 0 ||
	     ftruncate(fd, (off_t)vg_state_bytes(parts->nr_queues)) < 0))
		err = -errno;
	if (!err)
		err = vg_state_reserve(fd, parts->nr_queues);
	if (!err) {
		n = pwrite(fd, parts->resource, bytes,
			   (off_t)offsetof(struct vg_state, resource));
		err = n == (ssize_t)bytes ? 0 : n < 0 ? -errno : -EIO;
	}
	if (err)
		vg_sup_failed(d->s, "%s: its state: %s", d->label, strerror(-err));
	return err;
}

void vg_sup_held_drop(struct vg_sdev *d)
{
	unsigned int i;

	if (!d->is_held)
		return;
	d->is_held = false;
	close(d->held_state_fd);
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		if (d->held.fds[i] >= 0)
			close(d->held.fds[i]);
	d->locked_out_ns = 0;
	vg_timer_cancel(d->hold);
}

/* Its worker was told; it has @fds[] open as we have. */
void vg_sup_held_begin(struct vg_sdev *d, const struct vg_dev_parts *parts,
		       int fds[VG_WORKER_FDS_MAX])
{
	unsigned int i;

	d->is_held = true;
	d->held = *parts;
	d->held_state_fd = fds[VG_WORKER_FD_HOLD];
	fds[VG_WORKER_FD_HOLD] = -1;
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		fds[VG_WORKER_FD_PARTS + i] = -1;
	vg_timer_arm(d->hold, LOCK_RETRY_NS);
}

static int held_lock(struct vg_sdev *d)
{
	int err = io_lock(d, d->held_state_fd);

	if (!err)
		err = res_lock(d, &d->held);
	return err;
}

/* Its worker has both open as we have: what we lock is locked for it. */
void vg_sup_on_hold(void *arg)
{
	struct vg_sdev *d = arg;
	int err;

	d->s->about = d;
	err = held_lock(d);
	if (err && err != -EAGAIN) {
		vg_sup_failed(d->s, "%s: its requests are held back: %s", d->label,
			      strerror(-err));
		vg_timer_arm(d->hold, vg_sup_next_pause(&d->pause_ns));
	}
	d->s->about = NULL;
	if (err)
		return;
	vg_sup_held_drop(d);
	if (d->state == DEV_READY)
		vg_sdev_content(d);
	vg_sdev_ask(d, TELL_RELEASE, 0);
}

/*
 * Did its worker die with requests under way, and without having shown the
 * driver any?  Or before it was there?  Read, not mapped: a worker could have
 * made the file shorter.  If it lies, its guest has the worse service.
 */
bool vg_sup_state_is_barren(struct vg_sdev *d)
{
	struct vg_queue_log log;
	bool is_under_way = d->state == DEV_STARTING;
	char *path = state_path(d);
	int fd = d->s->cfg.state_dir ?
		 open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	uint64_t shown = 0, before = d->shown;
	unsigned int i;

	for (i = 0; fd >= 0 && i < VG_STATE_QUEUES_MAX; i++) {
		size_t head = offsetof(struct vg_queue_log, reserved);
		off_t at = (off_t)(offsetof(struct vg_state, queue) +
				   i * sizeof(log));

		if (pread(fd, &log, head, at) != (ssize_t)head)
			break;
		shown += log.published;
		is_under_way |= (uint16_t)log.taken != log.published;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	d->shown = shown;
	return is_under_way && shown == before;
}

void vg_sup_how_to_start(struct vg_sdev *d, struct vg_worker_msg *msg,
			 bool has_state)
{
	if (!d->was_served)
		return;
	if (has_state && d->barren < BARREN_MAX) {
		msg->start = VG_START_TAKE_OVER;
		return;
	}
	msg->start = VG_START_RESET;
	if (has_state) {
		msg->start_broken = VG_BROKEN_DEATHS;
		vg_sup_failed(d->s, "%s: %u deaths of its worker in a row, and nothing done between: it needs reset",
			      d->label, d->barren);
	}
	d->barren = 0;
}

void vg_sup_on_retry(void *arg)
{
	struct vg_sdev *d = arg;

	if (d->state == DEV_NEW && d->is_ours)
		vg_sdev_go_on(d);
	else
		vg_sdev_show(d);
}

/* Of devices that went while nobody looked. */
void vg_sup_remove_stale_states(struct vg_supervisor *s)
{
	struct dirent *e;
	struct vg_sdev *d;
	DIR *dir;

	if (!s->cfg.state_dir)
		return;
	dir = opendir(s->cfg.state_dir);
	while (dir && (e = readdir(dir))) {
		bool is_known = *e->d_name == '.';

		for (d = s->devs; d && !is_known; d = d->next) {
			char *path = state_path(d);

			is_known = !strcmp(strrchr(path, '/') + 1, e->d_name);
			free(path);
		}
		if (!is_known)
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}
