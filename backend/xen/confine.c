// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * confine.c - what the broker's process of one guest gives up.  See xen.h.
 *
 * It must be assumed that a driver domain takes this process over through the
 * relay page.  Three layers, each of which would do for what it is for:
 *
 * - xentoolcore_restrict_all(): Linux' privcmd takes device-model operations,
 *   mappings and resources for this guest's domid only, and no hypercall as
 *   such; evtchn binds to this guest only.  What that leaves is too much:
 *   this guest's memory can still be mapped, and its grant table as a
 *   resource (drivers/xen/privcmd.c, Linux 6.1 and 6.12).
 * - the seccomp filter: of all ioctls only the device-model operation, and
 *   sending and unbinding an event channel; no open, exec, fork, socket;
 *   no memory that is executable.  Whatever is not listed gives EPERM.
 * - no capability, no new privileges, no core dump, no tracing.
 *
 * The filter can't see which device-model operation it is: those are for this
 * guest, and on Arm none of them reads or writes its memory
 * (xen/arch/arm/dm.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <xentoolcore.h>
#include <xen/sys/evtchn.h>
#include <xen/sys/privcmd.h>

#include "lib/util.h"
#include "xen/xen.h"

/* Enough for 16 devices with two descriptors each, and what it has. */
#define NOFILE_MAX	64

static int drop_privileges(void)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct none[2] = { { 0 } };
	const struct rlimit files = { NOFILE_MAX, NOFILE_MAX };
	const struct rlimit zero = { 0, 0 };
	int cap;

	/* Fails where it is empty already and we may not touch it. */
	for (cap = 0; cap <= CAP_LAST_CAP; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &hdr, none) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    setrlimit(RLIMIT_NOFILE, &files) ||
	    setrlimit(RLIMIT_NPROC, &zero) ||
	    setrlimit(RLIMIT_CORE, &zero))
		return -errno;
	return 0;
}

static int allow(scmp_filter_ctx ctx)
{
	/* With any arguments.  The loop, the log, malloc, the end. */
	static const int plain[] = {
		SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close),
		SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
		SCMP_SYS(epoll_pwait), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
		SCMP_SYS(munmap), SCMP_SYS(brk), SCMP_SYS(madvise),
		SCMP_SYS(clock_gettime), SCMP_SYS(restart_syscall),
		SCMP_SYS(rt_sigreturn), SCMP_SYS(exit), SCMP_SYS(exit_group),
	};
	static const unsigned long ioctls[] = {
		IOCTL_PRIVCMD_DM_OP, IOCTL_EVTCHN_NOTIFY, IOCTL_EVTCHN_UNBIND,
	};
	static const int fcntls[] = { F_GETFL, F_SETFL, F_SETFD };
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(plain); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, plain[i], 0);
	for (i = 0; !err && i < ARRAY_SIZE(ioctls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	for (i = 0; !err && i < ARRAY_SIZE(fcntls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				       SCMP_A1(SCMP_CMP_EQ,
					       (scmp_datum_t)fcntls[i]));
	/*
	 * malloc, and relay pages.  Mapping privcmd gives an area without
	 * pages, which only ioctls that are not listed fill.
	 */
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC,
					       0));
	return err;
}

static int filter_install(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err;

	if (!ctx)
		return -ENOMEM;
	err = allow(ctx);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

int xen_confine(xen_domid_t guest, const char **what)
{
	int err;

	*what = "restricting the Xen libraries to the guest";
	if (xentoolcore_restrict_all(guest))
		return -errno;
	*what = "dropping privileges";
	err = drop_privileges();
	if (err)
		return err;
	*what = "installing the seccomp filter";
	return filter_install();
}
