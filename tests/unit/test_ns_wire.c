// SPDX-License-Identifier: Apache-2.0
/* ns wire: one question is read strictly, names go to wire and back, malformed messages get the
 * right answer. */
#include "tests/unit/ns.h"

static struct dns_zone *zone;
static struct dns_table *table;

static int setup(void **state)
{
	(void)state;
	zone = ns_zone("edge.example", ns_zone_text);
	table = ns_table(zone, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dns_table_free(table);
	dns_zone_free(zone);
	return 0;
}

/* The message as it is answered over UDP, as text. */
static const char *raw(uint8_t *msg, size_t len)
{
	struct dns_view view = { .table = table };
	struct dns_answered what;
	uint32_t sequence = 0;

	len = dns_answer(&view, msg, len, 2048, DNS_UDP, &sequence, &what);
	return len ? ns_text(msg, len) : "silence";
}

#define WWW  "www.edge.example. 60 IN A 198.18.1.1, www.edge.example. 60 IN A 198.18.1.2"
#define FINE "NOERROR aa | " WWW " | |"

static void silence_for_answers_and_scraps(void **state)
{
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 0);

	(void)state;
	for (size_t n = 0; n < DNS_HEADER_LEN; n++)
		assert_string_equal(raw(msg, n), "silence");
	msg[2] |= 0x80;
	assert_string_equal(raw(msg, len), "silence");
}

static void every_cut_is_formerr(void **state)
{
	uint8_t msg[2048], whole[2048];
	size_t len = ns_question(whole, "www.edge.example", DNS_A, 1232);

	(void)state;
	for (size_t n = DNS_HEADER_LEN; n < len; n++) {
		memcpy(msg, whole, len);
		assert_non_null(strstr(raw(msg, n), "FORMERR"));
	}
	memcpy(msg, whole, len);
	assert_string_equal(raw(msg, len), FINE);
}

static void counts_are_strict(void **state)
{
	static const struct {
		size_t at;
		uint16_t value;
	} bad[] = {
		{ 4, 0 }, { 4, 2 }, { 4, 0xffff }, { 6, 1 }, { 8, 1 }, { 10, 1 }, { 10, 2 },
	};
	uint8_t msg[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = ns_question(msg, "www.edge.example", DNS_A, 0);

		dns_put16(msg + bad[i].at, bad[i].value);
		assert_non_null(strstr(raw(msg, len), "FORMERR"));
	}
}

static void trailing_bytes_are_refused(void **state)
{
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 0);

	(void)state;
	msg[len] = 0;
	assert_non_null(strstr(raw(msg, len + 1), "FORMERR"));
	len = ns_question(msg, "www.edge.example", DNS_A, 1232);
	msg[len] = 0;
	assert_non_null(strstr(raw(msg, len + 1), "FORMERR"));
}

static void two_opts_are_refused(void **state)
{
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 1232);

	(void)state;
	memcpy(msg + len, msg + len - DNS_OPT_LEN, DNS_OPT_LEN);
	dns_put16(msg + 10, 2);
	assert_non_null(strstr(raw(msg, len + DNS_OPT_LEN), "FORMERR"));
}

static void a_record_that_is_no_opt_is_refused(void **state)
{
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 1232);

	(void)state;
	msg[len - DNS_OPT_LEN + 2] = 1; /* an A record instead */
	assert_non_null(strstr(raw(msg, len), "FORMERR"));
	len = ns_question(msg, "www.edge.example", DNS_A, 1232);
	msg[len - DNS_OPT_LEN] = 1; /* an owner other than the root */
	assert_non_null(strstr(raw(msg, len), "FORMERR"));
}

static void pointers_in_a_question_are_refused(void **state)
{
	uint8_t msg[64] = { 0x12, 0x34, 0, 0, 0, 1, [12] = 3, 'w', 'w', 'w', 0xc0, 12, 0, 1, 0, 1 };
	uint8_t self[64] = { 0x12, 0x34, 0, 0, 0, 1, [12] = 0xc0, 12, 0, 1, 0, 1 };
	uint8_t reserved[64] = { 0x12, 0x34, 0, 0, 0, 1, [12] = 0x41, 'a', 0, 0, 1, 0, 1 };

	(void)state;
	assert_non_null(strstr(raw(msg, 22), "FORMERR"));
	assert_non_null(strstr(raw(self, 18), "FORMERR"));
	assert_non_null(strstr(raw(reserved, 19), "FORMERR"));
}

static void name_limits(void **state)
{
	uint8_t msg[2048];
	char label[65], name[300];

	(void)state;
	memset(label, 'a', 63);
	strcpy(label + 63, "");
	/* Four labels of 63 are 257 bytes with lengths and root: two too many. */
	snprintf(name, sizeof(name), "%s.%s.%s.%s", label, label, label, label);
	assert_non_null(strstr(raw(msg, ns_question(msg, name, DNS_A, 0)), "FORMERR"));
	snprintf(name, sizeof(name), "%s.%s.%s.%.61s", label, label, label, label);
	assert_non_null(strstr(raw(msg, ns_question(msg, name, DNS_A, 0)), "REFUSED"));
	snprintf(name, sizeof(name), "%s.edge.example", label);
	assert_non_null(strstr(raw(msg, ns_question(msg, name, DNS_A, 0)), "NXDOMAIN"));
}

static void many_labels_are_served(void **state)
{
	char name[300] = "";
	uint8_t msg[2048];

	(void)state;
	for (int i = 0; i < 120; i++)
		strcat(name, "a.");
	strcat(name, "edge.example");
	assert_non_null(strstr(raw(msg, ns_question(msg, name, DNS_A, 0)), "NXDOMAIN aa"));
}

static void other_opcodes_are_notimp(void **state)
{
	uint8_t msg[2048];

	(void)state;
	for (unsigned int opcode = 1; opcode < 16; opcode++) {
		size_t len = ns_question(msg, "www.edge.example", DNS_A, 0);

		msg[2] = (uint8_t)(opcode << 3);
		assert_non_null(strstr(raw(msg, len), "NOTIMP"));
		assert_int_equal(msg[2] >> 3 & 0xf, opcode);
	}
}

static void other_classes_are_refused(void **state)
{
	static const uint16_t classes[] = { 0, 2, 3, 4, 254, 255 };
	uint8_t msg[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		size_t len = ns_question(msg, "www.edge.example", DNS_A, 0);

		dns_put16(msg + len - 2, classes[i]);
		assert_non_null(strstr(raw(msg, len), "REFUSED"));
	}
}

static void edns_version_is_checked(void **state)
{
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 1232);

	(void)state;
	msg[len - DNS_OPT_LEN + 6] = 1;
	assert_string_equal(raw(msg, len), "BADVERS | | |");
}

static void dnssec_ok_is_copied(void **state)
{
	struct dns_view view = { .table = table };
	struct dns_answered what;
	uint32_t sequence = 0;
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 4096), got;

	(void)state;
	msg[len - DNS_OPT_LEN + 7] = 0x80;
	got = dns_answer(&view, msg, len, sizeof(msg), DNS_UDP, &sequence, &what);
	assert_int_equal(dns_get16(msg + 10), 1);
	assert_int_equal(msg[got - DNS_OPT_LEN + 7], 0x80);
	assert_int_equal(dns_get16(msg + got - DNS_OPT_LEN + 3), DNS_UDP_EDNS);
}

static void options_are_ignored_when_whole(void **state)
{
	static const uint8_t cookie[] = { 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t msg[2048];
	size_t len = ns_question(msg, "www.edge.example", DNS_A, 1232);

	(void)state;
	memcpy(msg + len, cookie, sizeof(cookie));
	dns_put16(msg + len - 2, sizeof(cookie));
	assert_string_equal(raw(msg, len + sizeof(cookie)), FINE);
	len = ns_question(msg, "www.edge.example", DNS_A, 1232);
	memcpy(msg + len, cookie, sizeof(cookie));
	dns_put16(msg + len - 2, sizeof(cookie));
	msg[len + 3] = 9; /* the option says more than there is */
	assert_non_null(strstr(raw(msg, len + sizeof(cookie)), "FORMERR"));
}

static void truncation(void **state)
{
	static char text[16384];
	struct dns_zone *big;
	struct dns_table *t;
	struct dns_view view;
	char *got;

	(void)state;
	strcpy(text, "@ 60 SOA n h 1 1 1 1 1\n@ 60 NS ns1.other.example.\n");
	for (int i = 0; i < 60; i++)
		sprintf(text + strlen(text), "many 60 A 192.0.2.%d\n", i);
	for (int i = 0; i < 30; i++)
		sprintf(text + strlen(text), "some 60 A 192.0.2.%d\n", i);
	big = ns_zone("big.example", text);
	t = ns_table(big, NULL);
	view = (struct dns_view){ .table = t };
	assert_string_equal(ns_ask_view(&view, "some.big.example", DNS_A, DNS_UDP, 0),
			    "NOERROR aa tc | | |");
	assert_string_equal(ns_ask_view(&view, "some.big.example", DNS_A, DNS_UDP, 100),
			    "NOERROR aa tc | | |");
	got = ns_ask_view(&view, "some.big.example", DNS_A, DNS_UDP, 600);
	assert_null(strstr(got, "tc"));
	assert_non_null(strstr(got, "192.0.2.29"));
	got = ns_ask_view(&view, "many.big.example", DNS_A, DNS_UDP, 1232);
	assert_null(strstr(got, "tc"));
	got = ns_ask_view(&view, "many.big.example", DNS_A, DNS_TCP, 0);
	assert_non_null(strstr(got, "192.0.2.59"));
	dns_table_free(t);
	dns_zone_free(big);
}

/* However much a client announces, no more than 1,232 bytes leave over UDP. */
static void the_clamp_holds(void **state)
{
	static char text[16384];
	struct dns_zone *big;
	struct dns_table *t;
	struct dns_view view;

	(void)state;
	strcpy(text, "@ 60 SOA n h 1 1 1 1 1\n@ 60 NS ns1.other.example.\n");
	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), "many 60 A 192.0.2.%d\n", i);
	big = ns_zone("big.example", text);
	t = ns_table(big, NULL);
	view = (struct dns_view){ .table = t };
	assert_string_equal(ns_ask_view(&view, "many.big.example", DNS_A, DNS_UDP, 65535),
			    "NOERROR aa tc | | |");
	dns_table_free(t);
	dns_zone_free(big);
}

static void names_to_wire_and_back(void **state)
{
	static const char *const good[] = { ".",
					    "a",
					    "edge.example",
					    "*.wild.edge.example",
					    "a\\.b.example",
					    "\\000\\255.x",
					    "_sip._tcp.edge.example" };
	uint8_t name[DNS_NAME_MAX];
	char text[DNS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int len = dns_name_parse(name, good[i]);

		assert_true(len > 0);
		assert_int_equal(dns_name_len(name, sizeof(name)), len);
		assert_string_equal(dns_name_format(name, text), good[i]);
	}
	assert_int_equal(dns_name_parse(name, "EDGE.Example."), 14);
	assert_string_equal(dns_name_format(name, text), "edge.example");
}

static void bad_names_are_refused(void **state)
{
	static const char *const bad[] = {
		"",	  "..",
		".a",	  "a..b",
		"a\\",	  "a\\25",
		"a\\999", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	uint8_t name[DNS_NAME_MAX];
	char longest[300];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(dns_name_parse(name, bad[i]) < 0);
	longest[0] = '\0';
	for (int i = 0; i < 127; i++)
		strcat(longest, "a.");
	assert_int_equal(dns_name_parse(name, longest), 255);
	strcat(longest, "a");
	assert_true(dns_name_parse(name, longest) < 0);
}

static void label_boundaries(void **state)
{
	uint8_t zone_name[DNS_NAME_MAX], name[DNS_NAME_MAX];
	size_t zone_len = (size_t)dns_name_parse(zone_name, "edge.example"), len;

	(void)state;
	len = (size_t)dns_name_parse(name, "a.edge.example");
	assert_true(dns_name_under(name, len, zone_name, zone_len));
	len = (size_t)dns_name_parse(name, "xedge.example");
	assert_false(dns_name_under(name, len, zone_name, zone_len));
	len = (size_t)dns_name_parse(name, "example");
	assert_false(dns_name_under(name, len, zone_name, zone_len));
	assert_true(dns_name_under(zone_name, zone_len, zone_name, zone_len));
}

static void type_names(void **state)
{
	uint16_t type;
	char text[12];

	(void)state;
	assert_int_equal(dns_type_parse(&type, "aaaa"), 0);
	assert_int_equal(type, DNS_AAAA);
	assert_int_equal(dns_type_parse(&type, "TYPE65535"), 0);
	assert_string_equal(dns_type_format(type, text), "TYPE65535");
	assert_true(dns_type_parse(&type, "TYPE65536") < 0);
	assert_true(dns_type_parse(&type, "NOPE") < 0);
	assert_true(dns_type_parse(&type, "TYPE") < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_for_answers_and_scraps),
		cmocka_unit_test(every_cut_is_formerr),
		cmocka_unit_test(counts_are_strict),
		cmocka_unit_test(trailing_bytes_are_refused),
		cmocka_unit_test(two_opts_are_refused),
		cmocka_unit_test(a_record_that_is_no_opt_is_refused),
		cmocka_unit_test(pointers_in_a_question_are_refused),
		cmocka_unit_test(name_limits),
		cmocka_unit_test(many_labels_are_served),
		cmocka_unit_test(other_opcodes_are_notimp),
		cmocka_unit_test(other_classes_are_refused),
		cmocka_unit_test(edns_version_is_checked),
		cmocka_unit_test(dnssec_ok_is_copied),
		cmocka_unit_test(options_are_ignored_when_whole),
		cmocka_unit_test(truncation),
		cmocka_unit_test(the_clamp_holds),
		cmocka_unit_test(names_to_wire_and_back),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(label_boundaries),
		cmocka_unit_test(type_names),
	};

	return cmocka_run_group_tests_name("ns wire", tests, setup, teardown);
}
