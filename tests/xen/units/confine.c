// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * confine.c - runs a program under what a systemd unit restricts, where there
 * is no systemd: the rig's domains.
 *
 *	vg-confine RULES PROGRAM [ARGUMENTS]
 *
 * RULES is what rules.sh prints of the unit.  Done in the order of systemd:
 * mounts, limits, capabilities, then the filters of system calls, each a filter
 * of its own.  Not done, because it takes a control group: DevicePolicy=.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPS(x)	X(CHOWN, x) X(DAC_OVERRIDE, x) X(DAC_READ_SEARCH, x) \
	X(FOWNER, x) X(KILL, x) X(SETGID, x) X(SETUID, x) X(SETPCAP, x) \
	X(SYS_ADMIN, x) X(SYS_CHROOT, x) X(SYS_RESOURCE, x) X(SYS_PTRACE, x)

/* Values of directives; NULL: the unit has none. */
static struct {
	char *bounding, *namespaces, *families, *calls, *protect_system;
	bool no_new_privs, network, mounts, tmp, home, proc, tunables, cgroups,
	     mdwe, no_core, memlock;
	unsigned int umask;
} rules = { .umask = 022 };

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "vg-confine: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void must(int result, const char *what)
{
	if (result < 0) {
		errno = result == -1 ? errno : -result;
		die(what);
	}
}

static bool is_yes(const char *value)
{
	return !strcmp(value, "yes") || !strcmp(value, "true");
}

static void rule(const char *key, char *value)
{
	if (!strcmp(key, "CapabilityBoundingSet"))
		rules.bounding = value;
	else if (!strcmp(key, "RestrictNamespaces"))
		rules.namespaces = value;
	else if (!strcmp(key, "RestrictAddressFamilies"))
		rules.families = value;
	else if (!strcmp(key, "SystemCallFilter"))
		rules.calls = value;
	else if (!strcmp(key, "ProtectSystem"))
		rules.protect_system = value;
	else if (!strcmp(key, "NoNewPrivileges"))
		rules.no_new_privs = is_yes(value);
	else if (!strcmp(key, "PrivateNetwork"))
		rules.network = is_yes(value);
	else if (!strcmp(key, "PrivateMounts"))
		rules.mounts = is_yes(value);
	else if (!strcmp(key, "PrivateTmp"))
		rules.tmp = is_yes(value);
	else if (!strcmp(key, "ProtectHome"))
		rules.home = is_yes(value);
	else if (!strcmp(key, "ProtectProc"))
		rules.proc = !strcmp(value, "invisible");
	else if (!strcmp(key, "ProtectKernelTunables"))
		rules.tunables = is_yes(value);
	else if (!strcmp(key, "ProtectControlGroups"))
		rules.cgroups = is_yes(value);
	else if (!strcmp(key, "MemoryDenyWriteExecute"))
		rules.mdwe = is_yes(value);
	else if (!strcmp(key, "LimitCORE"))
		rules.no_core = !strcmp(value, "0");
	else if (!strcmp(key, "LimitMEMLOCK"))
		rules.memlock = !strcmp(value, "infinity");
	else if (!strcmp(key, "UMask"))
		rules.umask = (unsigned int)strtoul(value, NULL, 8);
	else {
		errno = EINVAL;
		die(key);
	}
}

static void read_rules(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t size = 0;
	char *line = NULL, *space;

	if (!f)
		die(path);
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		space = strchr(line, ' ');
		if (!space)
			die("a rule without a value");
		*space = 0;
		rule(line, space + 1);
		line = NULL;	/* its parts are kept */
	}
	fclose(f);
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	const char *at = list;

	while ((at = strstr(at, word))) {
		if ((at == list || at[-1] == ' ') &&
		    (!at[len] || at[len] == ' '))
			return true;
		at += len;
	}
	return false;
}

/* ---- mounts ---------------------------------------------------------------- */

static void read_only(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return;
	must(mount(path, path, NULL, MS_BIND | MS_REC, NULL), path);
	must(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL),
	     path);
}

static void empty(const char *path)
{
	struct stat st;

	if (!stat(path, &st))
		must(mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV,
			   "mode=1777"), path);
}

static void do_mounts(void)
{
	must(unshare(CLONE_NEWNS), "a mount namespace");
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave mounts");
	if (rules.proc)
		must(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV |
			   MS_NOEXEC, "hidepid=2"), "/proc");
	if (rules.tunables) {
		read_only("/proc/sys");
		read_only("/sys");
	}
	if (rules.tmp) {
		empty("/tmp");
		empty("/var/tmp");
	}
	if (rules.home) {
		empty("/home");
		empty("/root");
		empty("/run/user");
	}
	if (!rules.protect_system)
		return;
	if (!strcmp(rules.protect_system, "strict")) {
		/* All but /dev, /proc, /sys; and the runtime directory. */
		must(mount("/run/virtio-grant", "/run/virtio-grant", NULL,
			   MS_BIND, NULL), "the runtime directory");
		must(mount("/", "/", NULL, MS_BIND, NULL), "/");
		must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY,
			   NULL), "/ read-only");
	} else {
		read_only("/usr");
		read_only("/boot");
		read_only("/etc");
	}
}

/* ---- capabilities ------------------------------------------------------------ */

static void do_capabilities(void)
{
	static const struct {
		const char *name;
		unsigned int cap;
	} names[] = {
#define X(n, x) { "CAP_" #n, CAP_##n },
		CAPS()
#undef X
	};
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	unsigned long keep = 0;
	unsigned int cap;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (has_word(rules.bounding, names[i].name))
			keep |= 1UL << names[i].cap;
	for (cap = 0; cap < 64; cap++)
		if (!(keep & 1UL << cap) &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
			die("the bounding set");
	must((int)syscall(SYS_capget, &hdr, data), "capget");
	for (i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	must((int)syscall(SYS_capset, &hdr, data), "capset");
}

/* ---- filters ------------------------------------------------------------------- */

static scmp_filter_ctx filter(uint32_t action)
{
	scmp_filter_ctx ctx = seccomp_init(action);

	if (!ctx)
		die("seccomp_init");
	/* NoNewPrivileges= is a rule of its own. */
	must(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0), "seccomp");
	return ctx;
}

static void load(scmp_filter_ctx ctx, const char *what)
{
	must(seccomp_load(ctx), what);
	seccomp_release(ctx);
}

static void filter_calls(void)
{
	scmp_filter_ctx ctx = filter(SCMP_ACT_ERRNO(EPERM));
	char *word, *save = NULL;

	for (word = strtok_r(rules.calls, " ", &save); word;
	     word = strtok_r(NULL, " ", &save)) {
		int nr = seccomp_syscall_resolve_name(word);

		/* Others belong to other architectures. */
		if (nr >= 0)
			must(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0), word);
	}
	load(ctx, "SystemCallFilter");
}

static void filter_namespaces(void)
{
	static const struct {
		const char *name;
		unsigned int flag;
	} kinds[] = {
		{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC },
		{ "net", CLONE_NEWNET }, { "mnt", CLONE_NEWNS },
		{ "pid", CLONE_NEWPID }, { "user", CLONE_NEWUSER },
		{ "uts", CLONE_NEWUTS },
	};
	scmp_filter_ctx ctx = filter(SCMP_ACT_ALLOW);
	size_t i;

	must(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0),
	     "clone3");
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct scmp_arg_cmp flag = SCMP_A0(SCMP_CMP_MASKED_EQ,
						   kinds[i].flag, kinds[i].flag);

		if (strcmp(rules.namespaces, "yes") &&
		    has_word(rules.namespaces, kinds[i].name))
			continue;
		must(seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM),
					    SCMP_SYS(clone), 1, &flag), "clone");
		must(seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM),
					    SCMP_SYS(unshare), 1, &flag),
		     "unshare");
	}
	load(ctx, "RestrictNamespaces");
}

static void filter_families(void)
{
	scmp_filter_ctx ctx = filter(SCMP_ACT_ALLOW);

	if (strcmp(rules.families, "AF_UNIX")) {
		errno = EINVAL;
		die("other families than AF_UNIX");
	}
	must(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket),
			      1, SCMP_A0(SCMP_CMP_NE, AF_UNIX)), "socket");
	load(ctx, "RestrictAddressFamilies");
}

static void filter_write_execute(void)
{
	scmp_filter_ctx ctx = filter(SCMP_ACT_ALLOW);
	unsigned int wx = PROT_WRITE | PROT_EXEC;

	must(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mmap), 1,
			      SCMP_A2(SCMP_CMP_MASKED_EQ, wx, wx)), "mmap");
	must(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mprotect), 1,
			      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC)),
	     "mprotect");
	load(ctx, "MemoryDenyWriteExecute");
}

int main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 }, all = { RLIM_INFINITY, RLIM_INFINITY };

	if (argc < 3) {
		fputs("Usage: vg-confine RULES PROGRAM [ARGUMENTS]\n", stderr);
		return 2;
	}
	read_rules(argv[1]);
	if (rules.network)
		must(unshare(CLONE_NEWNET), "a network namespace");
	do_mounts();
	umask(rules.umask);
	if (rules.no_core)
		must(setrlimit(RLIMIT_CORE, &none), "LimitCORE");
	if (rules.memlock)
		must(setrlimit(RLIMIT_MEMLOCK, &all), "LimitMEMLOCK");
	if (rules.bounding)
		do_capabilities();
	/* First, as without CAP_SYS_ADMIN there is no filter otherwise. */
	if (rules.no_new_privs)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "NoNewPrivileges");
	/* The list comes last: it need not have seccomp(2). */
	if (rules.families)
		filter_families();
	if (rules.namespaces)
		filter_namespaces();
	if (rules.mdwe)
		filter_write_execute();
	if (rules.calls)
		filter_calls();
	execvp(argv[2], argv + 2);
	die(argv[2]);
}
