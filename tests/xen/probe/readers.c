// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * readers.c - many readers of a disk whose pool is too small for them, each of
 * which looks whether its buffers ever show what another one reads.
 *
 *	vg-readers DEVICE SECONDS SCATTERED WHOLE
 *
 * SCATTERED threads read 64 pages each, into pages that do not lie side by
 * side, WHOLE threads 64 KiB each; all with O_DIRECT, each always the same
 * place of the device, which is overwritten first.  Meanwhile watchers go
 * through all the buffers: a word there is what its reader put there before the
 * read, zero, or what belongs there; anything else is another reader's.  When a
 * read is done, it is what belongs there.
 *
 * Prints "READS reads FOREIGN foreign bytes".  Exit status: 0; 1 (foreign or
 * wrong data, or an error); 2 (called wrongly).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES	4096u
#define PAGE_WORDS	(PAGE_BYTES / sizeof(uint64_t))
#define PAGES_SCATTERED	64u
#define PAGES_WHOLE	16u
#define READERS_MAX	64u
#define WATCHERS	2u
/* In the top byte of what a reader puts into its buffers. */
#define OWN		0xeeu

struct reader {
	pthread_t thread;
	uint64_t first_page;	/* of the device */
	unsigned int pages;
	uint64_t *page[PAGES_SCATTERED];
	uint64_t own;
	atomic_ulong reads;
	bool has_failed;
};

static struct reader readers[READERS_MAX];
static unsigned int nr_readers;
static int fd;
static atomic_bool is_over;
static atomic_ulong foreign_bytes;

/* What the device has there. */
static uint64_t right(uint64_t page, unsigned int word)
{
	return (page + 1) << 16 | word;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static bool prepare(struct reader *r, unsigned int nr, uint64_t first_page,
		    bool is_scattered)
{
	unsigned int i, step = is_scattered ? 2 : 1;
	uint64_t *area;

	r->first_page = first_page;
	r->pages = is_scattered ? PAGES_SCATTERED : PAGES_WHOLE;
	r->own = (uint64_t)OWN << 56 | nr;
	area = mmap(NULL, (size_t)r->pages * step * PAGE_BYTES,
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (area == MAP_FAILED)
		return false;
	/* Backwards: neighbours of the device are none in memory. */
	for (i = 0; i < r->pages; i++)
		r->page[i] = area + PAGE_WORDS * step *
			     (is_scattered ? r->pages - 1 - i : i);
	return true;
}

static unsigned int iovs_of(const struct reader *r, struct iovec *iov)
{
	unsigned int i;

	if (r->pages == PAGES_WHOLE) {
		iov[0] = (struct iovec){ r->page[0], PAGES_WHOLE * PAGE_BYTES };
		return 1;
	}
	for (i = 0; i < r->pages; i++)
		iov[i] = (struct iovec){ r->page[i], PAGE_BYTES };
	return r->pages;
}

static void overwrite(const struct reader *r)
{
	struct iovec iov[PAGES_SCATTERED];
	unsigned int i, word;

	for (i = 0; i < r->pages; i++)
		for (word = 0; word < PAGE_WORDS; word++)
			r->page[i][word] = right(r->first_page + i, word);
	if (pwritev(fd, iov, (int)iovs_of(r, iov),
		    (off_t)(r->first_page * PAGE_BYTES)) !=
	    (ssize_t)r->pages * PAGE_BYTES)
		die("writing");
}

static bool is_right(const struct reader *r)
{
	unsigned int i, word;

	for (i = 0; i < r->pages; i++)
		for (word = 0; word < PAGE_WORDS; word++)
			if (r->page[i][word] !=
			    right(r->first_page + i, word)) {
				fprintf(stderr, "page %u word %u: %#llx\n", i,
					word,
					(unsigned long long)r->page[i][word]);
				return false;
			}
	return true;
}

static void *read_on(void *opaque)
{
	struct iovec iov[PAGES_SCATTERED];
	struct reader *r = opaque;
	unsigned int i, word, nr = iovs_of(r, iov);

	while (!atomic_load(&is_over)) {
		for (i = 0; i < r->pages; i++)
			for (word = 0; word < PAGE_WORDS; word++)
				r->page[i][word] = r->own;
		if (preadv(fd, iov, (int)nr,
			   (off_t)(r->first_page * PAGE_BYTES)) !=
		    (ssize_t)r->pages * PAGE_BYTES) {
			perror("reading");
			r->has_failed = true;
			break;
		}
		atomic_fetch_add(&r->reads, 1);
		if (!is_right(r)) {
			r->has_failed = true;
			break;
		}
	}
	return NULL;
}

static unsigned int look(const struct reader *r)
{
	unsigned int i, word, nr = 0;

	for (i = 0; i < r->pages; i++) {
		for (word = 0; word < PAGE_WORDS; word++) {
			uint64_t is = *(volatile uint64_t *)&r->page[i][word];

			if (is && is != r->own &&
			    is != right(r->first_page + i, word))
				nr += sizeof(is);
		}
	}
	return nr;
}

static void *watch(void *opaque)
{
	unsigned int i;

	(void)opaque;
	while (!atomic_load(&is_over))
		for (i = 0; i < nr_readers; i++)
			atomic_fetch_add(&foreign_bytes, look(&readers[i]));
	return NULL;
}

static unsigned int number(const char *text, unsigned int max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !*text || n > max) {
		fprintf(stderr, "vg-readers: '%s' is no number up to %u\n", text,
			max);
		exit(2);
	}
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	unsigned int i, seconds, nr_scattered;
	pthread_t watcher[WATCHERS];
	unsigned long reads = 0;
	uint64_t page = 0;
	int ret = 0;

	if (argc != 5) {
		fprintf(stderr,
			"usage: vg-readers DEVICE SECONDS SCATTERED WHOLE\n");
		return 2;
	}
	seconds = number(argv[2], 3600);
	nr_scattered = number(argv[3], READERS_MAX);
	nr_readers = nr_scattered + number(argv[4], READERS_MAX - nr_scattered);
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0)
		die(argv[1]);
	for (i = 0; i < nr_readers; i++) {
		if (!prepare(&readers[i], i, page, i < nr_scattered))
			die("mmap");
		page += readers[i].pages;
		overwrite(&readers[i]);
	}
	for (i = 0; i < nr_readers; i++)
		if (pthread_create(&readers[i].thread, NULL, read_on,
				   &readers[i]))
			die("a thread");
	for (i = 0; i < WATCHERS; i++)
		if (pthread_create(&watcher[i], NULL, watch, NULL))
			die("a thread");
	sleep(seconds);
	atomic_store(&is_over, true);
	for (i = 0; i < nr_readers; i++) {
		pthread_join(readers[i].thread, NULL);
		reads += readers[i].reads;
		if (readers[i].has_failed || !readers[i].reads)
			ret = 1;
	}
	for (i = 0; i < WATCHERS; i++)
		pthread_join(watcher[i], NULL);
	printf("%lu reads %lu foreign bytes\n", reads,
	       atomic_load(&foreign_bytes));
	return foreign_bytes ? 1 : ret;
}
