/* SPDX-License-Identifier: Apache-2.0 */
/* Where a gateway says that pages reach it. */
#include "tests/unit/unit.h"

#include "http/gateway/neighbours.h"

static void announces(const struct conf *conf, const char *want)
{
	char *text = neighbours_announcement(conf);

	assert_string_equal(text, want);
	free(text);
}

static void test_where_pages_reach_it(void **state)
{
	struct addr_port listen[4];
	char *urls[] = { "https://gw1.example.net", "https://gw1.example.org:8443" };
	struct conf conf = { .gateway = { .listen = listen, .nlisten = 4 } };

	(void)state;
	assert_int_equal(addr_port_parse(&listen[0], "0.0.0.0:80"), 0);
	assert_int_equal(addr_port_parse(&listen[1], "[::]:80"), 0);
	assert_int_equal(addr_port_parse(&listen[2], "unix:/run/weir/gateway.http"), 0);
	assert_int_equal(addr_port_parse(&listen[3], "198.18.1.21:8080"), 0);
	announces(&conf, "{\"public\":[\"http://198.18.1.21:8080\"]}");
	/* wildcards alone say nothing; the name under which people sign in does */
	conf.gateway.nlisten = 3;
	announces(&conf, "{\"public\":[]}");
	conf.identity.url = "https://store.example.net/sub";
	announces(&conf, "{\"public\":[]}");
	conf.identity.url = "https://store.example.net";
	announces(&conf, "{\"public\":[\"https://store.example.net\"]}");
	/* what is said counts */
	conf.gateway.nlisten = 4;
	conf.gateway.peers.urls = urls;
	conf.gateway.peers.nurls = 2;
	announces(&conf, "{\"public\":[\"https://gw1.example.net\",\"https://gw1.example.org:8443\"]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_where_pages_reach_it) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
