// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broker_probe.c - what the broker's process of a guest could do once it was
 * taken over: becomes such a process, with the broker's own code, and tries to
 * get out.
 *
 *	vg-broker-probe GUEST OTHER OTHER-SERVER-ID
 *
 * Runs in the control domain.  OTHER is a second guest, with an IOREQ server.
 * Everything is tried three times: before anything is given up (it must work,
 * or a refusal would mean nothing), with the Xen libraries restricted, and
 * confined.  One line per attempt; exit status 0 if each ended as expected.
 *
 * A test's program; the broker has none of this in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xencall.h>
#include <xendevicemodel.h>
#include <xenforeignmemory.h>
#include <xentoolcore.h>
#include <xen/memory.h>
#include <xen/version.h>

#include "../../../backend/xen/xen.h"

#define GFN		0x40010		/* of RAM, in a guest on Arm */
#define SYSCALLS_MAX	25		/* of the confined process */
#define SYSCALLS_END	470

static xen_domid_t guest, other;
static unsigned int other_server;
static xendevicemodel_handle *dm;
static xenforeignmemory_handle *fmem;
static xencall_handle *call;
static struct xen_evtchn *ec;
static struct xen_ioreq *io;
static int nr_wrong;

enum stage { FREE, RESTRICTED, CONFINED };
static const char *const stages[] = { "free", "restricted", "confined" };

/* Each: 0, or negative errno. */
static int dm_op(xen_domid_t d)
{
	unsigned int n;

	return xendevicemodel_nr_vcpus(dm, d, &n) ? -errno : 0;
}

static int dm_own(void)
{
	return dm_op(guest);
}

static int dm_other(void)
{
	return dm_op(other);
}

static int map_op(xen_domid_t d)
{
	xen_pfn_t gfn = GFN;
	int err = 0;
	void *va = xenforeignmemory_map(fmem, d, PROT_READ, 1, &gfn, &err);

	if (!va)
		return -errno;
	if (!err)
		xenforeignmemory_unmap(fmem, va, 1);
	return err;
}

static int map_own(void)
{
	return map_op(guest);
}

static int map_other(void)
{
	return map_op(other);
}

static int resource(xen_domid_t d, unsigned int type, unsigned int id,
		    unsigned long frame)
{
	void *va = NULL;
	xenforeignmemory_resource_handle *r = xenforeignmemory_map_resource(
			fmem, d, type, id, frame, 1, &va,
			PROT_READ | PROT_WRITE, 0);

	if (!r)
		return -errno;
	xenforeignmemory_unmap_resource(fmem, r);
	return 0;
}

static int ioreq_other(void)
{
	return resource(other, XENMEM_resource_ioreq_server, other_server,
			XENMEM_resource_ioreq_server_frame_ioreq(0));
}

static int grants_own(void)
{
	return resource(guest, XENMEM_resource_grant_table,
			XENMEM_resource_grant_table_id_shared, 0);
}

static int hypercall(void)
{
	int r = xencall2(call, __HYPERVISOR_xen_version, XENVER_version, 0);

	return r < 0 ? -errno : 0;
}

static int port_new(void)
{
	xen_port_t p;
	int err = xen_evtchn_alloc_unbound(ec, other, &p);

	if (!err)
		xen_evtchn_unbind(ec, p);
	return err;
}

static int spi_own(void)
{
	return xen_ioreq_raise_spi(io, 60);
}

static int sys_open(void)
{
	int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int sys_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return -errno;
	waitpid(pid, NULL, 0);
	return 0;
}

static int sys_exec(void)
{
	char *const argv[] = { NULL };

	/* Of nothing: it must not even be looked for. */
	execv("/nonexistent", argv);
	return errno == ENOENT ? 0 : -errno;
}

static int sys_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int sys_kill(void)
{
	return kill(getppid(), 0) ? -errno : 0;
}

static int exec_memory(void)
{
	void *va = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (va == MAP_FAILED)
		return -errno;
	munmap(va, 4096);
	return 0;
}

static int some_memory(void)
{
	void *va = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (va == MAP_FAILED)
		return -errno;
	munmap(va, 4096);
	return 0;
}

static const struct {
	const char *what;
	int (*fn)(void);
	bool allowed[3];		/* by stage */
} attempts[] = {
	{ "device-model operation for its guest", dm_own, { 1, 1, 1 } },
	{ "interrupt for its guest", spi_own, { 1, 1, 1 } },
	{ "memory of its own", some_memory, { 1, 1, 1 } },
	{ "device-model operation for another guest", dm_other, { 1, 0, 0 } },
	{ "another guest's IOREQ page", ioreq_other, { 1, 0, 0 } },
	{ "another guest's memory", map_other, { 1, 0, 0 } },
	{ "a hypercall", hypercall, { 1, 0, 0 } },
	{ "a new event channel to another domain", port_new, { 1, 0, 0 } },
	/* What restricting leaves, and the filter is for. */
	{ "its guest's memory", map_own, { 1, 1, 0 } },
	{ "its guest's grant table", grants_own, { 1, 1, 0 } },
	{ "open", sys_open, { 1, 1, 0 } },
	{ "fork", sys_fork, { 1, 1, 0 } },
	{ "exec", sys_exec, { 1, 1, 0 } },
	{ "socket", sys_socket, { 1, 1, 0 } },
	{ "kill", sys_kill, { 1, 1, 0 } },
	{ "executable memory", exec_memory, { 1, 1, 0 } },
};

static void try_all(enum stage stage)
{
	unsigned int i;

	for (i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		int err = attempts[i].fn();
		bool wrong = attempts[i].allowed[stage] != !err;

		nr_wrong += wrong;
		printf("%s: %s: %s%s%s\n", stages[stage], attempts[i].what,
		       err ? "refused, " : "allowed",
		       err ? strerror(-err) : "",
		       wrong ? ", WHICH IS WRONG" : "");
	}
	fflush(stdout);
}

/*
 * Every number there is, with arguments that no call can do anything with.
 * Those that end the process are counted and not tried.
 */
static void try_numbers(void)
{
	unsigned int n = 0;
	long nr, x = -1;

	for (nr = 0; nr < SYSCALLS_END; nr++) {
		if (nr == SYS_exit || nr == SYS_exit_group ||
		    nr == SYS_rt_sigreturn) {
			n++;
			continue;
		}
		if (syscall(nr, x, x, x, x, x, x) >= 0 || errno != EPERM)
			n++;
	}
	/* With such arguments the filter refuses these. */
	n += 3;	/* ioctl, fcntl, mmap */
	printf("confined: %u system calls can be reached, %d at most%s\n", n,
	       SYSCALLS_MAX, n > SYSCALLS_MAX ? ", WHICH IS WRONG" : "");
	nr_wrong += n > SYSCALLS_MAX;
}

/* In a process of its own; nothing is given back. */
static void in_stage(enum stage stage)
{
	const char *what = "restricting";
	pid_t pid = fork();
	int err = 0, status;

	if (pid < 0)
		exit(2);
	if (pid) {
		waitpid(pid, &status, 0);
		nr_wrong += !WIFEXITED(status) || WEXITSTATUS(status);
		return;
	}
	nr_wrong = 0;
	if (stage == RESTRICTED && xentoolcore_restrict_all(guest))
		err = -errno;
	if (stage == CONFINED)
		err = xen_confine(guest, &what);
	if (err) {
		printf("%s: %s\n", what, strerror(-err));
		_exit(2);
	}
	try_all(stage);
	if (stage == CONFINED)
		try_numbers();
	fflush(stdout);
	_exit(nr_wrong > 100 ? 100 : nr_wrong);
}

/* Restricting is for ever, and for all copies: each stage opens its own. */
static int open_all(void)
{
	uint16_t id;
	int err;

	dm = xendevicemodel_open(NULL, 0);
	fmem = xenforeignmemory_open(NULL, 0);
	call = xencall_open(NULL, 0);
	if (!dm || !fmem || !call)
		return errno ? -errno : -ENODEV;
	err = xen_evtchn_open(&ec);
	return err ? err : xen_ioreq_create(guest, ec, &io, &id);
}

static void close_all(void)
{
	xen_ioreq_destroy(io);
	xen_evtchn_close(ec);
	xencall_close(call);
	xenforeignmemory_close(fmem);
	xendevicemodel_close(dm);
}

int main(int argc, char **argv)
{
	enum stage stage;
	int err;

	if (argc != 4) {
		fputs("Usage: vg-broker-probe GUEST OTHER OTHER-SERVER-ID\n",
		      stderr);
		return 2;
	}
	guest = (xen_domid_t)atoi(argv[1]);
	other = (xen_domid_t)atoi(argv[2]);
	other_server = (unsigned int)atoi(argv[3]);
	for (stage = FREE; stage <= CONFINED; stage++) {
		pid_t pid = fork();
		int status;

		if (pid) {
			waitpid(pid, &status, 0);
			nr_wrong += !WIFEXITED(status) || WEXITSTATUS(status);
			continue;
		}
		err = open_all();
		if (err) {
			printf("opening everything: %s\n", strerror(-err));
			_exit(2);
		}
		in_stage(stage);
		/* The descriptors are the confined one's, and restricted. */
		close_all();
		_exit(nr_wrong > 100 ? 100 : nr_wrong);
	}
	printf("%d wrong\n", nr_wrong);
	return nr_wrong ? 1 : 0;
}
