// SPDX-License-Identifier: Apache-2.0
/* Targets of an origin as people write them: what is taken, what is refused with which words, and
 * which target a hostname and a port get. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "lib/target.h"

static void test_forms(void **state)
{
	static const struct {
		const char *to;
		enum target_kind kind;
		const char *host;
		uint16_t port;
		const char *path;
	} good[] = {
		{ "http://127.0.0.1:8080", TARGET_HTTP, "127.0.0.1", 8080, "" },
		{ "http://127.0.0.1:8080/", TARGET_HTTP, "127.0.0.1", 8080, "" },
		{ "HTTP://LocalHost", TARGET_HTTP, "LocalHost", 80, "" },
		{ "https://app.example", TARGET_HTTPS, "app.example", 443, "" },
		{ "https://[::1]:8443", TARGET_HTTPS, "::1", 8443, "" },
		{ "http://[2001:db8::1]", TARGET_HTTP, "2001:db8::1", 80, "" },
		{ "h2c://grpc:50051", TARGET_H2C, "grpc", 50051, "" },
		{ "h2://grpc.example", TARGET_H2, "grpc.example", 443, "" },
		{ "tcp://127.0.0.1:22", TARGET_TCP, "127.0.0.1", 22, "" },
		{ "tcp://db_1.lan:65535", TARGET_TCP, "db_1.lan", 65535, "" },
		{ "unix:/run/app.sock", TARGET_UNIX, "", 0, "/run/app.sock" },
		{ "unix:///run/app.sock", TARGET_UNIX, "", 0, "/run/app.sock" },
		{ "tcp+unix:/run/ssh.sock", TARGET_TCP_UNIX, "", 0, "/run/ssh.sock" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct target_spec s;
		char why[TARGET_WHY_MAX] = "";

		if (target_parse(&s, good[i].to, why))
			fail_msg("%s: %s", good[i].to, why);
		assert_int_equal(s.kind, good[i].kind);
		assert_string_equal(s.host, good[i].host);
		assert_int_equal(s.port, good[i].port);
		assert_string_equal(s.path, good[i].path);
	}
}

/* Each refusal says what would be right. */
static void test_refused(void **state)
{
	static const struct {
		const char *to, *said;
	} bad[] = {
		{ "", "write http://" },
		{ "8080", "write http://127.0.0.1:8080" },
		{ "127.0.0.1:8080", "write http://127.0.0.1:8080" },
		{ "localhost:8080", "write http://localhost:8080" },
		{ "/run/app.sock", "write unix:/run/app.sock" },
		{ "ws://127.0.0.1:8080", "http:// target" },
		{ "grpc://127.0.0.1:8080", "h2c:// target" },
		{ "ssh://127.0.0.1", "tcp://HOST:22" },
		{ "ftp://127.0.0.1", "nothing is known of ftp://" },
		{ "http://127.0.0.1:8080/app", "no path" },
		{ "http://127.0.0.1:8080?x", "no path" },
		{ "http://me:secret@127.0.0.1", "leave them out" },
		{ "http://", "names no host" },
		{ "http://:8080", "names no host" },
		{ "http://127.0.0.1:0", "is no port" },
		{ "http://127.0.0.1:65536", "is no port" },
		{ "http://127.0.0.1:80a", "is no port" },
		{ "http://127.0.0.1:", "is no port" },
		{ "http://127.0.0.1:+80", "is no port" },
		{ "http://::1:8080", "in brackets" },
		{ "http://[::1:8080", "bracket" },
		{ "http://[::1]8080", "bracket" },
		{ "http://[127.0.0.1]:80", "no IPv6 address" },
		{ "http://a b:80", "is no host name" },
		{ "http://-x:80", "is no host name" },
		{ "tcp://127.0.0.1", "names no port" },
		{ "unix:run/app.sock", "no absolute path" },
		{ "unix:", "no absolute path" },
		{ "unix:/"
		  "01234567890123456789012345678901234567890123456789012345678901234567890123456789"
		  "01234567890"
		  "123456789012345678",
		  "longer than the 107 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct target_spec s = { .port = 4711 };
		char why[TARGET_WHY_MAX] = "";

		if (target_parse(&s, bad[i].to, why) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i].to);
		if (!strstr(why, bad[i].said))
			fail_msg("\"%s\": said \"%s\", not \"%s\"", bad[i].to, why, bad[i].said);
		assert_int_equal(s.port, 4711);
	}
}

static void test_secret_is_not_repeated(void **state)
{
	struct target_spec s;
	char why[TARGET_WHY_MAX];

	(void)state;
	assert_int_equal(target_parse(&s, "http://me:hunter2@127.0.0.1:80", why), -EINVAL);
	assert_null(strstr(why, "hunter2"));
}

static void test_together(void **state)
{
	static const struct {
		struct conf_target t;
		const char *said; /* NULL: fine */
	} all[] = {
		{ { .hostname = "*", .to = "http://localhost:80" }, NULL },
		{ { .hostname = "app.edge.example",
		    .to = "https://localhost",
		    .ca = "/x",
		    .host = "in.lan:8443" },
		  NULL },
		{ { .hostname = "*",
		    .port = 22,
		    .to = "tcp://localhost:22",
		    .proxy = CONF_PROXY_V2 },
		  NULL },
		{ { .hostname = "*", .to = "unix:/x", .proxy = CONF_PROXY_V1 }, NULL },
		{ { .hostname = "App.edge.example", .to = "http://localhost" }, "hostname: " },
		{ { .hostname = "app", .to = "http://localhost" }, "two labels" },
		{ { .hostname = "*" }, "to: is missing" },
		{ { .hostname = "*", .to = "8080" }, "to: \"8080\"" },
		{ { .hostname = "*", .port = 80, .to = "http://localhost" }, "port: 80" },
		{ { .hostname = "*", .to = "tcp://localhost:22" }, "add port: 22" },
		{ { .hostname = "*", .to = "tcp+unix:/x" }, "add port" },
		{ { .hostname = "*", .to = "http://localhost", .ca = "/x" }, "ca: has no effect" },
		{ { .hostname = "*", .port = 1, .to = "tcp://localhost:1", .host = "a" },
		  "host: has no effect" },
		{ { .hostname = "*", .to = "http://localhost", .host = "a/b" }, "host: " },
		{ { .hostname = "*", .to = "h2c://localhost", .proxy = CONF_PROXY_V1 }, "proxy: " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct target_spec s;
		char why[TARGET_WHY_MAX] = "";
		int err = target_check(&all[i].t, &s, why);

		if (!!err != !!all[i].said || (all[i].said && !strstr(why, all[i].said)))
			fail_msg("%zu: %d, said \"%s\", not \"%s\"", i, err, why,
				 all[i].said ? all[i].said : "");
	}
}

static void test_match(void **state)
{
	const struct conf_target list[] = {
		{ .hostname = "*", .to = "0" },
		{ .hostname = "b.edge.example", .to = "1" },
		{ .hostname = "*", .port = 22, .to = "2" },
		{ .hostname = "b.edge.example", .port = 22, .to = "3" },
		{ .hostname = "c.edge.example", .port = 443, .to = "4" },
	};
	const size_t n = sizeof(list) / sizeof(*list);

	(void)state;
	assert_int_equal(target_match(list, n, "a.edge.example", 0), 0);
	assert_int_equal(target_match(list, n, "b.edge.example", 0), 1);
	assert_int_equal(target_match(list, n, "a.edge.example", 22), 2);
	assert_int_equal(target_match(list, n, "b.edge.example", 22), 3);
	assert_int_equal(target_match(list, n, "c.edge.example", 443), 4);
	assert_int_equal(target_match(list, n, "b.edge.example", 443), -1);
	assert_int_equal(target_match(list, n, "b.edge.example", 80), -1);
	assert_int_equal(target_match(list + 1, 1, "a.edge.example", 0), -1);
	assert_int_equal(target_match(list, 0, "a.edge.example", 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),	 cmocka_unit_test(test_refused),
		cmocka_unit_test(test_together), cmocka_unit_test(test_secret_is_not_repeated),
		cmocka_unit_test(test_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
