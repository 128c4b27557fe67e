/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sandbox.h - what a worker gives up before it reads the first byte of its
 * guest: user, capabilities, file system, network, other processes, and all
 * system calls but those of a list.
 *
 * The supervisor makes the process with vg_sandbox_fork(), in namespaces of
 * its own; the process opens what it needs and then calls vg_sandbox_enter(),
 * from which there is no way back.
 *
 * Not trusted from then on: the process itself.  Whatever is claimed here must
 * hold when an attacker runs code of his choice in it, with every descriptor
 * that it has.
 */
#ifndef VG_SANDBOX_H
#define VG_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dev/type.h"

/*
 * Users are numbers without names, two per domain: the worker's and the
 * mapper's.  systemd's list of ranges leaves 1879048192 to 2147352575 unused
 * (https://systemd.io/UIDS-GIDS/), and so does useradd(8).
 */
#define VG_SANDBOX_UID_BASE	1900000000u
#define VG_SANDBOX_UIDS		65536u
#define VG_SANDBOX_UID(base, domid, is_mapper) \
	((uid_t)(base) + 2u * (domid) + (is_mapper ? 1u : 0u))

/*
 * The most that a list may have: a worker's own and those of all device types.
 */
#define VG_SANDBOX_SYSCALLS_MAX	28u
/* A mapper's: read, write, ioctl, clock_gettime, exit_group. */
#define VG_SANDBOX_MAPPER_MAX	5u

enum vg_sandbox_kind {
	VG_SANDBOX_WORKER,
	VG_SANDBOX_MAPPER,		/* mapper.h */
};

/* What the types of a worker's devices call, beside its own: dev/type.h. */
struct vg_sandbox_calls {
	const struct vg_dev_syscall *of;
	unsigned int nr;
};

struct vg_sandbox {
	enum vg_sandbox_kind kind;
	const struct vg_sandbox_calls *calls;	/* one for each type */
	unsigned int nr_calls;
	uid_t uid;			/* and gid */
	uint64_t memory_max_bytes;	/* address space */
	uint64_t locked_max_bytes;	/* of it registered with rings */
	/*
	 * Where the largest file ends that it may write to; at least its
	 * state's end.  Block devices have an end anyway.
	 */
	uint64_t file_max_bytes;
	/*
	 * Where the number + 1 of a system call that was not on the list is
	 * left before the process dies of it; memory shared with who wants to
	 * know.  NULL: nowhere.
	 */
	uint32_t *violation;
};

/*
 * As fork(), into new namespaces (mount, network, IPC, UTS, PID, cgroup).
 * The child may only do what is safe in a signal handler, and exec.
 */
pid_t vg_sandbox_fork(void);

/*
 * As root, single-threaded.  0, or negative errno with what could not be done
 * in *step; the process must end then, some of it may be done.
 */
int vg_sandbox_enter(const struct vg_sandbox *sb, const char **step);

/*
 * From outside, as root: @pid, which entered as @uid, may write files up to
 * this size from now on.  It can't itself: none of the calls for it is on a
 * list.
 */
int vg_sandbox_set_file_max(pid_t pid, uid_t uid, uint64_t bytes);

/*
 * Whether all of this works here, tried in a child; called before anything is
 * served.  *step as above.
 */
int vg_sandbox_check(uid_t uid_base, const char **step);

/*
 * Whether a user or a group has a number of [base, base + VG_SANDBOX_UIDS):
 * its name, to be freed, or NULL.
 */
char *vg_sandbox_uid_owner(uid_t base);

/* Its name, to be freed; for messages. */
char *vg_sandbox_syscall_name(uint32_t nr);

/* The filter alone, for tests: its number of system calls. */
unsigned int vg_sandbox_nr_syscalls(const struct vg_sandbox *sb);

#endif
