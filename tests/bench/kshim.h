/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kshim.h - as much of the kernel as kernel/dma/ wants to see, in
 * user space: one CPU, one thread, pages and grants of tests/fake.
 *
 * Every <linux/...> and <xen/...> that the driver includes is this file: the
 * build makes those headers (bench.mk).  What the driver does often (locks,
 * per-CPU data, bitmaps, copying) costs here about what it costs in a kernel
 * without debugging, and is inline, so that it can be told apart by its file.
 * What it does seldom (pools made and destroyed) is in kshim.c.
 */
#ifndef KSHIM_H
#define KSHIM_H

/* The C library's own headers must not get those of the driver's folders. */
#include <asm-generic/errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- words -------------------------------------------------------------- */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef uint32_t __u32;
typedef uint64_t __u64;
typedef long ssize_t;
typedef unsigned int gfp_t;
typedef u64 dma_addr_t, phys_addr_t;
typedef u16 domid_t;
typedef u32 grant_ref_t;

#define U8_MAX		UINT8_MAX
#define U16_MAX		UINT16_MAX
#define U32_MAX		UINT32_MAX
#define SZ_1K		0x400
#define SZ_4K		0x1000
#define SZ_16K		0x4000
#define SZ_64K		0x10000
#define SZ_1M		0x100000
#define SZ_64M		0x4000000
#define BITS_PER_LONG	64

/* Whatever the newest kernel has (compat.h). */
#define KERNEL_VERSION(a, b, c)	(((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	KERNEL_VERSION(6, 18, 0)
#define VGRANT_HAVE_MAP_PHYS		1
#define VGRANT_HAVE_DEVICE_OVERRIDE	1
#define VGRANT_HAVE_VIRTIO_MAP		1
#define CONFIG_64BIT	1
#define CONFIG_XEN	1
#define CONFIG_DMA_OPS	1
#define CONFIG_ARCH_HAS_DMA_OPS 1
/* For the parameters of the module not to be static. */
#define CONFIG_KUNIT	1
#define IS_ENABLED(option)	(option)
#define VISIBLE_IF_KUNIT
#define EXPORT_SYMBOL_IF_KUNIT(symbol)

#define __init		__attribute__((unused))
#define __exit		__attribute__((unused))
#define __percpu
#define __iomem
#define __user
#ifndef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#endif
#define noinline	__attribute__((noinline))
#define __must_check
#define __maybe_unused	__attribute__((unused))
#define fallthrough	__attribute__((fallthrough))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define READ_ONCE(x)	(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), #cond)
#define container_of(p, type, member) \
	((type *)((char *)(p) - offsetof(type, member)))

#define min(a, b) ({ \
	__typeof__(a) a_ = (a); \
	__typeof__(b) b_ = (b); \
	a_ < b_ ? a_ : b_; \
})
#define max(a, b) ({ \
	__typeof__(a) a_ = (a); \
	__typeof__(b) b_ = (b); \
	a_ > b_ ? a_ : b_; \
})
#define min_t(type, a, b)	min((type)(a), (type)(b))
#define max_t(type, a, b)	max((type)(a), (type)(b))
#define clamp(v, lo, hi)	min((__typeof__(v))max(v, lo), hi)
#define clamp_t(type, v, lo, hi) clamp((type)(v), (type)(lo), (type)(hi))
#define DIV_ROUND_UP(a, b)	(((a) + (b) - 1) / (b))
#define ALIGN(x, a)		(((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define round_up(x, a)		ALIGN(x, a)
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a)	(!((x) & ((__typeof__(x))(a) - 1)))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define BIT(n)			(1UL << (n))
#define DMA_BIT_MASK(n)		((n) == 64 ? ~0ULL : (1ULL << (n)) - 1)
#define ilog2(n)		(63 - __builtin_clzll(n))
#define fls(n)			((n) ? 32 - __builtin_clz(n) : 0)
#define roundup_pow_of_two(n) \
	((n) > 1 ? 1UL << (64 - __builtin_clzl((n) - 1)) : 1UL)
#define is_power_of_2(n)	((n) && !((n) & ((n) - 1)))

#define ERR_PTR(err)	((void *)(long)(err))
#define PTR_ERR(p)	((long)(p))
#define IS_ERR(p)	((unsigned long)(p) >= (unsigned long)-4095)

/* ---- memory ------------------------------------------------------------- */

/* Of the kernel; those of Xen, and of the fake, are of 4 KiB in any case. */
#ifndef PAGE_SHIFT
#define PAGE_SHIFT	12
#endif
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))
#define PFN_UP(x)	(((x) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define PHYS_PFN(x)	((x) >> PAGE_SHIFT)
#define PFN_PHYS(x)	((phys_addr_t)(x) << PAGE_SHIFT)
#define PFN_DOWN(x)	((x) >> PAGE_SHIFT)
#define PAGE_ALIGN(x)	ALIGN(x, PAGE_SIZE)
#define PAGE_ALIGNED(x)	IS_ALIGNED(x, PAGE_SIZE)
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)
#define XEN_PAGE_SHIFT	12
#define XEN_PAGE_SIZE	(1UL << XEN_PAGE_SHIFT)
#define XEN_PAGE_MASK	(~(XEN_PAGE_SIZE - 1))
#define XEN_PFN_PER_PAGE (PAGE_SIZE / XEN_PAGE_SIZE)
#define XEN_PFN_DOWN(x)	((x) >> XEN_PAGE_SHIFT)
#define XEN_PFN_UP(x)	(((x) + XEN_PAGE_SIZE - 1) >> XEN_PAGE_SHIFT)
#define GFP_KERNEL	0u
#define __GFP_ZERO	1u
#define __GFP_NOWARN	2u
#define VM_MAP		0
#define PAGE_KERNEL	0

void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *at, int byte, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

#define get_unaligned(p) ({ \
	__typeof__(*(p)) word_; \
	memcpy((void *)&word_, p, sizeof(word_)); \
	word_; \
})
#define put_unaligned(word, p) ({ \
	__typeof__(*(p)) word_ = (word); \
	memcpy(p, &word_, sizeof(word_)); \
})
u64 get_random_u64(void);

/*
 * A page of the kernel; its number is that of its frames, XEN_PFN_PER_PAGE
 * each.
 */
struct page {
	int refs;
};
extern struct page kshim_page[];
extern u8 *kshim_mem;		/* of frame 0 */

static inline unsigned long kshim_pfn(const struct page *page)
{
	return (unsigned long)(page - kshim_page);
}

/* Physical addresses count from the start of the fake guest's memory. */
static inline void *phys_to_virt(phys_addr_t phys)
{
	return kshim_mem + phys;
}

static inline phys_addr_t virt_to_phys(const void *va)
{
	return (phys_addr_t)((const u8 *)va - kshim_mem);
}

#define page_to_phys(page)	((phys_addr_t)kshim_pfn(page) << PAGE_SHIFT)
#define phys_to_page(phys)	(&kshim_page[(phys) >> PAGE_SHIFT])
#define page_to_pfn(page)	kshim_pfn(page)
#define pfn_to_page(pfn)	(&kshim_page[pfn])
#define virt_to_page(va)	phys_to_page(virt_to_phys(va))
#define page_address(page)	phys_to_virt(page_to_phys(page))
#define xen_page_to_gfn(page)	(kshim_pfn(page) * XEN_PFN_PER_PAGE)
#define PageSlab(page)		((void)(page), false)
#define page_count(page)	((page)->refs)
#define get_page(page)		((void)(page)->refs++)
#define put_page(page)		kshim_put_page(page)
#define clear_highpage(page)	memset(page_address(page), 0, PAGE_SIZE)
#define clear_page(va)		memset(va, 0, PAGE_SIZE)

static inline unsigned int get_order(unsigned long bytes)
{
	return bytes <= PAGE_SIZE ? 0 :
		(unsigned int)(64 - __builtin_clzl((bytes - 1) >> PAGE_SHIFT));
}

void *kshim_zalloc(size_t bytes);
void kshim_free(const void *p);
#define kzalloc(bytes, gfp)		kshim_zalloc(bytes)
#define kmalloc(bytes, gfp)		kshim_zalloc(bytes)
#define kcalloc(n, bytes, gfp)		kshim_zalloc((size_t)(n) * (bytes))
#define kvcalloc(n, bytes, gfp)		kshim_zalloc((size_t)(n) * (bytes))
#define kvzalloc(bytes, gfp)		kshim_zalloc(bytes)
#define kfree(p)			kshim_free(p)
#define kvfree(p)			kshim_free(p)
char *kstrdup(const char *s, gfp_t gfp);
void *kmemdup(const void *p, size_t bytes, gfp_t gfp);

struct page *alloc_page(gfp_t gfp);
void __free_page(struct page *page);
void kshim_put_page(struct page *page);
void *vmap(struct page **page, unsigned int n, unsigned long flags, int prot);
void vunmap(const void *va);
unsigned long totalram_pages(void);

/* ---- one CPU ------------------------------------------------------------ */

#define num_possible_cpus()	1u
#define nr_cpu_ids		1u
#define for_each_possible_cpu(cpu)	for ((cpu) = 0; (cpu) < 1; (cpu)++)
#define for_each_online_cpu(cpu)	for_each_possible_cpu(cpu)
#define alloc_percpu(type)	((type *)kshim_zalloc(sizeof(type)))
#define free_percpu(p)		kshim_free(p)
#define per_cpu_ptr(p, cpu)	((void)(cpu), (p))
#define raw_cpu_ptr(p)		(p)
#define this_cpu_ptr(p)		(p)
#define raw_cpu_inc(x)		((void)(x)++)
#define raw_cpu_add(x, n)	((void)((x) += (n)))
#define this_cpu_inc(x)		((void)(x)++)
#define this_cpu_add(x, n)	((void)((x) += (n)))
#define raw_smp_processor_id()	0
#define smp_processor_id()	0

/* ---- locks: one exchange, one store, as if nobody else wanted them ------ */

typedef struct {
	u32 word;
} spinlock_t;

#define spin_lock_init(l)	((void)((l)->word = 0))
#define DEFINE_SPINLOCK(name)	spinlock_t name

void kshim_deadlock(void);

static inline void spin_lock(spinlock_t *l)
{
	if (unlikely(__atomic_exchange_n(&l->word, 1, __ATOMIC_ACQUIRE)))
		kshim_deadlock();
}

static inline bool spin_trylock(spinlock_t *l)
{
	return !__atomic_exchange_n(&l->word, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_unlock(spinlock_t *l)
{
	__atomic_store_n(&l->word, 0, __ATOMIC_RELEASE);
}

/* Saving and masking interrupts: a load and a store. */
extern volatile unsigned long kshim_irq_flags;

#define local_irq_save(flags)	((flags) = kshim_irq_flags, \
				 kshim_irq_flags = 0)
#define local_irq_restore(flags) (kshim_irq_flags = (flags))
#define spin_lock_irqsave(l, flags) \
	do { local_irq_save(flags); spin_lock(l); } while (0)
#define spin_unlock_irqrestore(l, flags) \
	do { spin_unlock(l); local_irq_restore(flags); } while (0)
#define spin_trylock_irqsave(l, flags) ({ \
	local_irq_save(flags); \
	bool got_ = spin_trylock(l); \
	if (!got_) \
		local_irq_restore(flags); \
	got_; \
})
#define lockdep_assert_held(l)	((void)(l))

/* ---- atomics ------------------------------------------------------------ */

typedef struct {
	int counter;
} atomic_t;
typedef struct {
	long counter;
} atomic_long_t, atomic64_t;

#define ATOMIC_INIT(n)		{ n }
#define atomic_read(a)		__atomic_load_n(&(a)->counter, __ATOMIC_RELAXED)
#define atomic_set(a, n) \
	__atomic_store_n(&(a)->counter, n, __ATOMIC_RELAXED)
#define atomic_add_return(n, a) \
	__atomic_add_fetch(&(a)->counter, n, __ATOMIC_SEQ_CST)
#define atomic_sub_return(n, a) \
	__atomic_sub_fetch(&(a)->counter, n, __ATOMIC_SEQ_CST)
#define atomic_inc_return(a)	atomic_add_return(1, a)
#define atomic_dec_return(a)	atomic_sub_return(1, a)
#define atomic_dec_and_test(a)	(!atomic_sub_return(1, a))
#define atomic_add(n, a) \
	((void)__atomic_add_fetch(&(a)->counter, n, __ATOMIC_RELAXED))
#define atomic_sub(n, a) \
	((void)__atomic_sub_fetch(&(a)->counter, n, __ATOMIC_RELAXED))
#define atomic_inc(a)		atomic_add(1, a)
#define atomic_dec(a)		atomic_sub(1, a)
#define atomic_cmpxchg(a, old, new) cmpxchg(&(a)->counter, old, new)
#define atomic_try_cmpxchg(a, old, new) \
	__atomic_compare_exchange_n(&(a)->counter, old, new, false, \
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#define atomic_long_read(a)	atomic_read(a)
#define atomic_long_set(a, n)	atomic_set(a, n)
#define atomic_long_add(n, a)	atomic_add(n, a)
#define atomic_long_sub(n, a)	atomic_sub(n, a)
#define atomic_long_inc(a)	atomic_inc(a)
#define atomic_long_fetch_andnot_release(n, a) \
	__atomic_fetch_and(&(a)->counter, ~(n), __ATOMIC_RELEASE)
#define atomic64_read(a)	atomic_read(a)
#define atomic64_add(n, a)	atomic_add(n, a)
#define atomic64_inc(a)		atomic_inc(a)
#define cmpxchg(p, old, new) ({ \
	__typeof__(*(p)) old_ = (old); \
	__atomic_compare_exchange_n(p, &old_, new, false, __ATOMIC_SEQ_CST, \
				    __ATOMIC_RELAXED); \
	old_; \
})
#define try_cmpxchg(p, old, new) \
	__atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST, \
				    __ATOMIC_RELAXED)
#define xchg(p, new)	__atomic_exchange_n(p, new, __ATOMIC_SEQ_CST)
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()	__atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb__before_atomic()	((void)0)
#define smp_mb__after_atomic()	((void)0)
#define cpu_relax()	((void)0)

struct mutex {
	spinlock_t l;
};
#define DEFINE_MUTEX(name)	struct mutex name
#define mutex_init(m)		spin_lock_init(&(m)->l)
#define mutex_lock(m)		spin_lock(&(m)->l)
#define mutex_unlock(m)		spin_unlock(&(m)->l)

/* ---- bitmaps ------------------------------------------------------------ */

#define BITS_TO_LONGS(n)	DIV_ROUND_UP(n, BITS_PER_LONG)
#define bitmap_zalloc(n, gfp) \
	((unsigned long *)kshim_zalloc(BITS_TO_LONGS(n) * sizeof(long) + 8))
#define bitmap_free(map)	kshim_free(map)

static inline void __set_bit(unsigned long bit, unsigned long *map)
{
	map[bit / BITS_PER_LONG] |= BIT(bit % BITS_PER_LONG);
}

static inline void __clear_bit(unsigned long bit, unsigned long *map)
{
	map[bit / BITS_PER_LONG] &= ~BIT(bit % BITS_PER_LONG);
}

static inline bool test_bit(unsigned long bit, const unsigned long *map)
{
	return map[bit / BITS_PER_LONG] >> bit % BITS_PER_LONG & 1;
}

/* The atomic ones. */
static inline void set_bit(unsigned long bit, unsigned long *map)
{
	__atomic_fetch_or(&map[bit / BITS_PER_LONG], BIT(bit % BITS_PER_LONG),
			  __ATOMIC_RELAXED);
}

static inline void clear_bit(unsigned long bit, unsigned long *map)
{
	__atomic_fetch_and(&map[bit / BITS_PER_LONG],
			   ~BIT(bit % BITS_PER_LONG), __ATOMIC_RELAXED);
}

static inline void clear_bit_unlock(unsigned long bit, unsigned long *map)
{
	__atomic_fetch_and(&map[bit / BITS_PER_LONG],
			   ~BIT(bit % BITS_PER_LONG), __ATOMIC_RELEASE);
}

static inline bool test_and_set_bit(unsigned long bit, unsigned long *map)
{
	unsigned long mask = BIT(bit % BITS_PER_LONG);

	return __atomic_fetch_or(&map[bit / BITS_PER_LONG], mask,
				 __ATOMIC_SEQ_CST) & mask;
}

static inline bool test_and_clear_bit(unsigned long bit, unsigned long *map)
{
	unsigned long mask = BIT(bit % BITS_PER_LONG);

	return __atomic_fetch_and(&map[bit / BITS_PER_LONG], ~mask,
				  __ATOMIC_SEQ_CST) & mask;
}

#define test_and_set_bit_lock(bit, map)	test_and_set_bit(bit, map)

/* Not inline, as in the kernel. */
unsigned long kshim_find(const unsigned long *map, unsigned long bits,
			 unsigned long from, unsigned long invert);
#define find_next_bit(map, bits, from)	kshim_find(map, bits, from, 0)
#define find_next_zero_bit(map, bits, from) kshim_find(map, bits, from, ~0UL)
#define find_first_bit(map, bits)	kshim_find(map, bits, 0, 0)
#define find_first_zero_bit(map, bits)	kshim_find(map, bits, 0, ~0UL)
unsigned long bitmap_find_next_zero_area_off(unsigned long *map,
					     unsigned long bits,
					     unsigned long from, unsigned int n,
					     unsigned long align_mask,
					     unsigned long align_offset);
#define bitmap_find_next_zero_area(map, bits, from, n, align_mask) \
	bitmap_find_next_zero_area_off(map, bits, from, n, align_mask, 0)
void bitmap_set(unsigned long *map, unsigned int first, unsigned int n);
void bitmap_clear(unsigned long *map, unsigned int first, unsigned int n);
unsigned int bitmap_weight(const unsigned long *map, unsigned int bits);
#define bitmap_empty(map, bits)	(find_first_bit(map, bits) >= (bits))

/* ---- messages: each is the end, but for those of no consequence --------- */

void kshim_warn(const char *where, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void kshim_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define WARN(cond, ...) ({ \
	bool is_ = !!(cond); \
	if (unlikely(is_)) \
		kshim_warn(__func__, __VA_ARGS__); \
	unlikely(is_); \
})
#define WARN_ONCE(cond, ...)	WARN(cond, __VA_ARGS__)
#define WARN_ON(cond)		WARN(cond, "%s", #cond)
#define WARN_ON_ONCE(cond)	WARN(cond, "%s", #cond)
#define dev_err(dev, ...)	kshim_say(__VA_ARGS__)
#define dev_warn(dev, ...)	kshim_say(__VA_ARGS__)
#define dev_warn_once(dev, ...)	kshim_say(__VA_ARGS__)
#define dev_warn_ratelimited(dev, ...) kshim_say(__VA_ARGS__)
#define dev_info(dev, ...)	kshim_say(__VA_ARGS__)
#define dev_dbg(dev, ...)	((void)0)
#define pr_err(...)		kshim_say(__VA_ARGS__)
#define pr_warn(...)		kshim_say(__VA_ARGS__)
#define pr_info(...)		kshim_say(__VA_ARGS__)

/* ---- time --------------------------------------------------------------- */

extern unsigned long jiffies;
#define HZ			1000
#define msecs_to_jiffies(ms)	((unsigned long)(ms))
#define time_after(a, b)	((long)((b) - (a)) < 0)
#define time_before(a, b)	time_after(b, a)
#define msleep(ms)		((void)(jiffies += (ms)))

/* ---- modules, devices, sysfs: there is nothing of it -------------------- */

#define KBUILD_MODNAME		"bench"
#define EXPORT_SYMBOL_GPL(symbol)
#define module_param_named(name, var, type, mode)
#define module_param(name, type, mode)	KSHIM_UNUSED(name)
#define module_param_array(name, type, nr, mode) KSHIM_UNUSED(name)
#define KSHIM_UNUSED(name) \
	static const void *kshim_uses_##name __attribute__((unused)) = &name
#define MODULE_PARM_DESC(name, text)	_Static_assert(1, "")
#define MODULE_DESCRIPTION(text)	_Static_assert(1, "")
#define MODULE_AUTHOR(text)		_Static_assert(1, "")
#define MODULE_LICENSE(text)		_Static_assert(1, "")
#define MODULE_ALIAS(text)		_Static_assert(1, "")
#define MODULE_IMPORT_NS(text)		_Static_assert(1, "")
#define module_init(fn)			_Static_assert(1, "")
#define module_exit(fn)			_Static_assert(1, "")

struct dma_map_ops;
struct device {
	const struct dma_map_ops *dma_ops;
	void *driver_data;
};
struct platform_device {
	struct device dev;
};
struct device_node;
struct property;
int device_set_driver_override(struct device *dev, const char *name);
int of_add_property(struct device_node *np, struct property *prop);

struct attribute {
	const char *name;
	unsigned short mode;
};
struct device_attribute {
	struct attribute attr;
	ssize_t (*show)(struct device *dev, struct device_attribute *attr,
			char *buf);
	ssize_t (*store)(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t bytes);
};
struct attribute_group {
	const char *name;
	struct attribute **attrs;
};
#define __ATTR(field, mode_, show_, store_) { \
	.attr = { .name = #field, .mode = mode_ }, \
	.show = show_, .store = store_, \
}
int sysfs_emit(char *buf, const char *fmt, ...);
#define device_add_group(dev, group)	((void)(dev), (void)(group), 0)
#define device_remove_group(dev, group)	((void)(dev), (void)(group))

/* ---- DMA ---------------------------------------------------------------- */

enum dma_data_direction {
	DMA_BIDIRECTIONAL,
	DMA_TO_DEVICE,
	DMA_FROM_DEVICE,
	DMA_NONE,
};
#define DMA_ATTR_SKIP_CPU_SYNC	BIT(5)
#define DMA_ATTR_MMIO		BIT(10)
#define DMA_MAPPING_ERROR	(~(dma_addr_t)0)

struct scatterlist {
	phys_addr_t phys;
	unsigned int length;
	dma_addr_t dma_address;
	unsigned int dma_length;
};
#define sg_phys(sg)		((sg)->phys)
#define sg_dma_address(sg)	((sg)->dma_address)
#define sg_dma_len(sg)		((sg)->dma_length)
#define for_each_sg(list, sg, n, i) \
	for ((i) = 0, (sg) = (list); (i) < (n); (i)++, (sg)++)

struct dma_map_ops {
	void *(*alloc)(struct device *dev, size_t bytes, dma_addr_t *addr,
		       gfp_t gfp, unsigned long attrs);
	void (*free)(struct device *dev, size_t bytes, void *va,
		     dma_addr_t addr, unsigned long attrs);
	int (*mmap)(struct device *dev, void *vma, void *va, dma_addr_t addr,
		    size_t bytes, unsigned long attrs);
	dma_addr_t (*map_phys)(struct device *dev, phys_addr_t phys,
			       size_t bytes, enum dma_data_direction dir,
			       unsigned long attrs);
	void (*unmap_phys)(struct device *dev, dma_addr_t addr, size_t bytes,
			   enum dma_data_direction dir, unsigned long attrs);
	int (*map_sg)(struct device *dev, struct scatterlist *sgl, int nents,
		      enum dma_data_direction dir, unsigned long attrs);
	void (*unmap_sg)(struct device *dev, struct scatterlist *sgl,
			 int nents, enum dma_data_direction dir,
			 unsigned long attrs);
	void (*sync_single_for_cpu)(struct device *dev, dma_addr_t addr,
				    size_t bytes, enum dma_data_direction dir);
	void (*sync_single_for_device)(struct device *dev, dma_addr_t addr,
				       size_t bytes,
				       enum dma_data_direction dir);
	void (*sync_sg_for_cpu)(struct device *dev, struct scatterlist *sgl,
				int nents, enum dma_data_direction dir);
	void (*sync_sg_for_device)(struct device *dev, struct scatterlist *sgl,
				   int nents, enum dma_data_direction dir);
	int (*dma_supported)(struct device *dev, u64 mask);
	size_t (*max_mapping_size)(struct device *dev);
	size_t (*opt_mapping_size)(void);
	unsigned long (*get_merge_boundary)(struct device *dev);
};

static inline const struct dma_map_ops *get_dma_ops(struct device *dev)
{
	return dev->dma_ops;
}

static inline void set_dma_ops(struct device *dev,
			       const struct dma_map_ops *ops)
{
	dev->dma_ops = ops;
}

/* ---- virtio: mapping ---------------------------------------------------- */

union virtio_map {
	struct device *dma_dev;
};

struct virtio_map_ops {
	dma_addr_t (*map_page)(union virtio_map map, struct page *page,
			       unsigned long offset, size_t bytes,
			       enum dma_data_direction dir,
			       unsigned long attrs);
	void (*unmap_page)(union virtio_map map, dma_addr_t addr, size_t bytes,
			   enum dma_data_direction dir, unsigned long attrs);
	void (*sync_single_for_cpu)(union virtio_map map, dma_addr_t addr,
				    size_t bytes, enum dma_data_direction dir);
	void (*sync_single_for_device)(union virtio_map map, dma_addr_t addr,
				       size_t bytes,
				       enum dma_data_direction dir);
	void *(*alloc)(union virtio_map map, size_t bytes, dma_addr_t *addr,
		       gfp_t gfp);
	void (*free)(union virtio_map map, size_t bytes, void *va,
		     dma_addr_t addr, unsigned long attrs);
	bool (*need_sync)(union virtio_map map, dma_addr_t addr);
	int (*mapping_error)(union virtio_map map, dma_addr_t addr);
	size_t (*max_mapping_size)(union virtio_map map);
};

struct virtio_device {
	const struct virtio_map_ops *map;
	union virtio_map vmap;
};

/* ---- Xen: the fake's ---------------------------------------------------- */

/* Of 32768 references, as a guest's is if nobody says otherwise. */
#define KSHIM_GRANT_FRAMES	64u
#define gnttab_max_grant_frames() KSHIM_GRANT_FRAMES

struct grant_entry_v1 {
	u16 flags;
	domid_t domid;
	u32 frame;
};

union grant_entry_v2 {
	u64 words[2];
};

#define DOMID_SELF		0x7ff0u
#define GNTTABOP_get_version	10u

struct gnttab_get_version {
	domid_t dom;
	u16 pad;
	u32 version;
};

int HYPERVISOR_grant_table_op(unsigned int cmd, void *op, unsigned int count);
bool xen_domain(void);
int gnttab_alloc_grant_reference_seq(unsigned int n, grant_ref_t *first);
void gnttab_free_grant_reference_seq(grant_ref_t first, unsigned int n);
void gnttab_free_grant_reference(grant_ref_t ref);
void gnttab_grant_foreign_access_ref(grant_ref_t ref, domid_t domid,
				     unsigned long gfn, int is_read_only);
int gnttab_end_foreign_access_ref(grant_ref_t ref);
int gnttab_try_end_foreign_access(grant_ref_t ref);
void gnttab_end_foreign_access(grant_ref_t ref, struct page *page);

#endif
