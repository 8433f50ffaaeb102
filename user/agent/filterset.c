/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filterset.c -- lists and limits into the maps (see filterset.h).
 *
 * The hints may say "perhaps" too often, never too seldom: a new list's bits are set before its trie
 * comes into force, the old list's are cleared after it.
 */
#include "user/agent/filterset.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/agent/maps.h"

#define HINT_WORDS (WEIR_HINT4_WORDS + WEIR_HINT6_WORDS)
#define HINT_BYTES (HINT_WORDS * sizeof(uint64_t))
#define BATCH	   1024

struct tries {
	int four, six;
	uint32_t entries4, entries6;
};

struct filterset {
	struct filterset_fds fds;
	uint64_t *hints;     /* the map itself */
	uint64_t *gathering; /* the new list's */
	struct tries live, next; /* -1: none yet */
};

/* ---- hints ------------------------------------------------------------------------------------- */

static void bit_set(uint64_t *words, uint32_t bit)
{
	__atomic_fetch_or(&words[bit >> 6], 1ull << (bit & 63), __ATOMIC_RELAXED);
}

static void hint4_add(uint64_t *words, uint32_t first, uint8_t len)
{
	uint32_t n = len >= 24 ? 1 : 1u << (24 - len), bit = weir_hint4(first) & ~(n - 1);

	for (; n >= 64 && !(bit & 63); n -= 64, bit += 64)
		__atomic_store_n(&words[bit >> 6], ~0ull, __ATOMIC_RELAXED);
	for (; n; n--, bit++)
		bit_set(words, bit);
}

static void hint6_add(uint64_t *words, uint32_t first, uint32_t next, uint8_t len)
{
	if (len >= 48) {
		bit_set(words, weir_hint6(first, next));
	} else if (len >= WEIR_HINT6_SHORT) {
		for (uint32_t i = 0; i < (len >= 32 ? 1 : 1u << (32 - len)); i++)
			bit_set(words, weir_hint6(first + i, 0x10000));
	} else {
		for (uint32_t i = WEIR_HINT4_WORDS; i < HINT_WORDS; i++)
			__atomic_store_n(&words[i], ~0ull, __ATOMIC_RELAXED);
	}
}

static uint32_t address_word(const struct filterset_entry *e, int i)
{
	uint32_t word;

	memcpy(&word, e->addr + 4 * i, sizeof(word));
	return ntohl(word);
}

static void hint_add(uint64_t *words, const struct filterset_entry *e)
{
	if (e->family == WEIR_FAMILY_4)
		hint4_add(words, address_word(e, 0), e->len);
	else
		hint6_add(words, address_word(e, 0), address_word(e, 1) >> 16, e->len);
}

/* ---- tries -------------------------------------------------------------------------------------- */

/* A prefix has one spelling: with host bits there would be two, and hints beyond it. */
static bool host_bits(const struct filterset_entry *e)
{
	unsigned int bits = e->family == WEIR_FAMILY_4 ? 32 : 128;

	for (unsigned int i = e->len; i < bits; i++)
		if (e->addr[i / 8] & (0x80 >> i % 8))
			return true;
	return false;
}

static bool entry_ok(const struct filterset_entry *e, bool removal)
{
	if (e->family != WEIR_FAMILY_4 && e->family != WEIR_FAMILY_6)
		return false;
	if (e->len > (e->family == WEIR_FAMILY_4 ? 32 : 128) || e->verdict > WEIR_VERDICT_ALLOW ||
	    host_bits(e))
		return false;
	return removal || e->verdict != WEIR_VERDICT_NONE;
}

static void tries_close(struct tries *t)
{
	if (t->four >= 0)
		close(t->four);
	if (t->six >= 0)
		close(t->six);
	*t = (struct tries){ -1, -1, 0, 0 };
}

static int trie_make(const char *name, uint32_t key_size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, name, key_size, sizeof(uint32_t),
				WEIR_FILTER_MAX, &opts);

	return fd < 0 ? -errno : fd;
}

int filterset_begin(struct filterset *fs)
{
	int rc;

	tries_close(&fs->next);
	memset(fs->gathering, 0, HINT_BYTES);
	rc = fs->next.four = trie_make("filter4_trie", sizeof(struct weir_prefix4));
	if (rc >= 0)
		rc = fs->next.six = trie_make("filter6_trie", sizeof(struct weir_prefix));
	if (rc < 0)
		tries_close(&fs->next);
	return rc < 0 ? rc : 0;
}

/* Up to BATCH entries of one family at once: a system call for each would take three times as long. */
struct batch {
	union {
		struct weir_prefix4 four[BATCH];
		struct weir_prefix six[BATCH];
	} key;
	uint32_t verdict[BATCH];
	uint32_t n;
};

static int batch_flush(struct batch *b, int trie, uint32_t *entries)
{
	uint32_t n = b->n;

	b->n = 0;
	if (n && bpf_map_update_batch(trie, &b->key, b->verdict, &n, NULL))
		return -errno;
	*entries += n;
	return 0;
}

static int put_family(struct filterset *fs, uint8_t family, const struct filterset_entry *e, size_t n)
{
	bool is4 = family == WEIR_FAMILY_4;
	int trie = is4 ? fs->next.four : fs->next.six, rc = 0;
	uint32_t *entries = is4 ? &fs->next.entries4 : &fs->next.entries6;
	static struct batch b;

	b.n = 0;
	for (size_t i = 0; !rc && i < n; i++) {
		if (e[i].family != family)
			continue;
		if (is4) {
			b.key.four[b.n].bits = e[i].len;
			memcpy(&b.key.four[b.n].addr, e[i].addr, 4);
		} else {
			b.key.six[b.n].bits = e[i].len;
			memcpy(b.key.six[b.n].addr, e[i].addr, 16);
		}
		b.verdict[b.n++] = e[i].verdict;
		if (b.n == BATCH)
			rc = batch_flush(&b, trie, entries);
	}
	return rc ? rc : batch_flush(&b, trie, entries);
}

int filterset_put(struct filterset *fs, const struct filterset_entry *e, size_t n)
{
	int rc;

	if (fs->next.four < 0)
		return -ENOENT;
	for (size_t i = 0; i < n; i++)
		if (!entry_ok(&e[i], false))
			return -EBADMSG;
	if (n > WEIR_FILTER_MAX - fs->next.entries4 || n > WEIR_FILTER_MAX - fs->next.entries6)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++)
		hint_add(fs->gathering, &e[i]);
	rc = put_family(fs, WEIR_FAMILY_4, e, n);
	return rc ? rc : put_family(fs, WEIR_FAMILY_6, e, n);
}

static int lists_on(const struct filterset *fs)
{
	bool some = fs->live.entries4 + fs->live.entries6 > 0;

	return mapset_on(fs->fds.settings, some ? WEIR_ON_BLOCK : 0, some ? 0 : WEIR_ON_BLOCK);
}

static void hints_cover(struct filterset *fs)
{
	for (size_t i = 0; i < HINT_WORDS; i++)
		if (fs->gathering[i] & ~fs->hints[i])
			__atomic_fetch_or(&fs->hints[i], fs->gathering[i], __ATOMIC_SEQ_CST);
}

static void hints_narrow(struct filterset *fs)
{
	for (size_t i = 0; i < HINT_WORDS; i++)
		if (fs->hints[i] != fs->gathering[i])
			__atomic_store_n(&fs->hints[i], fs->gathering[i], __ATOMIC_RELAXED);
}

int filterset_commit(struct filterset *fs)
{
	uint32_t zero = 0;
	int rc;

	if (fs->next.four < 0)
		return -ENOENT;
	hints_cover(fs);
	if (bpf_map_update_elem(fs->fds.filter4, &zero, &fs->next.four, BPF_ANY) ||
	    bpf_map_update_elem(fs->fds.filter6, &zero, &fs->next.six, BPF_ANY))
		return -errno; /* the bits that are set too many cost time, no more */
	hints_narrow(fs);
	tries_close(&fs->live);
	fs->live = fs->next;
	fs->next = (struct tries){ -1, -1, 0, 0 };
	rc = lists_on(fs);
	return rc;
}

static int change_one(int trie, const void *key, const struct filterset_entry *e, uint32_t *entries)
{
	uint32_t verdict = e->verdict;

	if (verdict != WEIR_VERDICT_NONE) {
		if (bpf_map_update_elem(trie, key, &verdict, BPF_ANY))
			return -errno;
		*entries += !e->replaces;
		return 0;
	}
	if (bpf_map_delete_elem(trie, key))
		return errno == ENOENT ? 0 : -errno;
	(*entries)--;
	return 0;
}

int filterset_change(struct filterset *fs, const struct filterset_entry *e, size_t n)
{
	int rc = fs->live.four < 0 ? -ENOENT : 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = entry_ok(&e[i], true) ? 0 : -EBADMSG;
	for (size_t i = 0; !rc && i < n; i++) {
		struct weir_prefix4 four = { .bits = e[i].len };
		struct weir_prefix six = { .bits = e[i].len };

		memcpy(&four.addr, e[i].addr, 4);
		memcpy(six.addr, e[i].addr, 16);
		if (e[i].verdict != WEIR_VERDICT_NONE)
			hint_add(fs->hints, &e[i]);
		rc = e[i].family == WEIR_FAMILY_4
			     ? change_one(fs->live.four, &four, &e[i], &fs->live.entries4)
			     : change_one(fs->live.six, &six, &e[i], &fs->live.entries6);
	}
	return rc ? rc : lists_on(fs);
}

int filterset_lookup(struct filterset *fs, const struct filterset_entry *address)
{
	bool is4 = address->family == WEIR_FAMILY_4;
	struct weir_prefix4 four = { .bits = 32 };
	struct weir_prefix six = { .bits = 128 };
	uint32_t verdict;

	if (fs->live.four < 0)
		return -ENOENT;
	memcpy(&four.addr, address->addr, 4);
	memcpy(six.addr, address->addr, 16);
	if (bpf_map_lookup_elem(is4 ? fs->live.four : fs->live.six,
				is4 ? (const void *)&four : (const void *)&six, &verdict))
		return errno == ENOENT ? WEIR_VERDICT_NONE : -errno;
	return (int)verdict;
}

/* ---- limits ------------------------------------------------------------------------------------- */

int filterset_limits(struct filterset *fs, const struct weir_limits *limits)
{
	uint32_t zero = 0;

	if (!limits)
		return mapset_on(fs->fds.settings, 0, WEIR_ON_LIMIT);
	if (limits->bits4 > 32 || limits->bits6 > 64)
		return -EINVAL;
	if (bpf_map_update_elem(fs->fds.limits, &zero, limits, BPF_ANY))
		return -errno;
	return mapset_on(fs->fds.settings, WEIR_ON_LIMIT, 0);
}

static uint64_t total(const __u64 dropped[WEIR_CLASSES])
{
	return dropped[WEIR_CLASS_SYN] + dropped[WEIR_CLASS_UDP] + dropped[WEIR_CLASS_DNS];
}

/* Into the list of the worst, when it belongs there. Returns how many are in it now. */
static size_t top_add(struct filterset_top *out, size_t n, size_t max, const struct filterset_top *t)
{
	size_t at = n < max ? n : max - 1;

	if (n == max && total(t->dropped) <= total(out[at].dropped))
		return n;
	for (; at && total(out[at - 1].dropped) < total(t->dropped); at--)
		out[at] = out[at - 1];
	out[at] = *t;
	return n < max ? n + 1 : n;
}

static int shared_read(struct filterset *fs, struct weir_shared *shared)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(fs->fds.shared, &zero, shared) ? -errno : 0;
}

int filterset_top(struct filterset *fs, struct filterset_top *out, size_t max)
{
	struct weir_bucket_key key[256];
	struct weir_bucket value[256];
	struct weir_shared shared;
	struct weir_limits limits;
	uint32_t zero = 0, cursor = 0, *from = NULL, n;
	size_t found = 0;
	int rc = shared_read(fs, &shared);

	if (rc || bpf_map_lookup_elem(fs->fds.limits, &zero, &limits) || !max)
		return rc ? rc : -errno;
	if (total(shared.strangers.dropped)) {
		struct filterset_top t = { 0 };

		memcpy(t.dropped, shared.strangers.dropped, sizeof(t.dropped));
		found = top_add(out, found, max, &t);
	}
	do {
		n = 256;
		rc = bpf_map_lookup_batch(fs->fds.buckets, from, &cursor, key, value, &n, NULL);
		if (rc && errno != ENOENT)
			return -errno;
		from = &cursor;
		for (uint32_t i = 0; i < n; i++) {
			struct filterset_top t = { .family = (uint8_t)key[i].family };

			if (!total(value[i].dropped))
				continue;
			t.len = t.family == WEIR_FAMILY_4 ? limits.bits4 : limits.bits6;
			memcpy(t.addr, key[i].addr, sizeof(key[i].addr));
			memcpy(t.dropped, value[i].dropped, sizeof(t.dropped));
			found = top_add(out, found, max, &t);
		}
	} while (!rc);
	return (int)found;
}

int filterset_state(struct filterset *fs, struct filterset_state *out)
{
	struct weir_settings s;
	struct weir_shared shared;
	uint32_t zero = 0;
	int rc = shared_read(fs, &shared);

	if (!rc && bpf_map_lookup_elem(fs->fds.settings, &zero, &s))
		rc = -errno;
	if (rc)
		return rc;
	*out = (struct filterset_state){
		.entries4 = fs->live.entries4,
		.entries6 = fs->live.entries6,
		.list_on = !!(s.on & WEIR_ON_BLOCK),
		.limits_on = !!(s.on & WEIR_ON_LIMIT),
		.made = shared.made,
	};
	memcpy(out->strangers, shared.strangers.dropped, sizeof(out->strangers));
	return 0;
}

/* ---- open and close ------------------------------------------------------------------------------ */

int filterset_open(struct filterset **out, const struct filterset_fds *fds)
{
	struct filterset *fs = calloc(1, sizeof(*fs));
	int err;

	if (!fs)
		return -ENOMEM;
	fs->fds = *fds;
	fs->live = fs->next = (struct tries){ -1, -1, 0, 0 };
	fs->gathering = calloc(1, HINT_BYTES);
	fs->hints = mmap(NULL, HINT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds->hints, 0);
	if (fs->gathering && fs->hints != MAP_FAILED) {
		*out = fs;
		return 0;
	}
	err = fs->gathering ? -errno : -ENOMEM;
	if (fs->hints == MAP_FAILED)
		fs->hints = NULL;
	filterset_close(fs);
	return err;
}

void filterset_close(struct filterset *fs)
{
	if (!fs)
		return;
	tries_close(&fs->live);
	tries_close(&fs->next);
	if (fs->hints)
		munmap(fs->hints, HINT_BYTES);
	free(fs->gathering);
	free(fs);
}
