/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.c -- the path of a question: read, find the name, copy a blob, patch the header.
 */
#include "dns/query.h"

#include <string.h>

/* Which blob answers (RFC 1034 section 4.3.2, RFC 4592 section 3.3.1): the exact name; else, at the
 * closest encloser, a referral, the wildcard below it, or NXDOMAIN. NULL: no zone of ours. */
static const struct dns_blob *find_blob(const struct dns_table *t, const struct dns_question *q)
{
	unsigned int deepest = dns_table_labels(t), label = 0;
	const struct dns_node *node = NULL;

	/* Names longer than any in the table cannot match exactly. */
	if (q->labels > deepest)
		label = q->labels - deepest;
	for (; label <= q->labels; label++) {
		size_t at = q->label_at[label];

		node = dns_table_find(t, q->qname + at, q->qname_len - at);
		if (node)
			break;
	}
	if (!node)
		return NULL;
	if (label > 0) {
		if (node->cut)
			return node->other;
		node = node->wildcard;
		if (!node)
			return dns_table_find(t, q->qname + q->label_at[label],
					      q->qname_len - q->label_at[label])
				->zone->nxdomain;
	}
	if (node->cut && q->qtype != DNS_DS)
		return node->other;
	for (unsigned int i = 0; i < node->ntypes; i++)
		if (node->types[i].type == q->qtype)
			return node->types[i].blob;
	if (q->qtype == DNS_ANY)
		return dns_table_any(t);
	return node->cut ? node->zone->nodata : node->other;
}

/* The header, in place: id, opcode, RD and CD stay the client's (RFC 1035 section 4.1.1). */
static void put_header(uint8_t *msg, const struct dns_question *q, unsigned int set,
		       unsigned int rcode, bool question)
{
	unsigned int keep = q->flags & (0x7800u | DNS_FLAG_RD | DNS_FLAG_CD);

	dns_put16(msg + 2, DNS_FLAG_QR | keep | set | (rcode & 0xf));
	dns_put16(msg + 4, question);
	memset(msg + 6, 0, 6);
}

static size_t put_opt(uint8_t *msg, size_t at, const struct dns_question *q, unsigned int rcode)
{
	uint8_t *p = msg + at;

	if (!q->edns)
		return at;
	p[0] = 0;
	dns_put16(p + 1, DNS_OPT);
	dns_put16(p + 3, DNS_UDP_EDNS);
	p[5] = (uint8_t)(rcode >> 4);
	p[6] = 0;
	p[7] = q->dnssec_ok ? 0x80 : 0;
	p[8] = p[9] = p[10] = 0;
	dns_put16(msg + 10, dns_get16(msg + 10) + 1u);
	return at + DNS_OPT_LEN;
}

/* Without records: errors and truncated answers. */
static size_t answer_bare(uint8_t *msg, const struct dns_question *q, unsigned int flags,
			  unsigned int rcode)
{
	size_t at = DNS_HEADER_LEN + (q->qname_len ? q->qname_len + 4u : 0);

	put_header(msg, q, flags, rcode, q->qname_len > 0);
	return put_opt(msg, at, q, rcode);
}

static size_t answer_limit(const struct dns_question *q, size_t room, enum dns_transport transport)
{
	size_t limit = DNS_UDP_PLAIN;

	if (transport == DNS_TCP)
		return room < DNS_TCP_MAX ? room : DNS_TCP_MAX;
	if (q->edns && q->udp_size > limit)
		limit = q->udp_size < DNS_UDP_EDNS ? q->udp_size : DNS_UDP_EDNS;
	return limit < room ? limit : room;
}

/* Appends the drawn site's addresses. */
static size_t put_choice(uint8_t *p, const struct pick_choice *choice, uint16_t type, uint32_t ttl,
			 size_t owner)
{
	size_t size = type == DNS_A ? 4 : 16;
	uint8_t *start = p;

	for (unsigned int i = 0; i < choice->n; i++, p += 12 + size) {
		dns_put16(p, 0xc000u | (unsigned int)owner);
		dns_put16(p + 2, type);
		dns_put16(p + 4, 1);
		dns_put32(p + 6, ttl);
		dns_put16(p + 10, (unsigned int)size);
		memcpy(p + 12, choice->rdata[i], size);
	}
	return (size_t)(p - start);
}

/* The addresses for a steered blob, or NULL when nothing is known of the name. */
static const struct pick_choice *draw_choice(const struct steering *steering,
					     const struct dns_blob *blob, uint16_t type,
					     uint32_t *sequence, uint32_t *ttl)
{
	const struct steer_name *name;

	if (!steering || (unsigned int)blob->steer >= steering->n)
		return NULL;
	name = &steering->name[blob->steer];
	*ttl = name->ttl;
	return pick_choose(type == DNS_A ? &name->v4 : &name->v6, pick_draw(sequence));
}

/* The blob behind the question; pointers that depend on the question's length are moved. */
static size_t put_blob(uint8_t *msg, const struct dns_question *q, const struct dns_blob *blob,
		       const struct pick_choice *choice, uint32_t ttl)
{
	size_t at = DNS_HEADER_LEN + q->qname_len + 4u;
	unsigned int delta = q->qname_len - (unsigned int)blob->base_len;
	uint8_t *body = msg + at;

	put_header(msg, q, blob->authoritative ? DNS_FLAG_AA : 0, blob->rcode, true);
	dns_put16(msg + 6, blob->answers + (choice ? choice->n : 0u));
	dns_put16(msg + 8, blob->authority);
	dns_put16(msg + 10, blob->additional);
	memcpy(body, blob->body, blob->len);
	if (delta)
		for (unsigned int i = 0; i < blob->nshift; i++) {
			uint8_t *p = body + blob->shift[i];

			dns_put16(p, dns_get16(p) + delta);
		}
	at += blob->len;
	if (choice) {
		size_t owner =
			blob->steer_owner + (blob->steer_owner == DNS_HEADER_LEN ? 0 : delta);

		at += put_choice(msg + at, choice, q->qtype, ttl, owner);
	}
	return put_opt(msg, at, q, blob->rcode);
}

static size_t answer_question(const struct dns_view *view, const struct dns_question *q,
			      uint8_t *msg, size_t limit, uint32_t *sequence,
			      struct dns_answered *what)
{
	bool refused = q->qclass != 1 || (q->qtype >= DNS_TKEY && q->qtype <= DNS_MAILA);
	const struct dns_blob *blob = refused ? NULL : find_blob(view->table, q);
	const struct pick_choice *choice = NULL;
	uint32_t ttl = 0;
	size_t need;

	if (!blob || blob->rcode == DNS_SERVFAIL) {
		what->rcode = blob ? DNS_SERVFAIL : DNS_REFUSED;
		return answer_bare(msg, q, 0, what->rcode);
	}
	if (blob->steer >= 0) {
		choice = draw_choice(view->steering, blob, q->qtype, sequence, &ttl);
		if (!choice)
			blob = blob->unsteered;
	}
	what->rcode = blob->rcode;
	need = DNS_HEADER_LEN + q->qname_len + 4u + blob->len + (q->edns ? DNS_OPT_LEN : 0) +
	       (choice ? choice->n * (q->qtype == DNS_A ? 16u : 28u) : 0);
	if (need > limit) {
		what->truncated = true;
		return answer_bare(msg, q, DNS_FLAG_TC | (blob->authoritative ? DNS_FLAG_AA : 0),
				   blob->rcode);
	}
	return put_blob(msg, q, blob, choice, ttl);
}

size_t dns_answer(const struct dns_view *view, uint8_t *msg, size_t len, size_t room,
		  enum dns_transport transport, uint32_t *sequence, struct dns_answered *what)
{
	struct dns_question q;
	enum dns_rcode rcode = DNS_NOERROR;
	enum dns_ask ask = dns_question_read(&q, msg, len, &rcode);

	*what = (struct dns_answered){ .rcode = (uint8_t)rcode };
	if (ask == DNS_ASK_IGNORE)
		return 0;
	if (q.qname_len)
		what->qtype = q.qtype;
	if (ask == DNS_ASK_ERROR)
		return answer_bare(msg, &q, 0, rcode);
	return answer_question(view, &q, msg, answer_limit(&q, room, transport), sequence, what);
}
