/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels as text: what is read back is what was written, and nothing that is wrong is taken; the
 * lowest free address of a pool. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "lib/tunnels.h"
#include "lib/tunnels_pool.h"
#include "lib/user_edit.h"

static void fill(struct tunnel *t)
{
	memset(t, 0, sizeof(*t));
	strcpy(t->name, "app");
	strcpy(t->owner, "ann");
	strcpy(t->hostnames[0], "app.edge.example");
	strcpy(t->hostnames[1], "www.edge.example");
	t->nhostnames = 2;
	assert_int_equal(addr_parse(&t->address, "198.18.9.1"), 0);
	assert_int_equal(addr_parse(&t->address6, "2001:db8:9::1"), 0);
	t->ports[0] = (struct tunnel_port){ 80, TUNNEL_HTTP };
	t->ports[1] = (struct tunnel_port){ 443, TUNNEL_TLS };
	t->ports[2] = (struct tunnel_port){ 5432, TUNNEL_TCP };
	t->nports = 3;
	assert_int_equal(addr_prefix_parse(&t->allow[0], "198.18.0.0/16"), 0);
	assert_int_equal(addr_prefix_parse(&t->deny[0], "198.18.4.0/24"), 0);
	t->nallow = t->ndeny = 1;
	t->client_ca = strdup("-----BEGIN CERTIFICATE-----\n");
	t->generation = 7;
	t->created = 1700000000;
	strcpy(t->enroll_salt, "00112233445566778899aabbccddeeff");
	user_key_hash(t->enroll_salt, "secret", t->enroll_hash);
	t->enroll_until = 1700000600;
}

static void test_tunnel_round(void **state)
{
	struct tunnel t, got;
	char *text, *again;

	(void)state;
	fill(&t);
	text = tunnel_format(&t);
	assert_int_equal(tunnel_parse(&got, text), 0);
	again = tunnel_format(&got);
	assert_string_equal(text, again);
	assert_string_equal(got.client_ca, t.client_ca);
	assert_int_equal(got.generation, 7);
	assert_int_equal(tunnel_port_mode(&got, 443), TUNNEL_TLS);
	assert_int_equal(tunnel_port_mode(&got, 81), -1);
	assert_true(tunnel_has_hostname(&got, "www.edge.example"));
	assert_false(tunnel_has_hostname(&got, "edge.example"));
	tunnel_clear(&got);
	tunnel_clear(&t);
	free(text);
	free(again);
	/* members of a later version are no fault, and little is needed */
	assert_int_equal(tunnel_parse(&got, "{\"name\":\"a\",\"generation\":1,\"later\":[{}]}"), 0);
	assert_int_equal(got.address.family, AF_UNSPEC);
	tunnel_clear(&got);
}

static void test_tunnel_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"[]",
		"{\"name\":\"a\"}",
		"{\"generation\":1}",
		"{\"name\":\"a\",\"generation\":0}",
		"{\"name\":\"a\",\"generation\":-1}",
		"{\"name\":\"a\",\"generation\":\"1\"}",
		"{\"name\":\"A\",\"generation\":1}",
		"{\"name\":\"a/b\",\"generation\":1}",
		"{\"name\":\"a\",\"name\":\"b\",\"generation\":1}",
		"{\"name\":\"a\",\"generation\":1,\"owner\":\"a b\"}",
		"{\"name\":\"a\",\"generation\":1,\"hostnames\":\"x.y\"}",
		"{\"name\":\"a\",\"generation\":1,\"hostnames\":[\"x\"]}",
		"{\"name\":\"a\",\"generation\":1,\"hostnames\":[\"x.y\",\"x.y\"]}",
		"{\"name\":\"a\",\"generation\":1,\"hostnames\":[\"x.y\\u0000\"]}",
		"{\"name\":\"a\",\"generation\":1,\"address\":\"::1\"}",
		"{\"name\":\"a\",\"generation\":1,\"address6\":\"198.18.0.1\"}",
		"{\"name\":\"a\",\"generation\":1,\"ports\":[{\"port\":0,\"mode\":\"tcp\"}]}",
		"{\"name\":\"a\",\"generation\":1,\"ports\":[{\"port\":65536,\"mode\":\"tcp\"}]}",
		"{\"name\":\"a\",\"generation\":1,\"ports\":[{\"port\":1,\"mode\":\"udp\"}]}",
		("{\"name\":\"a\",\"generation\":1,\"ports\":[{\"port\":1,\"mode\":\"tcp\"},"
		 "{\"port\":1,\"mode\":\"tls\"}]}"),
		"{\"name\":\"a\",\"generation\":1,\"allow\":[\"198.18.0.0/33\"]}",
		"{\"name\":\"a\",\"generation\":1,\"deny\":[7]}",
		"{\"name\":\"a\",\"generation\":1,\"client_ca\":\"\"}",
		"{\"name\":\"a\",\"generation\":1,\"enroll\":{}}",
		"{\"name\":\"a\",\"generation\":1,\"enroll\":{\"salt\":\"00\",\"hash\":\"00\"}}",
	};
	struct tunnel t;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (tunnel_parse(&t, wrong[i]) != -EINVAL || t.name[0])
			fail_msg("taken: %s", wrong[i]);
}

static void test_names(void **state)
{
	char label[65] = "", name[260] = "";

	(void)state;
	memset(label, 'a', 63);
	assert_true(tunnel_name_valid("a"));
	assert_true(tunnel_name_valid("my-app-2"));
	assert_true(tunnel_name_valid("0123456789012345678901234567890123456789"));
	assert_false(tunnel_name_valid("01234567890123456789012345678901234567890"));
	assert_false(tunnel_name_valid(""));
	assert_false(tunnel_name_valid("-a"));
	assert_false(tunnel_name_valid("a-"));
	assert_false(tunnel_name_valid("a.b"));
	assert_false(tunnel_name_valid("Ab"));
	assert_true(tunnel_hostname_valid("app.edge.example"));
	assert_true(tunnel_hostname_valid("1.2.example"));
	assert_false(tunnel_hostname_valid("app"));
	assert_false(tunnel_hostname_valid("App.example"));
	assert_false(tunnel_hostname_valid("app.example."));
	assert_false(tunnel_hostname_valid(".example.com"));
	assert_false(tunnel_hostname_valid("a..example"));
	assert_false(tunnel_hostname_valid("*.example.com"));
	assert_false(tunnel_hostname_valid("198.18.0.1"));
	assert_false(tunnel_hostname_valid("-a.example"));
	assert_false(tunnel_hostname_valid("a.example/"));
	snprintf(name, sizeof(name), "%s.%s.%s.%.61s", label, label, label, label);
	assert_int_equal(strlen(name), 253);
	assert_true(tunnel_hostname_valid(name));
	snprintf(name, sizeof(name), "%s.%s.%s.%.62s", label, label, label, label);
	assert_false(tunnel_hostname_valid(name));
	snprintf(name, sizeof(name), "a%s.example", label);
	assert_false(tunnel_hostname_valid(name));
	for (int mode = TUNNEL_HTTP; mode <= TUNNEL_TCP; mode++)
		assert_int_equal(tunnel_mode_parse(tunnel_mode_word(mode)), mode);
	assert_int_equal(tunnel_mode_parse("udp"), -1);
}

static bool admits(const struct tunnel *t, const char *client)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, client), 0);
	return tunnel_admits(t, &a);
}

static void test_admits(void **state)
{
	struct tunnel t;

	(void)state;
	fill(&t);
	assert_true(admits(&t, "198.18.3.1"));
	assert_false(admits(&t, "198.18.4.1"));
	assert_false(admits(&t, "198.19.0.1"));
	assert_false(admits(&t, "2001:db8::1"));
	t.nallow = 0;
	assert_true(admits(&t, "198.19.0.1"));
	assert_true(admits(&t, "2001:db8::1"));
	assert_false(admits(&t, "198.18.4.1"));
	tunnel_clear(&t);
}

static void test_secret(void **state)
{
	struct tunnel t;

	(void)state;
	fill(&t);
	assert_int_equal(tunnel_check_secret(&t, "secret", t.enroll_until - 1), 0);
	assert_int_equal(tunnel_check_secret(&t, "secret", t.enroll_until), -ETIME);
	assert_int_equal(tunnel_check_secret(&t, "Secret", t.enroll_until - 1), -EACCES);
	t.enroll_hash[0] = '\0';
	assert_int_equal(tunnel_check_secret(&t, "secret", t.enroll_until - 1), -ENOENT);
	tunnel_clear(&t);
}

static void test_attachment(void **state)
{
	struct attachment a = { .tunnel = "app",
				.edge = "e1",
				.generation = 3,
				.connections = 4,
				.origins = 2,
				.rtt_us = 1500,
				.draining = true },
			  got;
	char *text;

	(void)state;
	assert_int_equal(addr_parse(&a.address, "198.18.1.1"), 0);
	text = attachment_format(&a);
	memset(&got, 0xff, sizeof(got));
	assert_int_equal(attachment_parse(&got, "app/e1", text), 0);
	assert_string_equal(got.tunnel, "app");
	assert_string_equal(got.edge, "e1");
	assert_true(addr_equal(&got.address, &a.address));
	assert_int_equal(got.address6.family, AF_UNSPEC);
	assert_int_equal(got.generation, 3);
	assert_int_equal(got.connections, 4);
	assert_int_equal(got.origins, 2);
	assert_int_equal(got.rtt_us, 1500);
	assert_true(got.draining);
	assert_int_equal(attachment_parse(&got, "app", text), -EINVAL);
	assert_int_equal(attachment_parse(&got, "app/", text), -EINVAL);
	assert_int_equal(attachment_parse(&got, "/e1", text), -EINVAL);
	assert_int_equal(attachment_parse(&got, "App/e1", text), -EINVAL);
	assert_int_equal(attachment_parse(&got, "app/e1/x", text), -EINVAL);
	assert_int_equal(attachment_parse(&got, "app/e1", "{}"), -EINVAL);
	assert_int_equal(attachment_parse(&got, "app/e1", "{\"generation\":1,\"rtt_us\":-1}"),
			 -EINVAL);
	assert_int_equal(attachment_parse(&got, "app/e1", "{\"generation\":1,\"draining\":1}"),
			 -EINVAL);
	assert_string_equal(got.edge, "e1");
	free(text);
}

#define SECRET	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_"
#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_token(void **state)
{
	static const char *const wrong[] = {
		"",
		"weirt1.",
		"weirt2.app." SECRET "." FINGERPRINT,
		"weirt1.app." SECRET "." FINGERPRINT "0",
		"weirt1.app." SECRET ".0" FINGERPRINT,
		"weirt1.App." SECRET "." FINGERPRINT,
		"weirt1.." SECRET "." FINGERPRINT,
		"weirt1.app." SECRET "-" FINGERPRINT,
		"weirt1.app.=" SECRET "." FINGERPRINT,
		("weirt1.app." SECRET),
	};
	struct tunnel_token t;
	char text[256];

	(void)state;
	assert_int_equal(tunnel_token_parse(&t, "weirt1.app." SECRET "." FINGERPRINT), 0);
	assert_string_equal(t.name, "app");
	assert_string_equal(t.secret, SECRET);
	assert_string_equal(t.fingerprint, FINGERPRINT);
	tunnel_token_format(&t, text, sizeof(text));
	assert_string_equal(text, "weirt1.app." SECRET "." FINGERPRINT);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (tunnel_token_parse(&t, wrong[i]) != -EINVAL)
			fail_msg("taken: %s", wrong[i]);
}

static void test_ask(void **state)
{
	struct enroll_ask a = { .tunnel = "app", .secret = SECRET, .csr = (char *)"-----BEGIN" },
			  got = { 0 };
	char *text = enroll_ask_format(&a);

	(void)state;
	assert_int_equal(enroll_ask_parse(&got, text), 0);
	assert_string_equal(got.tunnel, "app");
	assert_string_equal(got.secret, SECRET);
	assert_string_equal(got.csr, a.csr);
	enroll_ask_clear(&got);
	assert_null(got.csr);
	free(text);
	assert_int_equal(enroll_ask_parse(&got, "{\"tunnel\":\"app\",\"secret\":\"" SECRET "\"}"),
			 -EINVAL);
	assert_int_equal(
		enroll_ask_parse(&got, "{\"tunnel\":\"app\",\"secret\":\"A\",\"csr\":\"x\"}"),
		-EINVAL);
	assert_int_equal(enroll_ask_parse(&got, "{\"tunnel\":\"../x\",\"secret\":\"" SECRET
						"\",\"csr\":\"x\"}"),
			 -EINVAL);
}

/* The address chosen from a pool of one or more networks when those listed are taken; "-" in front
 * of an address: its quarantine is over (revision 9). NULL: -ENOSPC, "none": no such family. */
static void choose(const char *networks, const char *taken, uint8_t family, const char *want,
		   int64_t want_revision)
{
	struct addr_prefix prefix[4];
	struct taken_address list[16];
	struct tunnel_pool pool = { prefix, 0, 60 };
	char text[256], *save = NULL, got[ADDR_STRLEN];
	struct addr a = { 0 };
	int64_t revision = -1;
	size_t n = 0;
	int rc;

	snprintf(text, sizeof(text), "%s", networks);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		assert_int_equal(addr_prefix_parse(&prefix[pool.n++], w), 0);
	snprintf(text, sizeof(text), "%s", taken);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		list[n].free_at = *w == '-' ? 9 : 0;
		assert_int_equal(addr_parse(&list[n++].addr, w + (*w == '-')), 0);
	}
	rc = tunnels_choose(&pool, family, list, n, &a, &revision);
	if (!want) {
		assert_int_equal(rc, -ENOSPC);
		return;
	}
	if (!strcmp(want, "none")) {
		assert_int_equal(rc, 0);
		return;
	}
	assert_int_equal(rc, 1);
	assert_string_equal(addr_format(&a, got, sizeof(got)), want);
	assert_int_equal(revision, want_revision);
}

static void test_choose(void **state)
{
	(void)state;
	choose("198.18.9.0/30", "", AF_INET, "198.18.9.1", 0);
	choose("198.18.9.0/30", "198.18.9.1", AF_INET, "198.18.9.2", 0);
	choose("198.18.9.0/30", "198.18.9.1 198.18.9.2", AF_INET, NULL, 0);
	choose("198.18.9.0/30", "198.18.9.1 -198.18.9.2", AF_INET, "198.18.9.2", 9);
	choose("198.18.9.0/30", "-198.18.9.1", AF_INET, "198.18.9.1", 9);
	choose("198.18.9.0/30", "198.18.8.1 198.18.9.0 198.18.9.2 198.18.10.7", AF_INET,
	       "198.18.9.1", 0);
	choose("198.18.9.0/30 198.18.7.4/32", "198.18.9.1 198.18.9.2", AF_INET, "198.18.7.4", 0);
	choose("198.18.9.4/31", "198.18.9.4", AF_INET, "198.18.9.5", 0);
	choose("198.18.9.4/31", "198.18.9.4 198.18.9.5", AF_INET, NULL, 0);
	choose("255.255.255.254/31", "255.255.255.254 255.255.255.255", AF_INET, NULL, 0);
	choose("198.18.9.0/24", "", AF_INET6, "none", 0);
	choose("2001:db8:9::/64", "198.18.9.1 2001:db8:9::1", AF_INET6, "2001:db8:9::2", 0);
	choose("2001:db8:9::ff/128", "2001:db8:9::ff", AF_INET6, NULL, 0);
	choose("2001:db8:9::fe/127", "2001:db8:9::fe", AF_INET6, "2001:db8:9::ff", 0);
	choose("198.18.9.0/24 2001:db8:9::/120", "", AF_INET6, "2001:db8:9::1", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tunnel_round), cmocka_unit_test(test_tunnel_refused),
		cmocka_unit_test(test_names),	     cmocka_unit_test(test_admits),
		cmocka_unit_test(test_secret),	     cmocka_unit_test(test_attachment),
		cmocka_unit_test(test_token),	     cmocka_unit_test(test_ask),
		cmocka_unit_test(test_choose),
	};

	return cmocka_run_group_tests_name("tunnels", tests, NULL, NULL);
}
