// SPDX-License-Identifier: Apache-2.0
/* ns query: what a name and a type are answered with, decoded by ldns. */
#include "tests/unit/ns.h"

#define SOA_NEGATIVE                                                                               \
	"edge.example. 60 IN SOA ns1.edge.example. hostmaster.edge.example. 7 3600 900 604800 60"

static struct dns_zone *zone;
static struct dns_table *table;

static int setup(void **state)
{
	(void)state;
	zone = ns_zone("edge.example", ns_zone_text);
	table = ns_table(zone, "files.edge.example");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dns_table_free(table);
	dns_zone_free(zone);
	return 0;
}

#define answers(name, type, text) assert_string_equal(ns_ask(table, name, type), text)

static void plain_records(void **state)
{
	(void)state;
	answers("www.edge.example", DNS_A,
		"NOERROR aa | www.edge.example. 60 IN A 198.18.1.1, www.edge.example. 60 IN A "
		"198.18.1.2 | |");
	answers("ns1.edge.example", DNS_AAAA,
		"NOERROR aa | ns1.edge.example. 300 IN AAAA 2001:db8:1::10 | |");
	answers("text.edge.example", DNS_TXT,
		"NOERROR aa | text.edge.example. 300 IN TXT \"hello world\" \"second\" | |");
	answers("edge.example", DNS_NS,
		"NOERROR aa | edge.example. 300 IN NS ns1.edge.example., edge.example. 300 IN NS "
		"ns2.other.example. | |");
	answers("edge.example", DNS_SOA,
		"NOERROR aa | edge.example. 3600 IN SOA ns1.edge.example. hostmaster.edge.example. "
		"7 3600 900 604800 60 | |");
}

static void other_types_pass_through(void **state)
{
	(void)state;
	answers("edge.example", DNS_MX,
		"NOERROR aa | edge.example. 300 IN MX 10 mail.edge.example. | |");
	answers("edge.example", DNS_CAA,
		"NOERROR aa | edge.example. 300 IN CAA 0 issue \"ca.example\" | |");
	answers("_sip._tcp.edge.example", DNS_SRV,
		"NOERROR aa | _sip._tcp.edge.example. 300 IN SRV 1 2 5060 www.edge.example. | |");
	answers("odd.edge.example", 65280,
		"NOERROR aa | odd.edge.example. 300 IN TYPE65280 \\# 3 010203 | |");
}

static void negatives(void **state)
{
	(void)state;
	answers("nothing.edge.example", DNS_A, "NXDOMAIN aa | | " SOA_NEGATIVE " |");
	answers("a.b.c.d.nothing.edge.example", DNS_TXT, "NXDOMAIN aa | | " SOA_NEGATIVE " |");
	answers("www.edge.example", DNS_AAAA, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("www.edge.example", DNS_DS, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("below.www.edge.example", DNS_A, "NXDOMAIN aa | | " SOA_NEGATIVE " |");
}

static void empty_non_terminals_exist(void **state)
{
	(void)state;
	answers("_tcp.edge.example", DNS_SRV, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("below.wild.edge.example", DNS_A, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("wild.edge.example", DNS_A, "NOERROR aa | | " SOA_NEGATIVE " |");
}

static void aliases_are_chased(void **state)
{
	(void)state;
	answers("alias.edge.example", DNS_A,
		"NOERROR aa | alias.edge.example. 300 IN CNAME www.edge.example., "
		"www.edge.example. 60 IN A 198.18.1.1, www.edge.example. 60 IN A 198.18.1.2 | |");
	answers("alias2.edge.example", DNS_A,
		"NOERROR aa | alias2.edge.example. 300 IN CNAME alias.edge.example., "
		"alias.edge.example. 300 IN CNAME www.edge.example., "
		"www.edge.example. 60 IN A 198.18.1.1, www.edge.example. 60 IN A 198.18.1.2 | |");
	answers("alias.edge.example", DNS_CNAME,
		"NOERROR aa | alias.edge.example. 300 IN CNAME www.edge.example. | |");
	answers("alias.edge.example", DNS_TXT,
		"NOERROR aa | alias.edge.example. 300 IN CNAME www.edge.example. | " SOA_NEGATIVE
		" |");
	answers("away.edge.example", DNS_A,
		"NOERROR aa | away.edge.example. 300 IN CNAME www.elsewhere.example. | |");
	answers("dangling.edge.example", DNS_A,
		"NXDOMAIN aa | dangling.edge.example. 300 IN CNAME nothing-there.edge.example. "
		"| " SOA_NEGATIVE " |");
	answers("to-wild.edge.example", DNS_A,
		"NOERROR aa | to-wild.edge.example. 300 IN CNAME x.wild.edge.example., "
		"x.wild.edge.example. 300 IN A 198.18.1.77 | |");
}

static void alias_loops_end(void **state)
{
	(void)state;
	assert_non_null(strstr(ns_ask(table, "loop-a.edge.example", DNS_A),
			       "loop-b.edge.example. 300 IN CNAME"));
	assert_null(strstr(ns_ask(table, "loop-a.edge.example", DNS_A), "unreadable"));
}

/* RFC 4592: what exists, or lies below something that exists, is not covered. */
static void wildcards(void **state)
{
	(void)state;
	answers("x.wild.edge.example", DNS_A,
		"NOERROR aa | x.wild.edge.example. 300 IN A 198.18.1.77 | |");
	answers("very.long.name.of.many.labels.wild.edge.example", DNS_A,
		"NOERROR aa | very.long.name.of.many.labels.wild.edge.example. 300 IN A "
		"198.18.1.77 | |");
	answers("x.wild.edge.example", DNS_AAAA, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("fixed.wild.edge.example", DNS_A,
		"NOERROR aa | fixed.wild.edge.example. 300 IN A 198.18.1.78 | |");
	answers("fixed.wild.edge.example", DNS_TXT, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("x.fixed.wild.edge.example", DNS_A, "NXDOMAIN aa | | " SOA_NEGATIVE " |");
	answers("x.below.wild.edge.example", DNS_A, "NXDOMAIN aa | | " SOA_NEGATIVE " |");
	answers("*.wild.edge.example", DNS_A,
		"NOERROR aa | *.wild.edge.example. 300 IN A 198.18.1.77 | |");
	answers("some.thing.walias.edge.example", DNS_A,
		"NOERROR aa | some.thing.walias.edge.example. 300 IN CNAME www.edge.example., "
		"www.edge.example. 60 IN A 198.18.1.1, www.edge.example. 60 IN A 198.18.1.2 | |");
	answers("some.thing.walias.edge.example", DNS_TXT,
		"NOERROR aa | some.thing.walias.edge.example. 300 IN CNAME www.edge.example. "
		"| " SOA_NEGATIVE " |");
}

static void referrals_are_minimal(void **state)
{
	const char *glue =
		" sub.edge.example. 300 IN NS ns.sub.edge.example., sub.edge.example. 300 IN NS "
		"ns2.other.example. | ns.sub.edge.example. 300 IN A 198.18.2.53, "
		"ns.sub.edge.example. 300 IN AAAA 2001:db8:2::53";
	char want[512];

	(void)state;
	snprintf(want, sizeof(want), "NOERROR | |%s", glue);
	answers("sub.edge.example", DNS_A, want);
	answers("sub.edge.example", DNS_NS, want);
	answers("sub.edge.example", DNS_ANY, want);
	answers("host.sub.edge.example", DNS_A, want);
	answers("ns.sub.edge.example", DNS_A, want);
	answers("a.b.c.sub.edge.example", DNS_MX, want);
	assert_non_null(strstr(ns_ask(table, "sub.edge.example", DNS_DS),
			       "NOERROR aa | sub.edge.example. 300 IN DS"));
}

static void any_is_one_hinfo(void **state)
{
	const char *want = "NOERROR aa | www.edge.example. 3600 IN HINFO \"RFC8482\" \"\" | |";

	(void)state;
	assert_string_equal(ns_ask(table, "www.edge.example", DNS_ANY), want);
	assert_non_null(strstr(ns_ask(table, "nothing.edge.example", DNS_ANY), "NXDOMAIN aa"));
	assert_non_null(strstr(ns_ask(table, "q.wild.edge.example", DNS_ANY), "HINFO"));
}

static void outside_is_refused(void **state)
{
	(void)state;
	answers("www.example.net", DNS_A, "REFUSED | | |");
	answers("example", DNS_A, "REFUSED | | |");
	answers("xedge.example", DNS_A, "REFUSED | | |");
	answers("", DNS_NS, "REFUSED | | |");
	answers("edge.example", DNS_AXFR, "REFUSED | | |");
	answers("edge.example", DNS_IXFR, "REFUSED | | |");
}

static void steered_falls_back_to_the_zone(void **state)
{
	(void)state;
	answers("files.edge.example", DNS_A,
		"NOERROR aa | files.edge.example. 300 IN A 198.18.1.100 | |");
	answers("files.edge.example", DNS_AAAA, "NOERROR aa | | " SOA_NEGATIVE " |");
	answers("to-steer.edge.example", DNS_A,
		"NOERROR aa | to-steer.edge.example. 300 IN CNAME files.edge.example., "
		"files.edge.example. 300 IN A 198.18.1.100 | |");
}

static void steered_names(void **state)
{
	static const struct pick_site site = {
		.up = true,
		.weight = 1,
		.n4 = 1,
		.n6 = 2,
		.v4 = { { AF_INET, { 198, 18, 9, 9 } } },
		.v6 = { { AF_INET6, { 0x20, 1, 0xd, 0xb8, 0, 9, [15] = 1 } },
			{ AF_INET6, { 0x20, 1, 0xd, 0xb8, 0, 9, [15] = 2 } } },
	};
	struct steering *s = calloc(1, sizeof(*s) + sizeof(s->name[0]));
	struct dns_view view = { table, s };

	(void)state;
	s->n = 1;
	steer_name_fill(&s->name[0], 5, &site, 1);
	assert_string_equal(ns_ask_view(&view, "files.edge.example", DNS_A, DNS_UDP, 0),
			    "NOERROR aa | files.edge.example. 5 IN A 198.18.9.9 | |");
	assert_string_equal(ns_ask_view(&view, "files.edge.example", DNS_AAAA, DNS_UDP, 1232),
			    "NOERROR aa | files.edge.example. 5 IN AAAA 2001:db8:9::1, "
			    "files.edge.example. 5 IN AAAA 2001:db8:9::2 | |");
	assert_string_equal(ns_ask_view(&view, "to-steer.edge.example", DNS_A, DNS_UDP, 0),
			    "NOERROR aa | to-steer.edge.example. 300 IN CNAME files.edge.example., "
			    "files.edge.example. 5 IN A 198.18.9.9 | |");
	assert_string_equal(
		ns_ask_view(&view, "some.where.wsteer.edge.example", DNS_A, DNS_UDP, 0),
		"NOERROR aa | some.where.wsteer.edge.example. 300 IN CNAME files.edge.example., "
		"files.edge.example. 5 IN A 198.18.9.9 | |");
	assert_string_equal(ns_ask_view(&view, "files.edge.example", DNS_TXT, DNS_UDP, 0),
			    "NOERROR aa | | " SOA_NEGATIVE " |");
	free(s);
}

static void letter_case_is_echoed(void **state)
{
	uint8_t msg[1232], sent[1232];
	size_t len = ns_question(msg, "wWw.EDGE.exAmple", DNS_A, 0), got;
	struct dns_view view = { .table = table };
	struct dns_answered what;
	uint32_t sequence = 0;

	(void)state;
	memcpy(sent, msg, len);
	got = dns_answer(&view, msg, len, sizeof(msg), DNS_UDP, &sequence, &what);
	assert_true(got > len);
	assert_memory_equal(msg + 12, sent + 12, len - 12);
	assert_int_equal(dns_get16(msg), 0x1234);
	assert_true(dns_get16(msg + 2) & DNS_FLAG_RD);
	assert_non_null(strstr(ns_text(msg, got), "wWw.EDGE.exAmple. 60 IN A 198.18.1.1"));
}

static void longer_zone_wins(void **state)
{
	struct dns_zone *inner =
		ns_zone("in.edge.example",
			"@ 60 SOA n h 1 1 1 1 30\n@ 60 NS ns1.other.example.\na 60 A 192.0.2.1\n");
	const struct dns_zone *both[2] = { zone, inner };
	struct dns_table *t = NULL;

	(void)state;
	assert_int_equal(dns_compile(&t, both, 2, NULL, 0, 1), 0);
	assert_string_equal(ns_ask(t, "a.in.edge.example", DNS_A),
			    "NOERROR aa | a.in.edge.example. 60 IN A 192.0.2.1 | |");
	assert_non_null(strstr(ns_ask(t, "b.in.edge.example", DNS_A),
			       "NXDOMAIN aa | | in.edge.example. 30 IN SOA"));
	assert_non_null(strstr(ns_ask(t, "www.edge.example", DNS_A), "198.18.1.1"));
	assert_int_equal(dns_table_zones(t, NULL), 2);
	dns_table_free(t);
	dns_zone_free(inner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_records),
		cmocka_unit_test(other_types_pass_through),
		cmocka_unit_test(negatives),
		cmocka_unit_test(empty_non_terminals_exist),
		cmocka_unit_test(aliases_are_chased),
		cmocka_unit_test(alias_loops_end),
		cmocka_unit_test(wildcards),
		cmocka_unit_test(referrals_are_minimal),
		cmocka_unit_test(any_is_one_hinfo),
		cmocka_unit_test(outside_is_refused),
		cmocka_unit_test(steered_falls_back_to_the_zone),
		cmocka_unit_test(steered_names),
		cmocka_unit_test(letter_case_is_echoed),
		cmocka_unit_test(longer_zone_wins),
	};

	return cmocka_run_group_tests_name("ns query", tests, setup, teardown);
}
