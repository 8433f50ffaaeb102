// SPDX-License-Identifier: Apache-2.0
/* mapcopy.c -- maps read and written in batches (see mapcopy.h). */
#include "user/agent/mapcopy.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH	   8192
#define ERR_NO_SUP 524 /* the kernel's ENOTSUPP, of maps without batches */

bool mapcopy_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

bool mapcopy_is_stream(uint32_t type)
{
	return type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY;
}

static bool is_array(uint32_t type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool is_lru(uint32_t type)
{
	return type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* Arrays, hashes and LRU hashes turn into each other; a trie stays a trie. */
bool mapcopy_convertible(uint32_t old_type, uint32_t new_type)
{
	static const uint32_t single[] = { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH,
					   BPF_MAP_TYPE_LRU_HASH };
	static const uint32_t per_cpu[] = { BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH,
					    BPF_MAP_TYPE_LRU_PERCPU_HASH };
	bool a = false, b = false, c = false, d = false;

	for (int i = 0; i < 3; i++) {
		a |= old_type == single[i];
		b |= new_type == single[i];
		c |= old_type == per_cpu[i];
		d |= new_type == per_cpu[i];
	}
	/* A hash's entries have no place in an array. */
	if (is_array(new_type) && !is_array(old_type))
		return false;
	return (a && b) || (c && d) ||
	       (old_type == BPF_MAP_TYPE_LPM_TRIE && new_type == BPF_MAP_TYPE_LPM_TRIE);
}

size_t mapcopy_stride(const struct bpf_map_info *info)
{
	int cpus = libbpf_num_possible_cpus();

	if (!mapcopy_per_cpu(info->type))
		return info->value_size;
	return ((size_t)info->value_size + 7) / 8 * 8 * (size_t)(cpus > 0 ? cpus : 1);
}

void mapcopy_clear(struct mapcopy *c)
{
	free(c->keys);
	free(c->values);
	memset(c, 0, sizeof(*c));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Room for `more` entries behind those that are there. */
static int room(struct mapcopy *c, size_t *have, size_t more)
{
	size_t want = c->n + more;
	uint8_t *keys, *values;

	if (want <= *have)
		return 0;
	want = want < 2 * *have ? 2 * *have : want;
	keys = realloc(c->keys, want * c->info.key_size);
	if (keys)
		c->keys = keys;
	values = realloc(c->values, want * c->stride);
	if (values)
		c->values = values;
	if (!keys || !values)
		return -ENOMEM;
	*have = want;
	return 0;
}

static int read_batches(int fd, struct mapcopy *c)
{
	uint32_t batch = BATCH;
	size_t have = 0;
	uint8_t token[512];
	bool first = true;

	for (;;) {
		uint32_t n = batch;
		int rc = room(c, &have, n);

		if (!rc && bpf_map_lookup_batch(fd, first ? NULL : token, token,
						c->keys + (size_t)c->n * c->info.key_size,
						c->values + (size_t)c->n * c->stride, &n, NULL))
			rc = -errno;
		if (rc == -ENOSPC) { /* a bucket that is longer than the batch */
			batch *= 2;
			continue;
		}
		if (rc && rc != -ENOENT)
			return rc;
		c->n += n;
		if (rc == -ENOENT)
			return 0;
		first = false;
	}
}

static int read_singly(int fd, struct mapcopy *c)
{
	uint8_t *from = NULL;
	size_t have = 0;

	for (;;) {
		int rc = room(c, &have, 1);
		uint8_t *key;

		if (rc)
			return rc;
		key = c->keys + (size_t)c->n * c->info.key_size;
		from = c->n ? key - c->info.key_size : NULL;
		if (bpf_map_get_next_key(fd, from, key))
			return errno == ENOENT ? 0 : -errno;
		if (bpf_map_lookup_elem(fd, key, c->values + (size_t)c->n * c->stride)) {
			if (errno != ENOENT)
				return -errno;
			memset(c->values + (size_t)c->n * c->stride, 0, c->stride);
		}
		c->n++;
	}
}

int mapcopy_read(int fd, struct mapcopy *out)
{
	uint32_t len = sizeof(out->info);
	int rc;

	memset(out, 0, sizeof(*out));
	if (bpf_obj_get_info_by_fd(fd, &out->info, &len))
		return -errno;
	if (out->info.key_size > 512)
		return -ENOTSUP;
	out->stride = mapcopy_stride(&out->info);
	rc = read_batches(fd, out);
	if (!out->n && (rc == -ERR_NO_SUP || rc == -ENOTSUP || rc == -EINVAL))
		rc = read_singly(fd, out);
	if (rc)
		mapcopy_clear(out);
	return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One value into a map of another length: each CPU's part by itself. */
static void stretch(uint8_t *to, size_t to_size, const uint8_t *from, const struct bpf_map_info *old)
{
	size_t parts = 1, old_step = old->value_size, new_step = to_size;

	if (mapcopy_per_cpu(old->type)) {
		old_step = (old_step + 7) / 8 * 8;
		new_step = (new_step + 7) / 8 * 8;
		parts = mapcopy_stride(old) / old_step;
	}
	memset(to, 0, parts * new_step);
	for (size_t i = 0; i < parts; i++)
		memcpy(to + i * new_step, from + i * old_step, old->value_size);
}

static int write_batches(int fd, const struct bpf_map_info *info, const uint8_t *keys,
			 const uint8_t *values, size_t stride, uint32_t n)
{
	for (uint32_t at = 0; at < n;) {
		uint32_t part = n - at < BATCH ? n - at : BATCH;

		if (bpf_map_update_batch(fd, keys + (size_t)at * info->key_size,
					 values + at * stride, &part, NULL)) {
			int rc = -errno;

			if (rc != -ERR_NO_SUP && rc != -ENOTSUP && rc != -EINVAL)
				return rc;
			break;
		}
		at += part;
		if (at == n)
			return 0;
	}
	/* Maps without batches, and what a batch cannot do. */
	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_update_elem(fd, keys + (size_t)i * info->key_size, values + i * stride,
					BPF_ANY))
			return -errno;
	return 0;
}

static uint32_t fitting(const struct mapcopy *c, const struct bpf_map_info *info)
{
	if (is_array(info->type) || is_lru(info->type))
		return c->n < info->max_entries ? c->n : info->max_entries;
	return c->n;
}

int mapcopy_write(int fd, const struct mapcopy *c)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), n;
	uint8_t *values;
	size_t stride;
	int rc;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	n = fitting(c, &info);
	stride = mapcopy_stride(&info);
	values = malloc(n ? n * stride : 1);
	if (!values)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		stretch(values + i * stride, info.value_size, c->values + i * c->stride, &c->info);
	rc = n ? write_batches(fd, &info, c->keys, values, stride, n) : 0;
	free(values);
	return rc;
}

/* ---- catching up ----------------------------------------------------------------------------- */

static _Thread_local size_t sort_size;

static int by_key(const void *a, const void *b)
{
	return memcmp(*(uint8_t *const *)a, *(uint8_t *const *)b, sort_size);
}

/* Pointers to the keys in their order; the value belongs to the same place. */
static uint8_t **sorted(const struct mapcopy *c)
{
	uint8_t **order = malloc((c->n ? c->n : 1) * sizeof(*order));

	for (uint32_t i = 0; order && i < c->n; i++)
		order[i] = c->keys + (size_t)i * c->info.key_size;
	sort_size = c->info.key_size;
	if (order)
		qsort(order, c->n, sizeof(*order), by_key);
	return order;
}

static const uint8_t *value_of(const struct mapcopy *c, const uint8_t *key)
{
	return c->values + (size_t)(key - c->keys) / c->info.key_size * c->stride;
}

/* What a CPU counted with the old program since the first reading comes on top of what it has counted with
 * the new one. All words of per-CPU maps that are copied are counters of 64 bits. */
static int add_difference(int fd, const struct bpf_map_info *info, const uint8_t *key,
			  const uint8_t *before, const uint8_t *after, const struct mapcopy *c)
{
	size_t stride = mapcopy_stride(info), step = (info->value_size + 7) / 8;
	size_t old_step = (c->info.value_size + 7) / 8, parts = c->stride / 8 / old_step;
	uint64_t *now = malloc(stride), was, is;
	int rc = now ? 0 : -ENOMEM;

	if (!rc && bpf_map_lookup_elem(fd, key, now))
		rc = -errno;
	for (size_t cpu = 0; !rc && cpu < parts; cpu++) {
		for (size_t w = 0; w < old_step && w < step; w++) {
			memcpy(&was, before + 8 * (cpu * old_step + w), 8);
			memcpy(&is, after + 8 * (cpu * old_step + w), 8);
			now[cpu * step + w] += is - was;
		}
	}
	if (!rc && bpf_map_update_elem(fd, key, now, BPF_ANY))
		rc = -errno;
	free(now);
	return rc;
}

static int catch_up_one(int fd, const struct bpf_map_info *info, const struct mapcopy *c,
			const uint8_t *key, const uint8_t *before, const uint8_t *after)
{
	uint8_t value[4096];
	int rc;

	if (is_array(info->type) && *(const uint32_t *)key >= info->max_entries)
		return 0;
	if (mapcopy_per_cpu(info->type))
		return before && info->value_size % 8 == 0
			       ? add_difference(fd, info, key, before, after, c)
			       : 0;
	if (info->value_size > sizeof(value))
		return -E2BIG;
	stretch(value, info->value_size, after, &c->info);
	/* What the new program has made itself is newer. */
	rc = bpf_map_update_elem(fd, key, value, before ? BPF_ANY : BPF_NOEXIST) ? -errno : 0;
	return rc == -EEXIST || rc == -E2BIG ? 0 : rc;
}

/* The value that key, the i-th of the later reading, had in the earlier one; NULL: it was not there. Arrays are read in
 * the order of their keys: a million of ports needs no sorting. */
static const uint8_t *value_before(const struct mapcopy *before, uint8_t ***order, uint32_t i, const uint8_t *key)
{
	size_t size = before->info.key_size;
	uint8_t **found;

	if (i < before->n && !memcmp(before->keys + i * size, key, size))
		return before->values + i * before->stride;
	if (!*order)
		*order = sorted(before);
	found = *order ? bsearch(&key, *order, before->n, sizeof(**order), by_key) : NULL;
	return found ? value_of(before, *found) : NULL;
}

int mapcopy_catch_up(int fd, struct mapcopy *before, struct mapcopy *after)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	uint8_t **order = is_array(before->info.type) ? NULL : sorted(before);
	int done = 0, rc = order || is_array(before->info.type) ? 0 : -ENOMEM;

	if (!rc && bpf_obj_get_info_by_fd(fd, &info, &len))
		rc = -errno;
	for (uint32_t i = 0; !rc && i < after->n; i++) {
		uint8_t *key = after->keys + (size_t)i * after->info.key_size;
		const uint8_t *was = value_before(before, &order, i, key), *is = after->values + i * after->stride;

		if (was && !memcmp(was, is, after->stride))
			continue;
		rc = catch_up_one(fd, &info, after, key, was, is);
		done += !rc;
	}
	free(order);
	return rc ? rc : done;
}

uint32_t mapcopy_used_from(const struct mapcopy *c, uint32_t index)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		const uint8_t *value = c->values + i * c->stride;

		if (*(const uint32_t *)(c->keys + (size_t)i * c->info.key_size) < index)
			continue;
		used += value[0] || memcmp(value, value + 1, c->stride - 1);
	}
	return used;
}
