// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vg_attack.c - the kernel half of the attacker in the driver domain.
 *
 * A test's module; never part of the product.  It lets a root program issue
 * every hypercall with arguments of its choice, so that nothing that Linux
 * (privcmd, gntdev, evtchn) refuses is what protects a guest, and look at
 * whatever Xen let it map.  Interface: vg_attack.h.
 *
 * Hypercalls by Arm's convention (xen/include/public/arch-arm.h): number in
 * x16, arguments in x0 to x4, result in x0, "hvc #0xEA1"; and by x86's
 * (arch-x86/xen-x86_64.h): rax, rdi rsi rdx r10 r8, rax, the instruction for
 * this processor.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "vg_attack.h"

static void *buf;
static struct page *window[VGA_WINDOW_PAGES];

#ifdef CONFIG_X86_64
static noinline s64 raw_hypercall(const struct vga_call *call)
{
	register u64 rax asm("rax") = call->nr;
	register u64 rdi asm("rdi") = call->arg[0];
	register u64 rsi asm("rsi") = call->arg[1];
	register u64 rdx asm("rdx") = call->arg[2];
	register u64 r10 asm("r10") = call->arg[3];
	register u64 r8 asm("r8") = call->arg[4];

	if (boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	    boot_cpu_data.x86_vendor == X86_VENDOR_HYGON)
		asm volatile("vmmcall"
			     : "+r" (rax), "+r" (rdi), "+r" (rsi), "+r" (rdx),
			       "+r" (r10), "+r" (r8)
			     : : "memory", "cc");
	else
		asm volatile("vmcall"
			     : "+r" (rax), "+r" (rdi), "+r" (rsi), "+r" (rdx),
			       "+r" (r10), "+r" (r8)
			     : : "memory", "cc");
	return (s64)rax;
}
#else
static noinline s64 raw_hypercall(const struct vga_call *call)
{
	register u64 x0 asm("x0") = call->arg[0];
	register u64 x1 asm("x1") = call->arg[1];
	register u64 x2 asm("x2") = call->arg[2];
	register u64 x3 asm("x3") = call->arg[3];
	register u64 x4 asm("x4") = call->arg[4];
	register u64 x16 asm("x16") = call->nr;

	asm volatile("hvc #0xea1"
		     : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3), "+r" (x4),
		       "+r" (x16)
		     : : "memory", "cc");
	return (s64)x0;
}
#endif

static long vga_info(struct vga_info __user *user)
{
	struct vga_info *info = kvzalloc(sizeof(*info), GFP_KERNEL);
	unsigned int i;
	long ret;

	if (!info)
		return -ENOMEM;
	info->buf_va = (u64)(unsigned long)buf;
	for (i = 0; i < VGA_WINDOW_PAGES; i++)
		info->window_gfn[i] = xen_page_to_gfn(window[i]);
	for (i = 0; i < ARRAY_SIZE(info->buf_gfn); i++)
		info->buf_gfn[i] = vmalloc_to_pfn(buf + i * PAGE_SIZE);
	ret = copy_to_user(user, info, sizeof(*info)) ? -EFAULT : 0;
	kvfree(info);
	return ret;
}

static long vga_copy(const struct vga_copy *copy)
{
	char __user *to = u64_to_user_ptr(copy->user);
	unsigned int i;

	if (copy->first >= VGA_WINDOW_PAGES ||
	    copy->nr > VGA_WINDOW_PAGES - copy->first)
		return -EINVAL;
	for (i = 0; i < copy->nr; i++) {
		if (copy_to_user(to + i * PAGE_SIZE,
				 page_address(window[copy->first + i]),
				 PAGE_SIZE))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

static long vga_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct vga_call call;
	struct vga_copy copy;

	switch (cmd) {
	case VGA_INFO:
		return vga_info(user);
	case VGA_CALL:
		if (copy_from_user(&call, user, sizeof(call)))
			return -EFAULT;
		call.ret = raw_hypercall(&call);
		return copy_to_user(user, &call, sizeof(call)) ? -EFAULT : 0;
	case VGA_COPY:
		if (copy_from_user(&copy, user, sizeof(copy)))
			return -EFAULT;
		return vga_copy(&copy);
	default:
		return -ENOTTY;
	}
}

static int vga_mmap(struct file *file, struct vm_area_struct *vma)
{
	return remap_vmalloc_range(vma, buf, 0);
}

static const struct file_operations vga_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vga_ioctl,
	.mmap = vga_mmap,
};

static struct miscdevice vga_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vg-attack",
	.fops = &vga_fops,
	.mode = 0600,
};

static int __init vga_init(void)
{
	int ret;

	/* Page tables of a PV guest would not be the window's. */
	if (!xen_domain() || xen_pv_domain())
		return -ENODEV;
	buf = vmalloc_user(VGA_BUF_BYTES);
	if (!buf)
		return -ENOMEM;
	ret = gnttab_alloc_pages(VGA_WINDOW_PAGES, window);
	if (ret)
		goto free_buf;
	ret = misc_register(&vga_misc);
	if (ret)
		goto free_window;
	return 0;

free_window:
	gnttab_free_pages(VGA_WINDOW_PAGES, window);
free_buf:
	vfree(buf);
	return ret;
}
module_init(vga_init);

/*
 * Without an end: what Xen still maps in the window, the kernel must not get
 * back as memory.
 */

MODULE_DESCRIPTION("The attacker of virtio-grant's isolation test");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
