/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ns.h -- for the name server's unit tests: a table from a zone's text, a question as bytes, and
 *the answer as one line of text, decoded by ldns so that nothing of ours judges itself:
 *
 *	"NOERROR aa | www.edge.example. 60 IN A 198.18.1.1 | AUTHORITY… | ADDITIONAL…"
 */
#ifndef WEIR_TESTS_UNIT_NS_H
#define WEIR_TESTS_UNIT_NS_H

#include "tests/unit/unit.h"

#include <ldns/ldns.h>

#include "dns/query.h"

static const char ns_zone_text[] =
	"$TTL 300\n"
	"@ 3600 IN SOA ns1 hostmaster 7 3600 900 604800 60\n"
	"@ NS ns1\n"
	"@ NS ns2.other.example.\n"
	"@ MX 10 mail\n"
	"@ CAA 0 issue \"ca.example\"\n"
	"ns1 A 198.18.1.10\n"
	"ns1 AAAA 2001:db8:1::10\n"
	"mail A 198.18.1.25\n"
	"www 60 A 198.18.1.1\n"
	"www 60 A 198.18.1.2\n"
	"alias CNAME www\n"
	"alias2 CNAME alias\n"
	"away CNAME www.elsewhere.example.\n"
	"dangling CNAME nothing-there\n"
	"loop-a CNAME loop-b\n"
	"loop-b CNAME loop-a\n"
	"to-wild CNAME x.wild\n"
	"to-steer CNAME files\n"
	"text TXT \"hello world\" \"second\"\n"
	"_sip._tcp SRV 1 2 5060 www\n"
	"*.wild A 198.18.1.77\n"
	"*.wild TXT \"from a wildcard\"\n"
	"fixed.wild A 198.18.1.78\n"
	"deep.below.wild A 198.18.1.79\n"
	"*.walias CNAME www\n"
	"*.wsteer CNAME files\n"
	"files A 198.18.1.100\n"
	"sub NS ns.sub\n"
	"sub NS ns2.other.example.\n"
	"ns.sub A 198.18.2.53\n"
	"ns.sub AAAA 2001:db8:2::53\n"
	"sub DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
	"odd TYPE65280 \\# 3 010203\n";

static inline struct dns_zone *ns_zone(const char *name, const char *text)
{
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	struct dns_zone *zone = NULL;

	assert_non_null(in);
	assert_int_equal(dns_zone_read(&zone, name, in, "test.zone", stderr), 0);
	fclose(in);
	return zone;
}

/* Compiles one zone with one steered name (NULL: none), index 0. */
static inline struct dns_table *ns_table(const struct dns_zone *zone, const char *steered)
{
	uint8_t name[DNS_NAME_MAX];
	struct dns_steer steer = { .name = name };
	struct dns_table *table = NULL;

	if (steered)
		steer.name_len = (uint8_t)dns_name_parse(name, steered);
	assert_int_equal(dns_compile(&table, &zone, 1, &steer, steered ? 1 : 0, 42), 0);
	return table;
}

/* A question with RD, in the letter case given. payload 0: no EDNS. */
static inline size_t ns_question(uint8_t *msg, const char *name, uint16_t type,
				 unsigned int payload)
{
	size_t at = DNS_HEADER_LEN, label = at++;

	memset(msg, 0, DNS_HEADER_LEN);
	dns_put16(msg, 0x1234);
	dns_put16(msg + 2, DNS_FLAG_RD);
	dns_put16(msg + 4, 1);
	for (; *name; name++) {
		if (*name == '.') {
			msg[label] = (uint8_t)(at - label - 1);
			label = at++;
		} else {
			msg[at++] = (uint8_t)*name;
		}
	}
	msg[label] = (uint8_t)(at - label - 1);
	if (msg[label])
		msg[at++] = 0;
	dns_put16(msg + at, type);
	dns_put16(msg + at + 2, 1);
	at += 4;
	if (payload) {
		dns_put16(msg + 10, 1);
		memset(msg + at, 0, DNS_OPT_LEN);
		msg[at + 2] = DNS_OPT;
		dns_put16(msg + at + 3, payload);
		at += DNS_OPT_LEN;
	}
	return at;
}

static inline void ns_section(char *out, size_t len, const ldns_rr_list *list)
{
	strncat(out, " |", len - strlen(out) - 1);
	for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
		char *text = ldns_rr2str(ldns_rr_list_rr(list, i));

		for (char *p = text; *p; p++)
			if (*p == '\t' || *p == '\n')
				*p = ' ';
		if (text[strlen(text) - 1] == ' ')
			text[strlen(text) - 1] = '\0';
		strncat(out, i ? ", " : " ", len - strlen(out) - 1);
		strncat(out, text, len - strlen(out) - 1);
		free(text);
	}
}

static inline char *ns_text(const uint8_t *msg, size_t len)
{
	static char out[16384];
	ldns_pkt *pkt = NULL;
	ldns_status status = ldns_wire2pkt(&pkt, msg, len);
	char *rcode;

	if (status != LDNS_STATUS_OK) {
		snprintf(out, sizeof(out), "unreadable: %s", ldns_get_errorstr_by_id(status));
		return out;
	}
	rcode = ldns_pkt_rcode2str(ldns_pkt_get_rcode(pkt));
	snprintf(out, sizeof(out), "%s%s%s", ldns_pkt_edns_extended_rcode(pkt) ? "BADVERS" : rcode,
		 ldns_pkt_aa(pkt) ? " aa" : "", ldns_pkt_tc(pkt) ? " tc" : "");
	free(rcode);
	ns_section(out, sizeof(out), ldns_pkt_answer(pkt));
	ns_section(out, sizeof(out), ldns_pkt_authority(pkt));
	ns_section(out, sizeof(out), ldns_pkt_additional(pkt));
	ldns_pkt_free(pkt);
	return out;
}

/* Asks over `transport` and returns the answer as text; "silence" when there was none. */
static inline char *ns_ask_view(const struct dns_view *view, const char *name, uint16_t type,
				enum dns_transport transport, unsigned int payload)
{
	static uint8_t msg[DNS_TCP_MAX];
	static uint32_t sequence;
	static char silence[] = "silence";
	struct dns_answered what;
	size_t len = dns_answer(view, msg, ns_question(msg, name, type, payload), sizeof(msg),
				transport, &sequence, &what);

	return len ? ns_text(msg, len) : silence;
}

static inline char *ns_ask(const struct dns_table *table, const char *name, uint16_t type)
{
	struct dns_view view = { .table = table };

	return ns_ask_view(&view, name, type, DNS_UDP, 0);
}

#endif
