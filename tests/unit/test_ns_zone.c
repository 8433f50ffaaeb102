// SPDX-License-Identifier: Apache-2.0
/* ns zone: a zone file's faults are named with file and line; records come and go over it. */
#include <errno.h>

#include "tests/unit/ns.h"

#define TOP "@ 60 SOA ns1 hostmaster 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n"

/* What reading the text complains about; "fine" when it is read. */
static const char *faults_of(const char *text)
{
	static char out[8192];
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r"),
	     *faults = fmemopen(out, sizeof(out), "w");
	struct dns_zone *zone = NULL;
	int rc = dns_zone_read(&zone, "edge.example", in, "z", faults);

	fputc('\0', faults);
	fclose(in);
	fclose(faults);
	if (rc == 0) {
		strcpy(out, "fine");
		dns_zone_free(zone);
	}
	return out;
}

#define has_fault(text, words)                                                                     \
	do {                                                                                       \
		const char *faults_ = faults_of(text);                                             \
		if (!strstr(faults_, words))                                                       \
			fail_msg("wanted '%s' in '%s'", words, faults_);                           \
	} while (0)

static void whole_zones_are_read(void **state)
{
	(void)state;
	assert_string_equal(faults_of(TOP), "fine");
	assert_string_equal(faults_of("$TTL 5m\n$ORIGIN edge.example.\n@ SOA ns1 h (\n 1 ; "
				      "serial\n 2 3 4 5 )\n@ NS ns1\nns1 A 192.0.2.1\n"),
			    "fine");
	assert_string_equal(faults_of(ns_zone_text), "fine");
}

static void the_apex_is_checked(void **state)
{
	(void)state;
	has_fault("@ 60 NS ns1\nns1 60 A 192.0.2.53\n", "z: zone edge.example has no SOA record");
	has_fault("@ 60 SOA ns1 h 1 2 3 4 5\n", "z: zone edge.example has no NS record");
	has_fault(TOP "@ 60 SOA ns1 h 9 2 3 4 5\n", "a second SOA");
	has_fault(TOP "sub 60 SOA ns1 h 9 2 3 4 5\n", "z:4: an SOA record at sub.edge.example");
}

static void lines_are_named(void **state)
{
	(void)state;
	has_fault(TOP "www 60 A 300.1.2.3\n", "z:4: ");
	has_fault(TOP "\n; comment\nwww 60 AAAA 192.0.2.1\n", "z:6: ");
	has_fault(TOP "www 60 NOTATYPE x\n", "z:4: ");
	has_fault(TOP "www.example.net. 60 A 192.0.2.1\n",
		  "z:4: www.example.net is outside the zone edge.example");
	has_fault(TOP "www 60 CH A 192.0.2.1\n", "z:4: ");
	has_fault(TOP "$INCLUDE other.zone\n", "$INCLUDE is not supported");
}

static void every_fault_is_named(void **state)
{
	const char *got = faults_of(TOP "a 60 A x\nb 60 A y\nc 60 A z\n");

	(void)state;
	assert_non_null(strstr(got, "z:4: "));
	assert_non_null(strstr(got, "z:5: "));
	assert_non_null(strstr(got, "z:6: "));
}

static void aliases_stand_alone(void **state)
{
	(void)state;
	has_fault(TOP "a 60 CNAME b\na 60 TXT x\n",
		  "a.edge.example has a CNAME beside other records");
	has_fault(TOP "a 60 CNAME b\na 60 CNAME c\n", "a.edge.example has several CNAME records");
	has_fault(TOP "a 60 CNAME b\n@ 60 NS a\n", "name server a.edge.example is an alias");
}

static void name_servers_need_addresses(void **state)
{
	(void)state;
	has_fault("@ 60 SOA ns1 h 1 2 3 4 5\n@ 60 NS ns1\n",
		  "name server ns1.edge.example has no address");
	has_fault(TOP "sub 60 NS ns.sub\n", "name server ns.sub.edge.example has no address");
	assert_string_equal(faults_of(TOP "sub 60 NS ns.other.example.\n"), "fine");
}

/* RFC 3597's form lets any bytes in; ours must still have the shape that the compiler relies on. */
static void shapes_are_checked(void **state)
{
	(void)state;
	assert_string_not_equal(faults_of(TOP "a 60 TYPE1 \\# 3 010203\n"), "fine");
	assert_string_not_equal(faults_of(TOP "a 60 TYPE5 \\# 2 3f41\n"), "fine");
	assert_string_not_equal(faults_of(TOP "a 60 TYPE2 \\# 2 c00c\n"), "fine");
	assert_string_equal(faults_of(TOP "a 60 TYPE999 \\# 2 c00c\n"), "fine");
}

static void garbage_ends(void **state)
{
	static char noise[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(noise) - 1; i++)
		noise[i] = (char)(33 + (i * 7919) % 90);
	assert_string_not_equal(faults_of(noise), "fine");
	assert_string_not_equal(faults_of("("), "fine");
	assert_string_not_equal(faults_of("$TTL\n$ORIGIN\n"), "fine");
}

static void an_absent_file_is_said(void **state)
{
	char out[512] = "";
	FILE *faults = fmemopen(out, sizeof(out), "w");
	struct dns_zone *zone = NULL;

	(void)state;
	assert_int_equal(dns_zone_load(&zone, "edge.example", "/nonexistent/z", faults), -ENOENT);
	fclose(faults);
	assert_non_null(
		strstr(out, "/nonexistent/z: the file of zone edge.example cannot be read"));
	assert_null(zone);
}

static void one_ttl_a_set(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", TOP
					"w 100 A 192.0.2.1\nw 50 A 192.0.2.2\nw 70 A 192.0.2.2\n");
	struct dns_table *table = ns_table(zone, NULL);

	(void)state;
	assert_string_equal(ns_ask(table, "w.edge.example", DNS_A),
			    "NOERROR aa | w.edge.example. 50 IN A 192.0.2.1, w.edge.example. 50 IN "
			    "A 192.0.2.2 | |");
	dns_table_free(table);
	dns_zone_free(zone);
}

static int merge(struct dns_zone *zone, const char *owner, const char *type, const char *value,
		 char *err)
{
	return dns_zone_merge(zone, owner, type, 30, &value, 1, err, 256);
}

static void records_are_merged(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text);
	struct dns_table *table;
	char err[256] = "";

	(void)state;
	assert_int_equal(merge(zone, "www", "A", "198.18.9.1", err), 0);
	assert_int_equal(merge(zone, "new.deep", "TXT", "\"v=1\"", err), 0);
	assert_int_equal(merge(zone, "@", "MX", "5 mail", err), 0);
	assert_int_equal(merge(zone, "tunnel", "CNAME", "www", err), 0);
	table = ns_table(zone, NULL);
	assert_string_equal(ns_ask(table, "www.edge.example", DNS_A),
			    "NOERROR aa | www.edge.example. 30 IN A 198.18.9.1 | |");
	assert_non_null(strstr(ns_ask(table, "new.deep.edge.example", DNS_TXT), "\"v=1\""));
	assert_string_equal(ns_ask(table, "edge.example", DNS_MX),
			    "NOERROR aa | edge.example. 30 IN MX 5 mail.edge.example. | |");
	assert_non_null(strstr(ns_ask(table, "tunnel.edge.example", DNS_A), "198.18.9.1"));
	dns_table_free(table);
	dns_zone_free(zone);
}

static void bad_records_change_nothing(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text);
	size_t before = zone->n;
	char err[256];

	(void)state;
	assert_int_equal(merge(zone, "www", "A", "not an address", err), -EINVAL);
	assert_non_null(strstr(err, "not a value of type A"));
	assert_int_equal(merge(zone, "www", "A", "192.0.2.1\nevil A 192.0.2.2", err), -EINVAL);
	assert_int_equal(merge(zone, "@", "SOA", "a b 1 2 3 4 5", err), -EINVAL);
	assert_int_equal(merge(zone, "@", "NS", "ns9", err), -EINVAL);
	assert_int_equal(merge(zone, "www", "CNAME", "ns1", err), -EINVAL);
	assert_int_equal(merge(zone, "alias", "A", "192.0.2.1", err), -EINVAL);
	assert_int_equal(merge(zone, "", "A", "192.0.2.1", err), -EINVAL);
	assert_int_equal(merge(zone, "x", "AXFR", "192.0.2.1", err), -EINVAL);
	assert_int_equal(dns_zone_merge(zone, "x", "A", 60, NULL, 0, err, sizeof(err)), -EINVAL);
	assert_int_equal(zone->n, before);
	dns_zone_free(zone);
}

static void names_cannot_smuggle_text(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text);
	char err[256];
	uint8_t name[DNS_NAME_MAX];
	size_t len;

	(void)state;
	assert_int_equal(merge(zone, "a;b", "A", "192.0.2.9", err), 0);
	len = (size_t)dns_name_parse(name, "a\\;b.edge.example");
	assert_non_null(dns_zone_find(zone, name, len, DNS_A, NULL));
	dns_zone_free(zone);
}

static void serials_are_set(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text), *copy = dns_zone_copy(zone);
	struct dns_table *table;

	(void)state;
	assert_int_equal(zone->serial, 7);
	dns_zone_set_serial(copy, 4294967295u);
	table = ns_table(copy, NULL);
	assert_non_null(strstr(ns_ask(table, "edge.example", DNS_SOA),
			       "hostmaster.edge.example. 4294967295 3600"));
	assert_int_equal(zone->serial, 7);
	dns_table_free(table);
	dns_zone_free(copy);
	dns_zone_free(zone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_zones_are_read),
		cmocka_unit_test(the_apex_is_checked),
		cmocka_unit_test(lines_are_named),
		cmocka_unit_test(every_fault_is_named),
		cmocka_unit_test(aliases_stand_alone),
		cmocka_unit_test(name_servers_need_addresses),
		cmocka_unit_test(shapes_are_checked),
		cmocka_unit_test(garbage_ends),
		cmocka_unit_test(an_absent_file_is_said),
		cmocka_unit_test(one_ttl_a_set),
		cmocka_unit_test(records_are_merged),
		cmocka_unit_test(bad_records_change_nothing),
		cmocka_unit_test(names_cannot_smuggle_text),
		cmocka_unit_test(serials_are_set),
	};

	return cmocka_run_group_tests_name("ns zone", tests, NULL, NULL);
}
