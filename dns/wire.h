/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h -- DNS on the wire: names, the strict reading of one question, big-endian fields.
 *
 * Pure: bytes in, structs out; nothing allocates, logs or reads a clock. Names are in wire form
 * (RFC 1035 section 3.1), uncompressed, with the root's zero byte; a "lower" name has its ASCII
 * letters folded (RFC 4343).
 */
#ifndef WEIR_DNS_WIRE_H
#define WEIR_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX   255 /* bytes of a name, RFC 1035 section 3.1 */
#define DNS_LABEL_MAX  63
#define DNS_LABELS_MAX 127 /* of one byte each, without the root */
#define DNS_HEADER_LEN 12
#define DNS_OPT_LEN    11  /* an OPT record without options */
#define DNS_UDP_PLAIN  512 /* answer size for a client without EDNS, RFC 1035 section 4.2.1 */
#define DNS_UDP_EDNS                                                                               \
	1232 /* what we send and announce: fits any path unfragmented (DNS flag day 2020) */
#define DNS_TCP_MAX  65535
#define DNS_TEXT_MAX 1025 /* a name as text, every byte as \DDD, with terminator */

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_HINFO = 13,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_DNAME = 39,
	DNS_OPT = 41,
	DNS_DS = 43,
	DNS_TKEY = 249,
	DNS_TSIG = 250,
	DNS_IXFR = 251,
	DNS_AXFR = 252,
	DNS_MAILA = 254,
	DNS_ANY = 255,
	DNS_CAA = 257,
};

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16,
	DNS_RCODES = 17,
};

#define DNS_FLAG_QR 0x8000u
#define DNS_FLAG_AA 0x0400u
#define DNS_FLAG_TC 0x0200u
#define DNS_FLAG_RD 0x0100u
#define DNS_FLAG_CD 0x0010u

static inline uint16_t dns_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t dns_get32(const uint8_t *p)
{
	return (uint32_t)dns_get16(p) << 16 | dns_get16(p + 2);
}

static inline void dns_put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void dns_put32(uint8_t *p, uint32_t v)
{
	dns_put16(p, v >> 16);
	dns_put16(p + 2, v & 0xffff);
}

/* What one message asked. Outputs below `flags` are valid for DNS_ASK_ANSWER, or when qname_len >
 * 0. */
struct dns_question {
	uint16_t id, flags;
	uint8_t qname_len; /* with the root byte; 0: the question could not be read */
	uint8_t labels;	   /* without the root */
	uint16_t qtype, qclass;
	uint8_t qname[DNS_NAME_MAX +
		      1]; /* lower; the bytes as sent start at offset 12 of the message */
	uint8_t label_at[DNS_LABELS_MAX + 1]; /* offset of each label in qname; the root's too */
	bool edns, dnssec_ok;
	uint8_t edns_version;
	uint16_t udp_size; /* what the client announced */
};

enum dns_ask {
	DNS_ASK_IGNORE, /* too short to answer, or itself an answer (QR): say nothing */
	DNS_ASK_ANSWER, /* a well-formed question */
	DNS_ASK_ERROR,	/* answer with the rcode in *rcode */
};

/* Reads a message strictly: opcode QUERY, one question without compression pointers, no records but
 * at most one OPT whose options add up, no trailing bytes (RFC 1035, 6891 section 6.1). */
enum dns_ask dns_question_read(struct dns_question *q, const uint8_t *msg, size_t len,
			       enum dns_rcode *rcode);

/* Length of the uncompressed name at p (at most max bytes there), or 0 when it is malformed. */
size_t dns_name_len(const uint8_t *p, size_t max);
/* Labels of a valid name, without the root. */
unsigned int dns_name_labels(const uint8_t *name);
void dns_name_lower(uint8_t *name, size_t len);
/* True when `name` is `zone` or ends in it at a label boundary; both lower. */
bool dns_name_under(const uint8_t *name, size_t name_len, const uint8_t *zone, size_t zone_len);
/* "files.edge.example" or "files.edge.example." into lower wire form; \. \\ and \DDD are
 * understood. The length, or -EINVAL. */
int dns_name_parse(uint8_t out[DNS_NAME_MAX], const char *text);
/* Returns buf: without the final dot, but "." for the root; other than printable bytes as \DDD. */
char *dns_name_format(const uint8_t *name, char buf[DNS_TEXT_MAX]);
/* "A", "CAA", "TYPE65": the name into buf (at least 12 bytes), and back (0 or -EINVAL). */
char *dns_type_format(uint16_t type, char buf[12]);
int dns_type_parse(uint16_t *out, const char *text);

#endif
