/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.c -- reading one question strictly, and names between text and wire.
 *
 * Everything here meets bytes that a stranger chose; each read is bounded by the message's length.
 */
#include "dns/wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

size_t dns_name_len(const uint8_t *p, size_t max)
{
	size_t at = 0;

	if (max > DNS_NAME_MAX)
		max = DNS_NAME_MAX;
	while (at < max) {
		uint8_t label = p[at];

		if (label > DNS_LABEL_MAX)
			return 0;
		at += 1u + label;
		if (label == 0)
			return at;
	}
	return 0;
}

unsigned int dns_name_labels(const uint8_t *name)
{
	unsigned int n = 0;

	for (; *name; name += 1 + *name)
		n++;
	return n;
}

void dns_name_lower(uint8_t *name, size_t len)
{
	/* Length bytes are at most 63, below 'A', so that the whole name can be folded blindly. */
	for (size_t i = 0; i < len; i++)
		name[i] = lower(name[i]);
}

bool dns_name_under(const uint8_t *name, size_t name_len, const uint8_t *zone, size_t zone_len)
{
	while (name_len > zone_len) {
		size_t step = 1u + *name;

		name += step;
		name_len -= step;
	}
	return name_len == zone_len && memcmp(name, zone, zone_len) == 0;
}

/* Copies the question's name folded; its length, or 0 when malformed or compressed. */
static size_t question_name(struct dns_question *q, const uint8_t *p, size_t max)
{
	size_t at = 0;
	unsigned int labels = 0;

	if (max > DNS_NAME_MAX)
		max = DNS_NAME_MAX;
	while (at < max) {
		size_t label = p[at];

		if (label > DNS_LABEL_MAX || at + 1 + label > max)
			return 0;
		q->label_at[labels] = (uint8_t)at;
		q->qname[at] = (uint8_t)label;
		if (label == 0) {
			q->labels = (uint8_t)labels;
			return at + 1;
		}
		for (size_t i = at + 1; i <= at + label; i++)
			q->qname[i] = lower(p[i]);
		at += 1 + label;
		labels++;
	}
	return 0;
}

/* The options of an OPT record must fill its RDLENGTH exactly (RFC 6891 section 6.1.2). Which ones
 * they are does not matter: none changes an answer of ours, COOKIE and the like are ignored. */
static bool options_valid(const uint8_t *p, size_t len)
{
	while (len >= 4) {
		size_t option = 4u + dns_get16(p + 2);

		if (option > len)
			return false;
		p += option;
		len -= option;
	}
	return len == 0;
}

/* The one additional record that may follow the question; the message ends with it. */
static bool opt_read(struct dns_question *q, const uint8_t *p, size_t len)
{
	if (len < DNS_OPT_LEN || p[0] != 0 || dns_get16(p + 1) != DNS_OPT)
		return false;
	if (len != DNS_OPT_LEN + (size_t)dns_get16(p + 9))
		return false;
	q->edns = true;
	q->udp_size = dns_get16(p + 3);
	q->edns_version = p[6];
	q->dnssec_ok = p[7] & 0x80;
	return options_valid(p + DNS_OPT_LEN, len - DNS_OPT_LEN);
}

enum dns_ask dns_question_read(struct dns_question *q, const uint8_t *msg, size_t len,
			       enum dns_rcode *rcode)
{
	size_t at, additional;

	if (len < DNS_HEADER_LEN)
		return DNS_ASK_IGNORE;
	q->id = dns_get16(msg);
	q->flags = dns_get16(msg + 2);
	q->qname_len = 0;
	q->edns = q->dnssec_ok = false;
	q->edns_version = 0;
	q->udp_size = DNS_UDP_PLAIN;
	if (q->flags & DNS_FLAG_QR)
		return DNS_ASK_IGNORE;
	if (q->flags >> 11 & 0xf) {
		*rcode = DNS_NOTIMP;
		return DNS_ASK_ERROR;
	}
	*rcode = DNS_FORMERR;
	additional = dns_get16(msg + 10);
	if (dns_get16(msg + 4) != 1 || dns_get16(msg + 6) || dns_get16(msg + 8) || additional > 1)
		return DNS_ASK_ERROR;
	at = question_name(q, msg + DNS_HEADER_LEN, len - DNS_HEADER_LEN);
	if (!at || DNS_HEADER_LEN + at + 4 > len)
		return DNS_ASK_ERROR;
	q->qtype = dns_get16(msg + DNS_HEADER_LEN + at);
	q->qclass = dns_get16(msg + DNS_HEADER_LEN + at + 2);
	q->qname_len = (uint8_t)at;
	at += DNS_HEADER_LEN + 4;
	if (additional ? !opt_read(q, msg + at, len - at) : at != len)
		return DNS_ASK_ERROR;
	if (q->edns_version) {
		*rcode = DNS_BADVERS;
		return DNS_ASK_ERROR;
	}
	if (q->qtype == DNS_OPT)
		return DNS_ASK_ERROR;
	*rcode = DNS_NOERROR;
	return DNS_ASK_ANSWER;
}

/* One character of a name's text, escapes resolved; the text that follows, or NULL. */
static const char *text_byte(const char *text, uint8_t *out)
{
	if (*text != '\\') {
		*out = lower((uint8_t)*text);
		return text + 1;
	}
	text++;
	if (isdigit((unsigned char)*text)) {
		unsigned int v = 0;

		for (int i = 0; i < 3; i++, text++) {
			if (!isdigit((unsigned char)*text))
				return NULL;
			v = v * 10 + (unsigned int)(*text - '0');
		}
		*out = lower((uint8_t)v);
		return v <= 255 ? text : NULL;
	}
	*out = lower((uint8_t)*text);
	return *text ? text + 1 : NULL;
}

int dns_name_parse(uint8_t out[DNS_NAME_MAX], const char *text)
{
	uint8_t name[DNS_NAME_MAX];
	size_t label = 0, at = 1;

	if (!*text)
		return -EINVAL;
	if (strcmp(text, ".") == 0) {
		out[0] = 0;
		return 1;
	}
	while (*text) {
		if (*text == '.') {
			if (at - label - 1 == 0)
				return -EINVAL;
			name[label] = (uint8_t)(at - label - 1);
			label = at++;
			text++;
		} else {
			/* One byte stays free for the root's label. */
			if (at >= DNS_NAME_MAX - 1 || at - label - 1 >= DNS_LABEL_MAX)
				return -EINVAL;
			text = text_byte(text, &name[at++]);
			if (!text)
				return -EINVAL;
		}
	}
	if (at - label - 1 > 0) {
		name[label] = (uint8_t)(at - label - 1);
		label = at;
	}
	name[label] = 0;
	memcpy(out, name, label + 1);
	return (int)label + 1;
}

char *dns_name_format(const uint8_t *name, char buf[DNS_TEXT_MAX])
{
	char *p = buf;

	if (!*name)
		return strcpy(buf, ".");
	for (; *name; name += 1 + *name) {
		if (p != buf)
			*p++ = '.';
		for (unsigned int i = 1; i <= *name; i++) {
			uint8_t c = name[i];

			/* What means something in a zone file keeps its meaning out of names. */
			if (c && strchr(".\\\"();@$", c)) {
				*p++ = '\\';
				*p++ = (char)c;
			} else if (c > ' ' && c < 0x7f) {
				*p++ = (char)c;
			} else {
				p += sprintf(p, "\\%03u", c);
			}
		}
	}
	*p = '\0';
	return buf;
}

static const struct {
	uint16_t type;
	const char *name;
} type_names[] = {
	{ DNS_A, "A" },		{ DNS_NS, "NS" },	{ DNS_CNAME, "CNAME" },
	{ DNS_SOA, "SOA" },	{ DNS_HINFO, "HINFO" }, { DNS_MX, "MX" },
	{ DNS_TXT, "TXT" },	{ DNS_AAAA, "AAAA" },	{ DNS_SRV, "SRV" },
	{ DNS_DNAME, "DNAME" }, { DNS_DS, "DS" },	{ DNS_ANY, "ANY" },
	{ DNS_CAA, "CAA" },	{ DNS_AXFR, "AXFR" },	{ DNS_IXFR, "IXFR" },
	{ 12, "PTR" },		{ 35, "NAPTR" },	{ 44, "SSHFP" },
	{ 48, "DNSKEY" },	{ 52, "TLSA" },		{ 64, "SVCB" },
	{ 65, "HTTPS" },
};

char *dns_type_format(uint16_t type, char buf[12])
{
	for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++)
		if (type_names[i].type == type)
			return strcpy(buf, type_names[i].name);
	snprintf(buf, 12, "TYPE%u", type);
	return buf;
}

int dns_type_parse(uint16_t *out, const char *text)
{
	char *end;
	unsigned long v;

	for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++) {
		if (strcasecmp(type_names[i].name, text) == 0) {
			*out = type_names[i].type;
			return 0;
		}
	}
	if (strncasecmp(text, "TYPE", 4) != 0 || !isdigit((unsigned char)text[4]))
		return -EINVAL;
	v = strtoul(text + 4, &end, 10);
	if (*end || v > 0xffff)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}
