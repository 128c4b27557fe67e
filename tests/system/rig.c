// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rig.c - see rig.h.
 */
#include "rig.h"
#include "lib/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct rig rig;
__thread enum rig_actor rig_actor;
uint64_t rig_watchdog_ns;

/*
 * Killed processes: their objects are never touched again, but stay reachable
 * from here so that the leak checker knows them.
 */
static void *abandoned[8192];
static unsigned int nr_abandoned;

static void abandon(void *p)
{
	rig.killed = true;
	if (nr_abandoned < sizeof(abandoned) / sizeof(abandoned[0]))
		abandoned[nr_abandoned++] = p;
}

uint64_t rig_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- workers ------------------------------------------------------------ */

static void worker_gone(void *arg)
{
	((struct rig_worker *)arg)->is_gone = true;
}

static int spawn(void *arg, xen_domid_t guest, int sock, int shared_fd,
		 pid_t *pid)
{
	struct fake_proc *caller = fake_current_proc();
	struct rig_worker *rw = rig.worker;
	enum rig_actor actor = rig_actor;
	int err;

	(void)arg;
	*pid = 0;
	rig_actor = RIG_NOBODY;
	if (rig.spawn_fails) {
		rig_actor = actor;
		rig.spawn_fails--;
		close(sock);
		close(shared_fd);
		return rig.spawn_error ? -rig.spawn_error : -EAGAIN;
	}
	while (rw->is_used)
		if (++rw == rig.worker + RIG_WORKERS_MAX)
			abort();
	memset(rw, 0, sizeof(*rw));
	rw->is_used = true;
	rw->guest = guest;
	rw->sock = sock;
	rw->proc = fake_proc_create(rig.backend);
	rw->shared = mmap(NULL, sizeof(*rw->shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED, shared_fd, 0);
	close(shared_fd);
	fake_enter_proc(rw->proc);
	rig_actor = RIG_WORKER;
	err = vg_loop_create(&rw->loop);
	if (!err)
		err = vg_worker_create(guest, rw->loop, sock, rw->shared,
				       worker_gone, rw, &rw->w);
	rig_actor = actor;
	fake_enter_proc(caller);
	if (err) {
		/* As a process that exits at once: its socket closes. */
		vg_loop_destroy(rw->loop);
		munmap(rw->shared, sizeof(*rw->shared));
		close(sock);
		rw->is_used = false;
	}
	return 0;
}

static void worker_end(struct rig_worker *rw)
{
	fake_enter_proc(rw->proc);
	vg_worker_destroy(rw->w);
	vg_loop_destroy(rw->loop);
	munmap(rw->shared, sizeof(*rw->shared));
	close(rw->sock);
	rw->is_used = false;
}

/* By the supervisor, as SIGKILL would. */
static void worker_sigkill(void *arg, xen_domid_t guest, pid_t pid)
{
	struct fake_proc *caller = fake_current_proc();
	struct rig_worker *rw = rig_worker_of(guest);

	(void)arg;
	(void)pid;
	if (rw)
		rig_worker_kill(rw);
	fake_enter_proc(caller);
}

struct rig_worker *rig_worker_of(xen_domid_t guest)
{
	unsigned int i;

	for (i = 0; i < RIG_WORKERS_MAX; i++)
		if (rig.worker[i].is_used && rig.worker[i].guest == guest)
			return &rig.worker[i];
	return NULL;
}

/*
 * What exit(2) would close: images and states, by name, since locks go with
 * them.  The supervisor's own O_PATH of an image is not the worker's.
 */
static void close_images_of(xen_domid_t guest)
{
	char path[64], target[512], want[64], state[64];
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	ssize_t n;

	snprintf(want, sizeof(want), "/disk-%u-", guest);
	snprintf(state, sizeof(state), "/state/%u-", guest);
	while ((e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%.20s", e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		if (fcntl(atoi(e->d_name), F_GETFL) & O_PATH)
			continue;
		if (strstr(target, want) || strstr(target, state))
			close(atoi(e->d_name));
	}
	closedir(dir);
}

/* A mapping holds the file's lock as well. */
static void unmap_states_of(xen_domid_t guest)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uintptr_t begin, end;
	char line[1024], want[64];

	snprintf(want, sizeof(want), "/state/%u-", guest);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, want) &&
		    sscanf(line, "%lx-%lx", &begin, &end) == 2)
			munmap((void *)begin, end - begin);
	fclose(f);
}

void rig_worker_kill(struct rig_worker *rw)
{
	vg_worker_freeze(rw->w);
	fake_proc_crash(rw->proc);
	close_images_of(rw->guest);
	unmap_states_of(rw->guest);
	close(rw->sock);
	abandon(rw->w);
	abandon(rw->loop);
	rw->is_used = false;
}

/* ---- the broker's processes --------------------------------------------- */

static void bchild_gone(void *arg)
{
	((struct rig_bchild *)arg)->is_gone = true;
}

static int bchild_spawn(void *arg, const struct vg_bchild_config *cfg, int sock,
			int shared_fd, pid_t *pid)
{
	struct fake_proc *caller = fake_current_proc();
	struct rig_bchild *rc = rig.bchild;
	int err;

	(void)arg;
	*pid = 0;
	while (rc->is_used)
		if (++rc == rig.bchild + RIG_BCHILDREN_MAX)
			abort();
	memset(rc, 0, sizeof(*rc));
	rc->is_used = true;
	rc->guest = cfg->guest;
	rc->sock = sock;
	rc->proc = fake_proc_create(0);
	rc->shared = mmap(NULL, sizeof(*rc->shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED, shared_fd, 0);
	close(shared_fd);
	fake_enter_proc(rc->proc);
	err = vg_loop_create(&rc->loop);
	if (!err)
		err = vg_bchild_create(cfg, rc->loop, sock, rc->shared,
				       bchild_gone, rc, &rc->c);
	fake_enter_proc(caller);
	if (err)
		abort();
	return 0;
}

static void bchild_end(struct rig_bchild *rc)
{
	fake_enter_proc(rc->proc);
	vg_bchild_destroy(rc->c);
	vg_loop_destroy(rc->loop);
	munmap(rc->shared, sizeof(*rc->shared));
	close(rc->sock);
	rc->is_used = false;
}

struct rig_bchild *rig_bchild_of(xen_domid_t guest)
{
	unsigned int i;

	for (i = 0; i < RIG_BCHILDREN_MAX; i++)
		if (rig.bchild[i].is_used && rig.bchild[i].guest == guest)
			return &rig.bchild[i];
	return NULL;
}

void rig_bchild_kill(struct rig_bchild *rc)
{
	fake_proc_crash(rc->proc);
	close(rc->sock);
	abandon(rc->c);
	abandon(rc->loop);
	rc->is_used = false;
}

static void bchild_sigkill(void *arg, xen_domid_t guest, pid_t pid)
{
	struct fake_proc *caller = fake_current_proc();
	struct rig_bchild *rc = rig_bchild_of(guest);

	(void)arg;
	(void)pid;
	if (rc)
		rig_bchild_kill(rc);
	fake_enter_proc(caller);
}

static void bchildren_step(void)
{
	unsigned int i;

	for (i = 0; i < RIG_BCHILDREN_MAX; i++) {
		struct rig_bchild *rc = &rig.bchild[i];

		if (!rc->is_used || rc->is_hung)
			continue;
		fake_enter_proc(rc->proc);
		vg_loop_run_once(rc->loop, 0);
		if (rc->is_gone)
			bchild_end(rc);
	}
}

/* ---- the daemons -------------------------------------------------------- */

int rig_broker_start(void)
{
	struct vg_broker_config cfg = {
		.answer_timeout_ns = rig.answer_timeout_ns,
		.watchdog_ns = rig.watchdog_ns,
		.run_dir = rig.dir,
		.spawn = bchild_spawn,
		.kill = bchild_sigkill,
	};
	int err;

	rig.broker_proc = fake_proc_create(0);
	fake_enter_proc(rig.broker_proc);
	err = vg_loop_create(&rig.broker_loop);
	if (!err)
		err = vg_broker_create(&cfg, rig.broker_loop, &rig.broker);
	if (err) {
		vg_loop_destroy(rig.broker_loop);
		rig.broker = NULL;
	}
	return err;
}

void rig_broker_stop(bool leave)
{
	uint64_t until = rig_now_ms() + 5000;
	unsigned int i;

	if (!rig.broker)
		return;
	fake_enter_proc(rig.broker_proc);
	vg_broker_destroy(rig.broker, leave);
	vg_loop_destroy(rig.broker_loop);
	rig.broker = NULL;
	/* As waitpid() would have it. */
	for (i = 0; i < RIG_BCHILDREN_MAX; i++) {
		rig.bchild[i].is_hung = false;
		while (rig.bchild[i].is_used) {
			bchildren_step();
			if (rig_now_ms() < until)
				continue;
			fprintf(stderr, "rig: the broker's process of dom%u does not end\n",
				rig.bchild[i].guest);
			abort();
		}
	}
}

void rig_broker_kill(void)
{
	unsigned int i;

	for (i = 0; i < RIG_BCHILDREN_MAX; i++)
		if (rig.bchild[i].is_used)
			rig_bchild_kill(&rig.bchild[i]);
	fake_proc_crash(rig.broker_proc);
	abandon(rig.broker);
	abandon(rig.broker_loop);
	rig.broker = NULL;
}

void rig_broker_kill_parent(void)
{
	unsigned int i;

	fake_proc_crash(rig.broker_proc);
	for (i = 0; i < RIG_BCHILDREN_MAX; i++)
		if (rig.bchild[i].is_used)
			shutdown(rig.bchild[i].sock, SHUT_RDWR);
	abandon(rig.broker);
	abandon(rig.broker_loop);
	rig.broker = NULL;
}

int rig_sup_start(void)
{
	int err;

	rig.sup_proc = fake_proc_create(rig.backend);
	fake_enter_proc(rig.sup_proc);
	rig_actor = RIG_SUP;
	err = vg_loop_create(&rig.sup_loop);
	if (!err)
		err = vg_supervisor_create(&rig.cfg, rig.sup_loop, &rig.sup);
	rig_actor = RIG_NOBODY;
	if (err) {
		vg_loop_destroy(rig.sup_loop);
		rig.sup = NULL;
	}
	return err;
}

void rig_sup_stop(void)
{
	if (!rig.sup)
		return;
	fake_enter_proc(rig.sup_proc);
	vg_supervisor_destroy(rig.sup);
	vg_loop_destroy(rig.sup_loop);
	rig.sup = NULL;
}

void rig_sup_kill(void)
{
	unsigned int i;

	fake_proc_crash(rig.sup_proc);
	/* Its ends of the sockets close: the workers read an end of file. */
	for (i = 0; i < RIG_WORKERS_MAX; i++)
		if (rig.worker[i].is_used)
			shutdown(rig.worker[i].sock, SHUT_RDWR);
	abandon(rig.sup);
	abandon(rig.sup_loop);
	rig.sup = NULL;
}

/* ---- turns -------------------------------------------------------------- */

/*
 * Killed where it is: out of its turn, whatever it was in the middle of, and
 * none of its code runs again.
 */
static jmp_buf grave;

static void step_hook(void)
{
	if (rig.die_at && !--rig.die_at)
		longjmp(grave, 1);
}

static void worker_turn(struct rig_worker *rw)
{
	fake_enter_proc(rw->proc);
	if (setjmp(grave)) {
		rig_actor = RIG_NOBODY;
		vg_step_hook = NULL;
		rig.deaths++;
		rig.die_at = rig.die_then;
		rig.die_then = 0;
		rig_worker_kill(rw);
		return;
	}
	/* Not touched where no one is killed: there may be threads. */
	if (rig.die_at)
		vg_step_hook = step_hook;
	rig_actor = RIG_WORKER;
	vg_loop_run_once(rw->loop, 0);
	if (vg_step_hook)
		vg_step_hook = NULL;
	if (rw->is_gone)
		worker_end(rw);
	rig_actor = RIG_NOBODY;
}

void rig_step(void)
{
	unsigned int i;

	if (rig.broker && !rig.broker_hung) {
		fake_enter_proc(rig.broker_proc);
		rig_actor = RIG_BROKER;
		vg_loop_run_once(rig.broker_loop, 0);
	}
	bchildren_step();
	if (rig.sup && !rig.sup_hung) {
		fake_enter_proc(rig.sup_proc);
		rig_actor = RIG_SUP;
		vg_loop_run_once(rig.sup_loop, 0);
	}
	rig_actor = RIG_NOBODY;
	for (i = 0; i < RIG_WORKERS_MAX; i++) {
		struct rig_worker *rw = &rig.worker[i];

		if (!rw->is_used || rw->is_hung)
			continue;
		worker_turn(rw);
	}
}

void rig_steps(unsigned int n)
{
	while (n--)
		rig_step();
}

static void pump(void *arg)
{
	(void)arg;
	rig_step();
}

/* ---- up and down -------------------------------------------------------- */

uint32_t rig_copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT;

void rig_up(void)
{
	memset(&rig, 0, sizeof(rig));
	rig.nr_fds = unit_nr_fds();
	rig.backend = RIG_BACKEND;
	rig.dir = unit_tmpdir();
	rig.answer_timeout_ns = UINT64_C(5000000000);
	rig.watchdog_ns = rig_watchdog_ns ? rig_watchdog_ns :
					    UINT64_C(60000000000);
	vg_blk_options = (struct vg_blk_options){
		.direct_io = VG_DIRECT_IO_OFF,
		.engine = VG_BLK_ENGINE_SYNC,
	};
	rig.cfg = (struct vg_supervisor_config){
		/* Small enough that indirect tables are offered. */
		.queue_size_max = 256,
		.budget_pages = VG_BUDGET_PAGES_DEFAULT,
		.copy_max_bytes = rig_copy_max_bytes,
		.spawn = spawn,
		.kill = worker_sigkill,
	};
	rig.cfg.run_dir = rig.dir;
	snprintf(rig.state_dir, sizeof(rig.state_dir), "%s/state", rig.dir);
	rig.cfg.state_dir = rig.state_dir;
	unit_log_start();
	fake_init();
	fake_domain_create(RIG_BACKEND, 1, 64);
	fake_set_pump(pump, NULL);
}

unsigned int rig_down(void)
{
	uint64_t until = rig_now_ms() + 5000;
	unsigned int i, n;

	rig.sup_hung = rig.broker_hung = false;
	rig_sup_stop();
	for (i = 0; i < RIG_WORKERS_MAX; i++)
		rig.worker[i].is_hung = false;
	/* The workers see their sockets close; requests drain. */
	for (i = 0; i < RIG_WORKERS_MAX; i++) {
		while (rig.worker[i].is_used) {
			rig_step();
			if (rig_now_ms() < until)
				continue;
			/* It would wait for ever: better a name than that. */
			fprintf(stderr, "rig: the worker of dom%u does not end\n",
				rig.worker[i].guest);
			abort();
		}
	}
	rig_broker_stop(false);
	n = fake_leaks();
	fake_exit();
	unit_log_stop();
	unit_rm_r(rig.dir);
	rig.dir = NULL;
	if (!rig.killed && unit_nr_fds() != rig.nr_fds) {
		fprintf(stderr, "rig: %u descriptors at first, %u at the end\n",
			rig.nr_fds, unit_nr_fds());
		n++;
	}
	return n;
}

int rig_setup(void **state)
{
	(void)state;
	rig_up();
	return rig_broker_start() || rig_sup_start();
}

int rig_teardown(void **state)
{
	(void)state;
	return rig_down() ? -1 : 0;
}

/* ---- guests and disks --------------------------------------------------- */

void rig_guest(xen_domid_t guest, unsigned int nr_vcpus)
{
	fake_domain_create(guest, nr_vcpus, 65536);
}

struct fake_disk rig_disk(xen_domid_t guest, unsigned int n)
{
	static char image[8][256];
	static unsigned int turn;
	char *path = image[turn++ % 8];

	snprintf(path, sizeof(image[0]), "%s/disk-%u-%u", rig.dir, guest, n);
	return (struct fake_disk){
		.guest = guest, .backend = RIG_BACKEND,
		.devid = 51712 + 16 * n, .params = path,
		.base = 0x2000000 + 0x200 * n, .irq = 33 + n,
	};
}

bool rig_disk_add(const struct fake_disk *disk)
{
	if (access(disk->params, F_OK))
		free(unit_image(disk->params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(disk);
	return rig_until(fake_libxl_disk_key(disk, "state") != 1) &&
	       fake_libxl_disk_key(disk, "state") == 2;
}

bool rig_disk_remove(const struct fake_disk *disk)
{
	bool ok;

	fake_libxl_disk_close(disk);
	ok = rig_until(fake_libxl_disk_key(disk, "state") == 6);
	fake_libxl_disk_remove(disk);
	return ok;
}

struct drv rig_drv(const struct fake_disk *disk)
{
	return (struct drv){
		.guest = disk->guest, .backend = disk->backend,
		.base = disk->base, .irq = disk->irq,
	};
}

const struct vg_dev_stats *rig_stats(const struct fake_disk *disk)
{
	struct rig_worker *rw = rig_worker_of(disk->guest);
	static struct vg_dev_stats st;

	/* Slots are given out in the order of disks, as tests add them. */
	rig_steps(2);
	if (!rw)
		return NULL;
	vg_worker_stats(rw->shared, (disk->devid - 51712) / 16,
			VG_WORKER_QUEUES_MAX, &st);
	return &st;
}

int rig_image_byte(const struct fake_disk *disk, uint64_t offset)
{
	int fd = open(disk->params, O_RDONLY | O_CLOEXEC);
	uint8_t b;
	ssize_t n = pread(fd, &b, 1, (off_t)offset);

	close(fd);
	return n == 1 ? b : -1;
}

uint64_t rig_image_bytes(const struct fake_disk *disk)
{
	struct stat st;

	return stat(disk->params, &st) ? 0 : (uint64_t)st.st_size;
}
