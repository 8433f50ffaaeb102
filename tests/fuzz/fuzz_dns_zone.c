/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a zone file: it is refused with words, or it is compiled and answers for every name
 * that it holds.
 */
#include <stdlib.h>
#include <string.h>

#include "dns/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask_each(const struct dns_zone *zone, const struct dns_table *table)
{
	static uint8_t msg[DNS_TCP_MAX];
	struct dns_view view = { .table = table };

	for (size_t i = 0; i < zone->n && i < 64; i++) {
		const struct dns_rr *rr = zone->rr[i];
		struct dns_answered what;
		uint32_t sequence = 0;

		memset(msg, 0, DNS_HEADER_LEN);
		msg[5] = 1;
		memcpy(msg + DNS_HEADER_LEN, rr->name, rr->name_len);
		dns_put16(msg + DNS_HEADER_LEN + rr->name_len, rr->type);
		dns_put16(msg + DNS_HEADER_LEN + rr->name_len + 2, 1);
		if (!dns_answer(&view, msg, DNS_HEADER_LEN + rr->name_len + 4u, sizeof(msg),
				DNS_TCP, &sequence, &what))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Half of the inputs get a valid top, so that the rest is reached. */
	static const char top[] = "@ 60 SOA n h 1 2 3 4 5\n@ 60 NS n.f.\n";
	size_t head = size && data[0] & 1 ? sizeof(top) - 1 : 0;
	char *text = malloc(head + size + 1);
	struct dns_zone *zone = NULL, *copy;
	struct dns_table *table = NULL;
	char err[256];
	const char *value;
	FILE *in, *faults = fopen("/dev/null", "w");

	if (!text || !faults)
		abort();
	memcpy(text, top, head);
	memcpy(text + head, data, size);
	text[head + size] = '\0';
	value = text + head;
	in = fmemopen(text, head + size + 1, "r");
	if (in && dns_zone_read(&zone, "e.e", in, "zone", faults) == 0) {
		const struct dns_zone *list[1] = { zone };

		if (dns_compile(&table, list, 1, NULL, 0, 1))
			abort();
		ask_each(zone, table);
		dns_table_free(table);
		copy = dns_zone_copy(zone);
		if (copy && size < 200)
			(void)dns_zone_merge(copy, "m", "TXT", 5, &value, 1, err, sizeof(err));
		dns_zone_free(copy);
		dns_zone_free(zone);
	}
	if (in)
		fclose(in);
	fclose(faults);
	free(text);
	return 0;
}
