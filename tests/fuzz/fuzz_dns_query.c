/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any message, over UDP and TCP, to a small but varied zone: nothing is read or written out of
 * bounds, no answer is larger than its limit, and an answer is one (QR set, id and question as
 * sent).
 */
#include <stdlib.h>
#include <string.h>

#include "dns/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char zone_text[] =
	"$TTL 300\n@ SOA n h 1 2 3 4 5\n@ NS n\nn A 192.0.2.1\nw A 192.0.2.2\nw AAAA 2001:db8::1\n"
	"c CNAME w\n*.c CNAME f\n*.x TXT \"y\"\nf A 192.0.2.3\ns NS n.s\nn.s A 192.0.2.4\ns DS 1 "
	"13 2 "
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\na.b.d MX 1 w\n";

static struct dns_view view;

static void prepare(void)
{
	static uint8_t name[DNS_NAME_MAX];
	static struct pick_site site = { .up = true, .weight = 1, .n4 = 2, .n6 = 1 };
	struct dns_steer steer = { .name = name };
	FILE *in = fmemopen((void *)(uintptr_t)zone_text, sizeof(zone_text) - 1, "r");
	struct steering *s = calloc(1, sizeof(*s) + sizeof(s->name[0]));
	struct dns_zone *zone = NULL;
	struct dns_table *table = NULL;
	const struct dns_zone *list[1];

	if (!in || !s || dns_zone_read(&zone, "e.e", in, "zone", stderr))
		abort();
	fclose(in);
	list[0] = zone;
	steer.name_len = (uint8_t)dns_name_parse(name, "f.e.e");
	if (dns_compile(&table, list, 1, &steer, 1, 1))
		abort();
	dns_zone_free(zone);
	s->n = 1;
	steer_name_fill(&s->name[0], 5, &site, 1);
	view = (struct dns_view){ table, s };
}

static void ask(const uint8_t *data, size_t size, enum dns_transport transport, size_t limit)
{
	static uint32_t sequence;
	struct dns_answered what;
	size_t room = transport == DNS_TCP ? DNS_TCP_MAX : 2048, got;
	uint8_t *msg = malloc(room);

	if (!msg)
		abort();
	memcpy(msg, data, size);
	got = dns_answer(&view, msg, size, room, transport, &sequence, &what);
	if (got &&
	    (got < DNS_HEADER_LEN || got > limit || !(msg[2] & 0x80) || memcmp(msg, data, 2)))
		abort();
	if (got && dns_get16(msg + 4) && memcmp(msg + 12, data + 12, 5))
		abort();
	free(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!view.table)
		prepare();
	if (size > 2048)
		return 0;
	ask(data, size, DNS_UDP, DNS_UDP_EDNS);
	ask(data, size, DNS_TCP, DNS_TCP_MAX);
	return 0;
}
