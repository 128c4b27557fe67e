/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util.h - the few helpers that every part of the backend uses.
 */
#ifndef VG_UTIL_H
#define VG_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define min_u(a, b)	((a) < (b) ? (a) : (b))
#define max_u(a, b)	((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/*
 * Words shared with another domain.  READ_ONCE() and the load_ and store_
 * functions read or write the word exactly once, whatever the compiler thinks;
 * what was read is a copy and is checked as such.
 */
#ifdef VG_STEPS
/* There the unit tests change the word: see test_ring.c. */
extern void (*vg_read_hook)(const volatile void *word, size_t bytes);
#define vg_once(x, read) \
	__extension__ ({ \
		__typeof__(x) once_ = (read); \
		if (vg_read_hook) \
			vg_read_hook(&(x), sizeof(x)); \
		once_; \
	})
#else
#define vg_once(x, read)	(read)
#endif
#define READ_ONCE(x)	vg_once(x, *(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#define load_acquire(p) \
	vg_once(*(p), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()		__atomic_thread_fence(__ATOMIC_RELEASE)

/*
 * A counter with one writer, which others read meanwhile: a plain addition,
 * but never half of one.
 */
#define count_add(c, n) \
	__atomic_store_n(&(c), (c) + (__typeof__(c))(n), __ATOMIC_RELAXED)
/* One bit of a word like that. */
#define bit_set(c, bit, is) \
	__atomic_store_n(&(c), (is) ? (c) | (bit) : (c) & ~(bit), \
			 __ATOMIC_RELAXED)
#define count_read(c)		__atomic_load_n(&(c), __ATOMIC_RELAXED)

/*
 * Strict decimal or, with base 16, hexadecimal (an optional 0x before it):
 * digits only, no sign, no space, nothing behind them, at most @max.
 * 0, -EINVAL (not a number) or -ERANGE (too large).
 */
int vg_parse_u64(const char *s, int base, uint64_t max, uint64_t *out);

/* printf into a new string, never NULL: out of memory ends the program. */
char *vg_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* malloc family that ends the program when there is no memory at set-up. */
void *vg_zalloc(size_t bytes);
void *vg_calloc(size_t n, size_t bytes);
char *vg_strdup(const char *s);

/* Between @buf and buffers, as far as either goes: how many bytes. */
size_t vg_iov_copy(const struct iovec *iov, unsigned int nr, void *buf,
		   size_t bytes, bool is_to_iov);

/*
 * Whether this errno, negative, says that something is short now, so that the
 * same may work later; others say that it is wrong.
 */
bool vg_error_passes(int err);

uint64_t vg_now_ns(void);	/* CLOCK_MONOTONIC */

/*
 * Sleeps for a millisecond, by epoll: a confined process has no other call for
 * it.  *@epfd, at first -1, is the caller's to close.
 */
void vg_nap(int *epfd);

/*
 * What ps(1) and top(1) call this process, "vg-worker-3", and the threads that
 * it makes.  A program that starts itself by /proc/self/exe is called "exe".
 */
void vg_name_process(const char *kind, unsigned int guest);

/* Close-on-exec, non-blocking. 0 or -errno. */
int vg_fd_nonblock(int fd);

/*
 * Between two steps of something that must survive the death of its process:
 * where the unit tests have it die, and nothing elsewhere.
 */
#ifdef VG_STEPS
extern void (*vg_step_hook)(void);
#define vg_step()	do { if (vg_step_hook) vg_step_hook(); } while (0)
#else
#define vg_step()	do { } while (0)
#endif

#endif
