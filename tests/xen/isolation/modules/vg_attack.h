/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vg_attack.h - what the attacker's module (vg_attack.c) does for the
 * attacker's program (../attack.c), through /dev/vg-attack.
 *
 * mmap() of the device gives a buffer of VGA_BUF_BYTES.  Xen reads and writes
 * the arguments of hypercalls at kernel addresses: those of the buffer, which
 * start at vga_info.buf_va.
 *
 * The window is VGA_WINDOW_PAGES guest frames without memory behind them, at
 * which Xen can be asked to map something.
 */
#ifndef VG_ATTACK_H
#define VG_ATTACK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VGA_BUF_BYTES		(1u << 20)
#define VGA_WINDOW_PAGES	1024u

struct vga_info {
	__u64 buf_va;
	__u64 window_gfn[VGA_WINDOW_PAGES];
	__u64 buf_gfn[VGA_BUF_BYTES / 4096];
};

/* Any hypercall, with any arguments. */
struct vga_call {
	__u64 nr;
	__u64 arg[5];
	__s64 ret;
};

/*
 * Copies pages of the window to @user.  Only pages where something is mapped:
 * the kernel would die of the others.
 */
struct vga_copy {
	__u32 first;
	__u32 nr;
	__u64 user;
};

#define VGA_INFO	_IOR('v', 1, struct vga_info)
#define VGA_CALL	_IOWR('v', 2, struct vga_call)
#define VGA_COPY	_IOW('v', 3, struct vga_copy)

#endif
