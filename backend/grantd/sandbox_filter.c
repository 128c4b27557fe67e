// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sandbox_filter.c - the system calls that a confined process may make, and
 * with which arguments: a list per kind of process, at most
 * VG_SANDBOX_SYSCALLS_MAX long.  What is not on it ends the process.
 *
 * Two things follow from what a worker holds.  Its descriptors lead no further
 * than its own guest, so read(2), write(2) or close(2) on any of them are
 * allowed; what could reach beyond by a descriptor is ioctl(2), of which only
 * single numbers are: none that maps, copies or binds (mapper.h).  What a type
 * of device calls beside that, is on the type's own list (dev/type.h), and so
 * is why that reaches no further.
 *
 * A few calls that the C library makes for its own comfort are answered with
 * an error instead.  They are not made, so they are not on the list.
 */
#include "grantd/sandbox_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"
#include "xen/ioctls.h"

/* What pthread_create() asks for, and nothing else: no new process. */
#define THREAD_FLAGS	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | \
			 CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS | \
			 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

#define IN_WORKER	(1u << VG_SANDBOX_WORKER)
#define IN_MAPPER	(1u << VG_SANDBOX_MAPPER)

/* Argument @arg, as far as @mask, must be @value. */
#define ARG(arg, mask, value) \
	{ (arg), SCMP_CMP_MASKED_EQ, (mask), (value) }
#define ARG_IS(arg, value)	ARG(arg, UINT32_MAX, value)

/* One way to make a call; several lines with the same call are several ways. */
struct rule {
	int nr;
	unsigned int kinds;
	struct scmp_arg_cmp arg;	/* .datum_a == 0: any arguments */
};

static const struct rule rules[] = {
	/* The loop. */
#ifdef __NR_epoll_wait
	{ SCMP_SYS(epoll_wait), IN_WORKER, { 0 } },
#else
	{ SCMP_SYS(epoll_pwait), IN_WORKER, { 0 } },
#endif
	{ SCMP_SYS(epoll_ctl), IN_WORKER, { 0 } },
	{ SCMP_SYS(epoll_create1), IN_WORKER, { 0 } },
	{ SCMP_SYS(eventfd2), IN_WORKER, { 0 } },
	/* The system's own clock, where the vDSO can't tell the time. */
	{ SCMP_SYS(clock_gettime), IN_WORKER | IN_MAPPER, { 0 } },
	/* Event channels, the log; messages of the supervisor. */
	{ SCMP_SYS(read), IN_WORKER | IN_MAPPER, { 0 } },
	{ SCMP_SYS(write), IN_WORKER | IN_MAPPER, { 0 } },
	{ SCMP_SYS(recvmsg), IN_WORKER, { 0 } },
	{ SCMP_SYS(sendmsg), IN_WORKER, { 0 } },
	{ SCMP_SYS(close), IN_WORKER, { 0 } },
	/* Memory, never executable. */
	{ SCMP_SYS(mmap), IN_WORKER, ARG(2, PROT_EXEC, 0) },
	{ SCMP_SYS(mprotect), IN_WORKER, ARG(2, PROT_EXEC, 0) },
	{ SCMP_SYS(munmap), IN_WORKER, { 0 } },
	{ SCMP_SYS(brk), IN_WORKER, { 0 } },
	/* Threads. */
	{ SCMP_SYS(clone), IN_WORKER, ARG(0, UINT64_MAX, THREAD_FLAGS) },
	{ SCMP_SYS(rseq), IN_WORKER, { 0 } },
	{ SCMP_SYS(futex), IN_WORKER, { 0 } },
	{ SCMP_SYS(exit), IN_WORKER, { 0 } },
	{ SCMP_SYS(exit_group), IN_WORKER | IN_MAPPER, { 0 } },
	/* A device's state: whether it is whole. */
	{ SCMP_SYS(preadv2), IN_WORKER, { 0 } },
	/* Grants and event channels: what is this guest's already. */
	{ SCMP_SYS(ioctl), IN_WORKER, ARG_IS(1, XEN_IOCTL_EVTCHN_NOTIFY) },
	{ SCMP_SYS(ioctl), IN_WORKER | IN_MAPPER,
	  ARG_IS(1, XEN_IOCTL_GNTDEV_UNMAP) },
	/* What could be another's, or is counted. */
	{ SCMP_SYS(ioctl), IN_MAPPER, ARG_IS(1, XEN_IOCTL_EVTCHN_BIND) },
	{ SCMP_SYS(ioctl), IN_MAPPER, ARG_IS(1, XEN_IOCTL_EVTCHN_UNBIND) },
	{ SCMP_SYS(ioctl), IN_MAPPER, ARG_IS(1, XEN_IOCTL_GNTDEV_MAP) },
	{ SCMP_SYS(ioctl), IN_MAPPER, ARG_IS(1, XEN_IOCTL_GNTDEV_COPY) },
};

/* Not made; the caller finds @err and can live with it. */
static const struct refusal {
	int nr;
	uint16_t err;
} refusals[] = {
	{ SCMP_SYS(clone3), ENOSYS }, /* its flags are in memory; then clone */
	{ SCMP_SYS(set_robust_list), ENOSYS },
	{ SCMP_SYS(madvise), EINVAL }, /* giving back memory */
	{ SCMP_SYS(prctl), EPERM }, /* a thread's name: it has the worker's */
	/* Around pthread_create(); there is no signal to be kept away. */
	{ SCMP_SYS(rt_sigprocmask), 0 },
};

static uint32_t *violation_at;

/* With this argument getppid(2) ends the process; no list has that call. */
#define END_OF_PROCESS	0x656e6421u

/*
 * The process is to die of SIGSYS, as it would without this handler, but its
 * parent shall know of what.  A second violation would not do: SIGSYS being
 * blocked in here, Linux lets it take its default course, but that spares the
 * first process of a PID namespace as long as it is traced, and we are one.
 * What the filter itself kills is spared by nobody.
 */
static void on_violation(int sig, siginfo_t *si, void *ctx)
{
	(void)sig;
	(void)ctx;
	if (violation_at)
		__atomic_store_n(violation_at, (uint32_t)si->si_syscall + 1,
				 __ATOMIC_RELEASE);
	for (;;)
		syscall(SYS_getppid, END_OF_PROCESS);
}

static int add_end(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp arg = ARG_IS(0, END_OF_PROCESS);

	return seccomp_rule_add_exact_array(ctx, SCMP_ACT_KILL_PROCESS,
					    SCMP_SYS(getppid), 1, &arg);
}

static int add_calls(scmp_filter_ctx ctx, const struct vg_sandbox_calls *c)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < c->nr && !err; i++) {
		const struct vg_dev_syscall *call = &c->of[i];
		const struct scmp_arg_cmp arg =
			ARG_IS((unsigned int)max_u(call->arg, 0), call->value);

		err = seccomp_rule_add_exact_array(ctx, SCMP_ACT_ALLOW,
						   call->nr, call->arg >= 0,
						   &arg);
	}
	return err;
}

static int add_rules(scmp_filter_ctx ctx, unsigned int kinds)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *r = &rules[i];

		if (!(r->kinds & kinds))
			continue;
		err = seccomp_rule_add_exact_array(ctx, SCMP_ACT_ALLOW, r->nr,
						   r->arg.op ? 1 : 0, &r->arg);
		if (err)
			return err;
	}
	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(refusals[i].err),
				       refusals[i].nr, 0);
		if (err)
			return err;
	}
	return 0;
}

int vg_sandbox_filter(const struct vg_sandbox *sb)
{
	struct sigaction sa = {
		.sa_sigaction = on_violation,
		.sa_flags = SA_SIGINFO,
	};
	scmp_filter_ctx ctx;
	unsigned int i;
	int err;

	violation_at = sb->violation;
	if (sigaction(SIGSYS, &sa, NULL) < 0)
		return -errno;
	ctx = seccomp_init(SCMP_ACT_TRAP);
	if (!ctx)
		return -ENOMEM;
	/* Calls of another architecture than ours are no less a violation. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
			       SCMP_ACT_KILL_PROCESS);
	if (!err)
		err = add_end(ctx);
	if (!err)
		err = add_rules(ctx, 1u << sb->kind);
	for (i = 0; i < sb->nr_calls && !err; i++)
		err = add_calls(ctx, &sb->calls[i]);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

/* Adds @nr, unless it is there. */
static void list_add(int *list, unsigned int *n, int nr)
{
	unsigned int i;

	for (i = 0; i < *n; i++)
		if (list[i] == nr)
			return;
	list[(*n)++] = nr;
}

unsigned int vg_sandbox_nr_syscalls(const struct vg_sandbox *sb)
{
	unsigned int i, j, n = 0, most = ARRAY_SIZE(rules);
	int *list;

	for (i = 0; i < sb->nr_calls; i++)
		most += sb->calls[i].nr;
	list = vg_calloc(most, sizeof(*list));
	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].kinds & 1u << sb->kind)
			list_add(list, &n, rules[i].nr);
	for (i = 0; i < sb->nr_calls; i++)
		for (j = 0; j < sb->calls[i].nr; j++)
			list_add(list, &n, sb->calls[i].of[j].nr);
	free(list);
	return n;
}

char *vg_sandbox_syscall_name(uint32_t nr)
{
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE,
						      (int)nr), *copy;

	copy = name ? vg_strdup(name) : vg_strf("%u", nr);
	free(name);
	return copy;
}
