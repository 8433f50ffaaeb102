/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.c -- open versions, checked before they are sent (held.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/store/held.h"

#define HELD_BUCKETS 1024
#define RESIDENT_MS  1000 /* how long an answer of mincore(2) is believed */
#define LOOK_MS	     10	  /* … of fstat(2): a hot object is asked for many times in it */

struct held {
	struct held_cache *cache;
	struct version version;
	atomic_uint refs;
	int fd;
	struct stat st;
	uint64_t base, length; /* where in the file the version lies */
	struct segments_found packed; /* file NULL: it has a file of its own */
	struct manifest manifest;
	pthread_mutex_t lock; /* what follows */
	uint8_t *checked;     /* a bit a chunk */
	uint64_t resident_first, resident_len;
	int64_t resident_ms;
	void *thing;
	void (*free_thing)(void *);
	/* under the cache's lock */
	int64_t looked_ms; /* when the file was last looked at */
	struct held *hash_next, *newer, *older;
};

struct held_cache {
	struct chunks *chunks;
	pthread_mutex_t lock;
	struct held *hash[HELD_BUCKETS];
	struct held *newest, *oldest;
	unsigned int count, max;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static struct held **bucket_of(struct held_cache *cache, const struct version *v)
{
	return &cache->hash[(v->id[8] | v->id[9] << 8) % HELD_BUCKETS];
}

int held_cache_new(struct held_cache **out, struct chunks *c, unsigned int open_max)
{
	struct held_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	cache->chunks = c;
	cache->max = open_max ? open_max : 1;
	pthread_mutex_init(&cache->lock, NULL);
	*out = cache;
	return 0;
}

static void held_free(struct held *h)
{
	if (h->thing && h->free_thing)
		h->free_thing(h->thing);
	pthread_mutex_destroy(&h->lock);
	if (h->fd >= 0)
		close(h->fd);
	segment_file_put(h->packed.file);
	free(h->checked);
	free(h);
}

void held_put(struct held *h)
{
	if (h && atomic_fetch_sub(&h->refs, 1) == 1)
		held_free(h);
}

static void list_remove(struct held_cache *cache, struct held *h)
{
	*(h->newer ? &h->newer->older : &cache->newest) = h->older;
	*(h->older ? &h->older->newer : &cache->oldest) = h->newer;
}

static void list_add(struct held_cache *cache, struct held *h)
{
	h->newer = NULL;
	h->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = h;
	cache->newest = h;
}

/* Takes it out of the cache; its reference is the caller's to put. */
static void cache_remove(struct held_cache *cache, struct held *h)
{
	struct held **p = bucket_of(cache, &h->version);

	while (*p != h)
		p = &(*p)->hash_next;
	*p = h->hash_next;
	list_remove(cache, h);
	cache->count--;
}

void held_cache_free(struct held_cache *cache)
{
	if (!cache)
		return;
	while (cache->newest) {
		struct held *h = cache->newest;

		cache_remove(cache, h);
		held_put(h);
	}
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static struct held *cache_find(struct held_cache *cache, const struct version *v)
{
	struct held *h = *bucket_of(cache, v);

	while (h && !version_equal(&h->version, v))
		h = h->hash_next;
	return h;
}

/* Is it still the file that was opened, as it was? This program's own changes drop it from the cache: here those are
 * found that somebody else makes. */
static bool still_same(struct held *h)
{
	int64_t now = now_ms();
	bool look = now - h->looked_ms >= LOOK_MS;
	struct stat st;

	if (look && fstat(h->fd, &st))
		return false;
	if (look)
		h->looked_ms = now;
	if (h->packed.file)
		return segments_same(chunks_segments(h->cache->chunks), &h->version, &h->packed, look ? &st : NULL);
	return !look || (st.st_nlink && st.st_size == h->st.st_size && st.st_ctim.tv_sec == h->st.st_ctim.tv_sec &&
			 st.st_ctim.tv_nsec == h->st.st_ctim.tv_nsec);
}

static int read_exact(const struct held *h, void *buf, size_t len, uint64_t offset)
{
	uint8_t *p = buf;

	offset += h->base;

	while (len) {
		ssize_t n = pread(h->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int read_head(struct held *h)
{
	uint8_t raw[FOOTER_SIZE];
	uint64_t end = h->length;
	char head[HEAD_MAX];
	struct footer f;

	if (end < FOOTER_SIZE || read_exact(h, raw, sizeof(raw), end - FOOTER_SIZE) ||
	    footer_decode(&f, raw, end) ||
	    read_exact(h, head, f.head_len, end - FOOTER_SIZE - f.head_len) ||
	    crc32c(0, head, f.head_len) != f.head_crc ||
	    manifest_decode(&h->manifest, head, f.head_len) || h->manifest.size != f.size ||
	    !version_equal(&h->manifest.version, &h->version))
		return -EBADMSG;
	h->checked = calloc(manifest_chunks(f.size) / 8 + 1, 1);
	return h->checked ? 0 : -ENOMEM;
}

/* A place in a segment, or a file of its own. */
static int open_data(struct held *h)
{
	struct chunks *c = h->cache->chunks;
	struct segments *segments = chunks_segments(c);
	char path[COMMIT_PATH];
	int rc;

	/* A segment that was compacted between the two steps is somewhere else at the second try. */
	for (int tries = 0; tries < 3; tries++) {
		rc = segments_find(segments, &h->version, &h->packed);
		if (rc)
			break;
		segments_path(h->packed.place.segment, path, sizeof(path));
		h->fd = openat(chunks_root(c), path, O_RDONLY | O_CLOEXEC);
		if (h->fd >= 0)
			break;
		rc = -errno;
		segment_file_put(h->packed.file);
		h->packed.file = NULL;
	}
	if (rc == -ENOENT) {
		h->fd = openat(chunks_root(c), chunks_path(&h->version, path), O_RDONLY | O_CLOEXEC);
		rc = h->fd < 0 ? -errno : 0;
	}
	if (!rc && fstat(h->fd, &h->st))
		rc = -errno;
	if (rc)
		return rc;
	h->length = (uint64_t)h->st.st_size;
	if (h->packed.file) {
		h->base = h->packed.place.offset + SEGMENT_HEADER;
		h->length = h->packed.place.length;
	}
	return 0;
}

static int held_open(struct held_cache *cache, const struct version *v, struct held **out)
{
	struct held *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->cache = cache;
	h->version = *v;
	h->fd = -1;
	pthread_mutex_init(&h->lock, NULL);
	h->refs = 1;
	rc = open_data(h);
	if (!rc)
		rc = read_head(h);
	if (rc) {
		held_free(h);
		return rc;
	}
	*out = h;
	return 0;
}

/* Adds an opened one; when another thread was faster, its is used. Returns with a reference for the
 * caller; *drop is to be put without the lock. */
static struct held *cache_add(struct held_cache *cache, struct held *h, struct held **drop)
{
	struct held *other = cache_find(cache, &h->version), **bucket;

	if (other) {
		*drop = h;
		h = other;
	} else {
		bucket = bucket_of(cache, &h->version);
		h->hash_next = *bucket;
		*bucket = h;
		list_add(cache, h);
		if (++cache->count > cache->max) {
			*drop = cache->oldest;
			cache_remove(cache, *drop);
		}
	}
	atomic_fetch_add(&h->refs, 1);
	return h;
}

struct held *held_hot(struct held_cache *cache, const struct version *v)
{
	struct held *h, *drop = NULL;

	pthread_mutex_lock(&cache->lock);
	h = cache_find(cache, v);
	if (h && !still_same(h)) {
		cache_remove(cache, h);
		drop = h;
		h = NULL;
	}
	if (h) {
		list_remove(cache, h);
		list_add(cache, h);
		atomic_fetch_add(&h->refs, 1);
	}
	pthread_mutex_unlock(&cache->lock);
	held_put(drop);
	return h;
}

int held_get(struct held_cache *cache, const struct version *v, struct held **out)
{
	struct held *h = held_hot(cache, v), *drop = NULL;
	int rc;

	if (h) {
		*out = h;
		return 0;
	}
	rc = held_open(cache, v, &h);
	if (rc)
		return rc;
	pthread_mutex_lock(&cache->lock);
	*out = cache_add(cache, h, &drop);
	pthread_mutex_unlock(&cache->lock);
	held_put(drop);
	return 0;
}

void held_drop(struct held_cache *cache, const struct version *v)
{
	struct held *h;

	pthread_mutex_lock(&cache->lock);
	h = cache_find(cache, v);
	if (h)
		cache_remove(cache, h);
	pthread_mutex_unlock(&cache->lock);
	held_put(h);
}

const struct manifest *held_manifest(const struct held *h)
{
	return &h->manifest;
}

uint64_t held_base(const struct held *h)
{
	return h->base;
}

int held_fd(const struct held *h)
{
	int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Are all pages of the range in the page cache? */
static bool resident(const struct held *h, uint64_t first, uint64_t len)
{
	static const size_t step = 64u << 20;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t at = (h->base + first) / page * page, end = h->base + first + len;
	unsigned char *vec = malloc(step / page);
	bool all = vec != NULL;

	while (all && at < end) {
		size_t n = end - at < step ? (size_t)(end - at) : step;
		void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, h->fd, (off_t)at);

		if (map == MAP_FAILED)
			break;
		all = !mincore(map, n, vec);
		for (size_t i = 0; all && i < (n + page - 1) / page; i++)
			all = vec[i] & 1;
		munmap(map, n);
		at += n;
	}
	free(vec);
	return all && at >= end;
}

static bool chunks_checked(const struct held *h, uint64_t first, uint64_t len)
{
	for (uint64_t n = first / CHUNK_SIZE; n <= (first + len - 1) / CHUNK_SIZE; n++)
		if (!(h->checked[n / 8] & 1u << n % 8))
			return false;
	return true;
}

bool held_ready(struct held *h, uint64_t first, uint64_t len)
{
	int64_t now = now_ms();
	bool ready;

	if (!len)
		return true;
	pthread_mutex_lock(&h->lock);
	ready = chunks_checked(h, first, len);
	if (ready && (now - h->resident_ms >= RESIDENT_MS || first < h->resident_first ||
		      first + len > h->resident_first + h->resident_len)) {
		ready = resident(h, first, len);
		if (ready) {
			h->resident_first = first;
			h->resident_len = len;
			h->resident_ms = now;
		} else {
			/* Some pages will come from the disk: which ones is not known for long. */
			for (uint64_t n = first / CHUNK_SIZE; n <= (first + len - 1) / CHUNK_SIZE;
			     n++)
				h->checked[n / 8] &= (uint8_t) ~(1u << n % 8);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return ready;
}

void *held_attached(struct held *h)
{
	void *thing;

	pthread_mutex_lock(&h->lock);
	thing = h->thing;
	pthread_mutex_unlock(&h->lock);
	return thing;
}

void *held_attach(struct held *h, void *thing, void (*free_thing)(void *))
{
	pthread_mutex_lock(&h->lock);
	if (!h->thing) {
		h->thing = thing;
		h->free_thing = free_thing;
	}
	thing = h->thing;
	pthread_mutex_unlock(&h->lock);
	return thing;
}

struct held_cursor *held_cursor_new(struct held *h)
{
	struct held_cursor *cur = malloc(sizeof(*cur));

	if (!cur)
		return NULL;
	atomic_fetch_add(&h->refs, 1);
	cur->held = h;
	cur->bad = cur->chunk = cur->block = UINT64_MAX;
	cur->checked = 0;
	cur->block_len = 0;
	return cur;
}

void held_cursor_free(struct held_cursor *cur)
{
	if (cur)
		held_put(cur->held);
	free(cur);
}

static int record_load(const struct held *h, uint64_t chunk, struct chunk_record *rec)
{
	uint64_t size = h->manifest.size;
	uint32_t len = chunk_length(size, chunk);
	uint8_t raw[RECORD_MAX];

	if (read_exact(h, raw, record_length(len), record_offset(size, chunk)))
		return -EBADMSG;
	return record_decode(rec, chunk, len, raw);
}

/* Brings a block into the cursor's buffer, checked. */
static int block_load(struct held_cursor *cur, uint64_t block)
{
	struct held *h = cur->held;
	uint64_t chunk = block / CHUNK_BLOCKS, at = block * BLOCK_SIZE;
	uint32_t len =
		h->manifest.size - at < BLOCK_SIZE ? (uint32_t)(h->manifest.size - at) : BLOCK_SIZE;
	unsigned int i = (unsigned int)(block % CHUNK_BLOCKS);

	cur->block = UINT64_MAX;
	if (cur->chunk != chunk) {
		cur->chunk = UINT64_MAX;
		cur->checked = 0;
		if (record_load(h, chunk, &cur->record))
			return -EBADMSG;
		cur->chunk = chunk;
	}
	if (read_exact(h, cur->buf, len, at) ||
	    crc32c(0, cur->buf, len) != cur->record.blocks[i]) {
		cur->chunk = UINT64_MAX; /* loaded anew after a repair */
		return -EBADMSG;
	}
	cur->block = block;
	cur->block_len = len;
	if (i != cur->checked)
		return 0;
	if (++cur->checked == chunk_blocks(chunk_length(h->manifest.size, chunk))) {
		pthread_mutex_lock(&h->lock);
		h->checked[chunk / 8] |= (uint8_t)(1u << chunk % 8);
		pthread_mutex_unlock(&h->lock);
	}
	return 0;
}

ssize_t held_read(struct held_cursor *cur, uint64_t pos, void *buf, size_t max)
{
	uint64_t block = pos / BLOCK_SIZE;
	uint32_t in = (uint32_t)(pos % BLOCK_SIZE);
	size_t n;

	if (pos >= cur->held->manifest.size)
		return 0;
	if (cur->block != block && block_load(cur, block)) {
		cur->bad = block / CHUNK_BLOCKS;
		return -EBADMSG;
	}
	n = cur->block_len - in < max ? cur->block_len - in : max;
	memcpy(buf, cur->buf + in, n);
	return (ssize_t)n;
}

int held_repair(struct held *h, uint64_t chunk, const void *data, uint32_t len)
{
	struct chunk_record rec;
	char path[COMMIT_PATH];
	const uint8_t *p = data;
	uint64_t at = h->base + chunk * CHUNK_SIZE;
	uint8_t sha256[32];
	int fd, rc = 0;

	if (len != chunk_length(h->manifest.size, chunk) || record_load(h, chunk, &rec))
		return -EBADMSG;
	sha256_once(data, len, sha256);
	if (memcmp(sha256, rec.sha256, 32))
		return -EBADMSG;
	if (h->packed.file)
		segments_path(h->packed.place.segment, path, sizeof(path));
	else
		chunks_path(&h->version, path);
	fd = openat(chunks_root(h->cache->chunks), path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len && !rc) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0)
			rc = -errno;
		else
			p += n, len -= (uint32_t)n, at += (uint64_t)n;
	}
	if (!rc && fdatasync(fd))
		rc = -errno;
	close(fd);
	return rc;
}
