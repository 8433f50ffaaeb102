/* SPDX-License-Identifier: Apache-2.0 */
/* proxy.c: what is written is read back, examples of the text are read, nothing half right passes. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "user/tunnel/proxy.h"

static struct proxy of(const char *client, const char *server)
{
	struct proxy p = { 0 };

	assert_int_equal(addr_port_parse(&p.client, client), 0);
	assert_int_equal(addr_port_parse(&p.server, server), 0);
	return p;
}

static void same(const struct addr_port *a, const struct addr_port *b)
{
	assert_true(addr_equal(&a->addr, &b->addr));
	assert_int_equal(a->port, b->port);
}

static void reads_what_it_writes(void **state)
{
	const struct proxy all[] = {
		of("198.51.100.7:40000", "203.0.113.1:443"),
		of("[2001:db8::7]:65535", "[2001:db8::1]:1"),
		of("0.0.0.0:0", "255.255.255.255:65535"),
		of("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		   "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"),
	};
	uint8_t text[PROXY_HEADER_MAX + 3];
	struct proxy p;

	(void)state;
	for (int version = 1; version <= 2; version++) {
		for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
			size_t n = proxy_format(&all[i], version, text);

			for (size_t cut = 0; cut < n; cut++)
				assert_int_equal(proxy_parse(&p, text, cut), 0);
			memcpy(text + n, "GET", 3);
			assert_int_equal(proxy_parse(&p, text, n + 3), n);
			assert_false(p.local);
			same(&p.client, &all[i].client);
			same(&p.server, &all[i].server);
		}
	}
}

static void addresses_that_cannot_be_written(void **state)
{
	struct proxy mixed = of("198.51.100.7:40000", "[2001:db8::1]:1"), none = { 0 }, p;
	struct proxy local = of("198.51.100.7:40000", "203.0.113.1:443");
	const struct proxy *all[] = { &mixed, &none, &local };
	uint8_t text[PROXY_HEADER_MAX];

	(void)state;
	local.local = true;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(proxy_format(all[i], 1, text), 15);
		assert_memory_equal(text, "PROXY UNKNOWN\r\n", 15);
		assert_int_equal(proxy_parse(&p, text, 15), 15);
		assert_true(p.local);
		assert_int_equal(proxy_format(all[i], 2, text), 16);
		assert_int_equal(proxy_parse(&p, text, 16), 16);
		assert_true(p.local);
	}
}

static long v1(const char *text, struct proxy *p)
{
	return proxy_parse(p, (const uint8_t *)text, strlen(text));
}

static void version_1_is_strict(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n",
		"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999999999999\r\n",
		"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
		"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
		"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
		"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY UNKNOWNX\r\n",
		"PROXY \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r2\r\n",
		("PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
	};
	struct proxy p = { .local = true };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(v1(bad[i], &p), -EINVAL);
	assert_int_equal(proxy_parse(&p, (const uint8_t *)"PROXY UNKNOWN \0\r\n", 17), -EINVAL);
	assert_true(p.local);
	/* section 2.1's examples */
	assert_int_equal(v1("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", &p), 56);
	assert_int_equal(v1("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", &p), 59);
	assert_true(p.local);
	assert_int_equal(v1("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /", &p), 47);
	assert_int_equal(p.client.port, 56324);
	assert_int_equal(p.server.port, 443);
	/* one client, whatever the balancer's socket is */
	assert_true(v1("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 56324 443\r\n", &p) > 0);
	assert_int_equal(p.client.addr.family, AF_INET);
	assert_memory_equal(p.client.addr.bytes, "\xc0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(p.server.addr.family, AF_INET6);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static long v2(const char *bytes, size_t len, struct proxy *p)
{
	return proxy_parse(p, (const uint8_t *)bytes, len);
}

static void version_2_is_strict(void **state)
{
	struct proxy p;

	(void)state;
	/* with TLVs (ALPN, none), and with one that does not fit */
	assert_int_equal(v2(V2 "\x21\x11\x00\x14" "\1\2\3\4\5\6\7\x8\0\x50\1\xbb" "\1\0\2h2" "\4\0\0", 36, &p), 36);
	assert_int_equal(p.client.port, 80);
	assert_int_equal(p.server.port, 443);
	assert_int_equal(v2(V2 "\x21\x11\x00\x11" "\1\2\3\4\5\6\7\x8\0\x50\1\xbb" "\1\0\3h2", 33, &p), -EINVAL);
	assert_int_equal(v2(V2 "\x21\x11\x00\x0e" "\1\2\3\4\5\6\7\x8\0\x50\1\xbb" "\1\0", 30, &p), -EINVAL);
	/* too short for its family, datagrams, an unknown command and version */
	assert_int_equal(v2(V2 "\x21\x11\x00\x0b" "\1\2\3\4\5\6\7\x8\0\x50\1", 27, &p), -EINVAL);
	assert_int_equal(v2(V2 "\x21\x12\x00\x0c" "\1\2\3\4\5\6\7\x8\0\x50\1\xbb", 28, &p), -EINVAL);
	assert_int_equal(v2(V2 "\x22\x11\x00\x0c", 16, &p), -EINVAL);
	assert_int_equal(v2(V2 "\x11", 13, &p), -EINVAL);
	/* longer than we take, known from its length alone */
	assert_int_equal(v2(V2 "\x21\x11\x10\x00", 16, &p), -EINVAL);
	/* LOCAL and UNSPEC: whatever is inside is skipped */
	assert_int_equal(v2(V2 "\x20\x11\x00\x03" "xyz", 19, &p), 19);
	assert_true(p.local);
	assert_int_equal(v2(V2 "\x21\x00\x00\x00", 16, &p), 16);
	assert_true(p.local);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(addresses_that_cannot_be_written),
		cmocka_unit_test(version_1_is_strict),
		cmocka_unit_test(version_2_is_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
