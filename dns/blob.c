/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.c -- the writer: names compressed against the question and against each other, pointers that
 * move with the question's length remembered.
 */
#include "dns/blob.h"

#include <string.h>

#define POINTER 0xc000u
/* Highest offset that a pointer may name when the question grows to its longest. */
#define POINTER_MAX (0x3fffu - DNS_NAME_MAX)

static uint8_t *take(struct blob_writer *w, size_t len)
{
	uint8_t *p = w->body + w->len;

	if (w->overflow || len > sizeof(w->body) - w->len) {
		w->overflow = true;
		return NULL;
	}
	w->len += len;
	return p;
}

static size_t message_at(const struct blob_writer *w, size_t body_at)
{
	return DNS_HEADER_LEN + w->base_len + 4u + body_at;
}

static bool name_equal(const uint8_t *lower_name, const uint8_t *other, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = other[i];

		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c + 32);
		if (lower_name[i] != c)
			return false;
	}
	return true;
}

static void remember(struct blob_writer *w, size_t at, const uint8_t *name, size_t len)
{
	if (at > POINTER_MAX || w->nnames == BLOB_NAMES_MAX || len <= 1)
		return;
	w->names[w->nnames].at = (uint16_t)at;
	w->names[w->nnames].len = (uint8_t)len;
	w->names[w->nnames++].name = name;
}

void blob_start(struct blob_writer *w, enum blob_base base, const uint8_t *name, uint8_t len)
{
	size_t at = 0;

	w->base = base;
	w->base_len = len;
	w->overflow = false;
	w->nnames = 0;
	w->len = w->nshift = 0;
	/* The label "*" stands for what the client sends: only what follows can be pointed to. */
	if (base == BLOB_WILDCARD)
		at += 1u + name[0];
	for (; name[at]; at += 1u + name[at])
		remember(w, DNS_HEADER_LEN + at, name + at, len - at);
}

static uint16_t name_find(const struct blob_writer *w, const uint8_t *name, size_t len)
{
	for (unsigned int i = 0; i < w->nnames; i++) {
		const uint8_t *known = w->names[i].name;

		if (w->names[i].len != len)
			continue;
		/* Both may carry capitals: fold one side, compare folded. */
		uint8_t folded[DNS_NAME_MAX];

		memcpy(folded, known, len);
		dns_name_lower(folded, len);
		if (name_equal(folded, name, len))
			return w->names[i].at;
	}
	return 0;
}

uint16_t blob_name_at(const struct blob_writer *w, const uint8_t *name, size_t len)
{
	return name_find(w, name, len);
}

static void put_pointer(struct blob_writer *w, uint16_t to)
{
	size_t at = w->len;
	uint8_t *p = take(w, 2);

	if (!p)
		return;
	dns_put16(p, POINTER | to);
	/* The owner of an answer from a wildcard is the question itself, wherever that ends. */
	if (w->base == BLOB_EXACT || (w->base == BLOB_WILDCARD && to == BLOB_OWNER_QUESTION))
		return;
	w->shift[w->nshift++] = (uint16_t)at;
}

static void put_name(struct blob_writer *w, const uint8_t *name, size_t len, bool compress)
{
	while (len > 1) {
		uint16_t known = compress ? name_find(w, name, len) : 0;
		size_t step = 1u + *name;
		uint8_t *p;

		if (known) {
			put_pointer(w, known);
			return;
		}
		remember(w, message_at(w, w->len), name, len);
		p = take(w, step);
		if (!p)
			return;
		memcpy(p, name, step);
		name += step;
		len -= step;
	}
	uint8_t *root = take(w, 1);

	if (root)
		*root = 0;
}

static void put_bytes(struct blob_writer *w, const uint8_t *data, size_t len)
{
	uint8_t *p = take(w, len);

	if (p)
		memcpy(p, data, len);
}

/* Only the types of RFC 1035 may be compressed (RFC 3597 section 4). */
static void put_rdata(struct blob_writer *w, const struct dns_rr *rr)
{
	const uint8_t *p = rr->rdata;
	size_t len = rr->rdata_len, name;

	switch (rr->type) {
	case DNS_NS:
	case DNS_CNAME:
		put_name(w, p, len, true);
		return;
	case DNS_MX:
		put_bytes(w, p, 2);
		put_name(w, p + 2, len - 2, true);
		return;
	case DNS_SOA:
		for (int i = 0; i < 2; i++) {
			name = dns_name_len(p, len);
			put_name(w, p, name, true);
			p += name;
			len -= name;
		}
		break;
	}
	put_bytes(w, p, len);
}

/* What follows an owner: type, class IN, TTL, rdata with its length. */
static void put_record(struct blob_writer *w, const struct dns_rr *rr, uint32_t ttl)
{
	uint8_t *fixed = take(w, 10);
	size_t start = w->len;

	if (!fixed)
		return;
	dns_put16(fixed, rr->type);
	dns_put16(fixed + 2, 1);
	dns_put32(fixed + 4, ttl);
	put_rdata(w, rr);
	dns_put16(fixed + 8, (unsigned int)(w->len - start));
}

void blob_rrset(struct blob_writer *w, uint16_t owner, struct dns_rr *const *rr, size_t n,
		uint32_t ttl)
{
	for (size_t i = 0; i < n; i++) {
		put_pointer(w, owner);
		put_record(w, rr[i], ttl);
	}
}

void blob_rr_named(struct blob_writer *w, const struct dns_rr *rr, uint32_t ttl)
{
	put_name(w, rr->name, rr->name_len, true);
	put_record(w, rr, ttl);
}
