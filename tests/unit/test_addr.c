// SPDX-License-Identifier: Apache-2.0
/* addr: what is taken, what is refused, and that formatting gives back what was written. */
#include <errno.h>
#include <sys/stat.h>

#include "lib/addr.h"
#include "tests/unit/unit.h"

static void addresses(void **state)
{
	static const char *const good[] = { "0.0.0.0", "198.18.1.10", "::", "2001:db8::1", "::1" };
	static const char *const bad[] = { "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "host",
					   " 1.2.3.4", "1.2.3.4 ", "::1%lo", "[::1]", "1.2.3.4/8" };
	struct addr a, kept;
	char buf[ADDR_STRLEN];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(addr_parse(&a, good[i]), 0);
		assert_string_equal(addr_format(&a, buf, sizeof(buf)), good[i]);
	}
	memset(&a, 0x5a, sizeof(a));
	kept = a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(addr_parse(&a, bad[i]), -EINVAL);
		assert_memory_equal(&a, &kept, sizeof(a));
	}
}

static void prefixes(void **state)
{
	static const char *const cases[][2] = {
		{ "198.18.0.0/16", "198.18.0.0/16" }, { "198.18.7.9/16", "198.18.0.0/16" },
		{ "10.1.2.3", "10.1.2.3/32" },	      { "10.255.255.255/9", "10.128.0.0/9" },
		{ "0.0.0.0/0", "0.0.0.0/0" },	      { "2001:db8::1/33", "2001:db8::/33" },
		{ "2001:db8::1", "2001:db8::1/128" },
	};
	static const char *const bad[] = { "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08",
					   "10.0.0.0/8 ", "::/129",    "/8",	      "10.0.0.0/-1",
					   "10.0.0.0/99999999999999999999" };
	struct addr_prefix p;
	struct addr a;
	char buf[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(addr_prefix_parse(&p, cases[i][0]), 0);
		assert_string_equal(addr_prefix_format(&p, buf, sizeof(buf)), cases[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(addr_prefix_parse(&p, bad[i]), -EINVAL);
	addr_prefix_parse(&p, "198.18.0.0/15");
	addr_parse(&a, "198.19.255.255");
	assert_true(addr_prefix_contains(&p, &a));
	addr_parse(&a, "198.20.0.0");
	assert_false(addr_prefix_contains(&p, &a));
	addr_parse(&a, "::1");
	assert_false(addr_prefix_contains(&p, &a));
	addr_prefix_parse(&p, "0.0.0.0/0");
	a.family = AF_UNSPEC;
	assert_false(addr_prefix_contains(&p, &a));
}

static void socket_addresses(void **state)
{
	static const char *const good[] = { "198.18.1.10:53", "[2001:db8::1]:53", "unix:/run/x.sock",
					    "198.18.1.100:80/tcp", "[::1]:0/udp", "0.0.0.0:65535" };
	static const char *const bad[] = { "",	       "1.2.3.4",     "1.2.3.4:",     "1.2.3.4:65536",
					   "::1:80",   "[1.2.3.4]:80", "[::1]80",     "[::1:80",
					   "unix:x",   "unix:",	      "1.2.3.4:80/sctp", "1.2.3.4:+80",
					   "host:80",  ":80",	      "1.2.3.4:080",  "1.2.3.4:80 " };
	char text[200] = "unix:/", buf[ADDR_PORT_STRLEN];
	struct addr_port ap;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(addr_port_parse(&ap, good[i]), 0);
		assert_string_equal(addr_port_format(&ap, buf, sizeof(buf)), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(addr_port_parse(&ap, bad[i]), -EINVAL);
	memset(text + 6, 'a', 106);
	assert_int_equal(addr_port_parse(&ap, text), 0);
	memset(text + 6, 'a', 107);
	assert_int_equal(addr_port_parse(&ap, text), -EINVAL);
}

/* A service's networks: "in" is written back as "out". */
static void networks_of_services(void **state)
{
	static const struct { const char *in, *out; } good[] = {
		{ "198.18.64.0/20:443/tcp", "198.18.64.0/20:443/tcp" },
		{ "198.18.77.9/20:0/udp", "198.18.64.0/20:0/udp" },
		{ "198.18.1.1/32:80/tcp", "198.18.1.1:80/tcp" },
		{ "198.18.1.1:80/tcp", "198.18.1.1:80/tcp" },
		{ "128.0.0.0/1:80/tcp", "128.0.0.0/1:80/tcp" },
		{ "[2001:db8:64::]/64:0/tcp", "[2001:db8:64::]/64:0/tcp" },
		{ "[2001:db8:64::9]/64:53/udp", "[2001:db8:64::]/64:53/udp" },
		{ "[2001:db8::1]/128:53/udp", "[2001:db8::1]:53/udp" },
		{ "[2001:db8::1]:53/udp", "[2001:db8::1]:53/udp" },
	};
	static const char *const bad[] = {
		"198.18.64.0/33:443/tcp", "198.18.64.0/0:443/tcp",  "198.18.64.0/:443/tcp",
		"198.18.64.0/20",	  "198.18.64.0/020:443/tcp", "198.18.64.0/20/tcp",
		"198.18.64.0/20:443/sctp", "198.18.64.0/-1:443/tcp", "/20:443/tcp",
		"[2001:db8::]/129:443/tcp", "[2001:db8::/64]:443/tcp", "2001:db8::/64:443/tcp",
		"198.18.64.0/20:", "[198.18.64.0]/20:443/tcp", "[2001:db8::]/64/443/tcp",
	};
	char buf[ADDR_PORT_STRLEN];
	struct addr_port ap;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(addr_serve_parse(&ap, good[i].in), 0);
		assert_string_equal(addr_port_format(&ap, buf, sizeof(buf)), good[i].out);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(addr_serve_parse(&ap, bad[i]), -EINVAL);
	assert_int_equal(addr_port_parse(&ap, "198.18.64.0/20:443/tcp"), -EINVAL);
}

static void loopback(void **state)
{
	static const struct {
		const char *text;
		bool local;
	} cases[] = {
		{ "127.0.0.1:1", true }, { "127.9.9.9:1", true }, { "[::1]:1", true },
		{ "unix:/x", true },	 { "0.0.0.0:1", false },  { "[::]:1", false },
		{ "10.0.0.1:1", false }, { "[::7f00:1]:1", false },
	};
	struct addr_port ap;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(addr_port_parse(&ap, cases[i].text), 0);
		assert_int_equal(addr_port_is_local(&ap), cases[i].local);
	}
}

static void sockaddr_and_back(void **state)
{
	static const char *const texts[] = { "198.18.1.10:53", "[2001:db8::1]:4242" };
	struct sockaddr_storage ss;
	struct addr_port ap, back;
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
	char buf[ADDR_PORT_STRLEN];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		addr_port_parse(&ap, texts[i]);
		assert_true(addr_port_sockaddr(&ap, &ss) > 0);
		addr_from_sockaddr(&back, (struct sockaddr *)&ss);
		assert_string_equal(addr_port_format(&back, buf, sizeof(buf)), texts[i]);
	}
	memcpy(mapped.sin6_addr.s6_addr, "\0\0\0\0\0\0\0\0\0\0\377\377\1\2\3\4", 16);
	addr_from_sockaddr(&back, (struct sockaddr *)&mapped);
	assert_string_equal(addr_port_format(&back, buf, sizeof(buf)), "1.2.3.4:7");
	memset(&ap, 0, sizeof(ap));
	assert_int_equal(addr_port_sockaddr(&ap, &ss), 0);
	assert_int_equal(addr_bind(&ap, SOCK_STREAM, 1, false, 0), -EINVAL);
}

static void bind_tcp(void **state)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr_port ap, got;
	int fd, other, on = 0;
	socklen_t on_len = sizeof(on);

	(void)state;
	addr_port_parse(&ap, "127.0.0.1:0");
	fd = addr_bind(&ap, SOCK_STREAM, 0, false, 0);
	assert_true(fd >= 0);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_len);
	assert_int_equal(on, 0); /* backlog 0: bound, not listening */
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&got, (struct sockaddr *)&ss);
	assert_true(got.port > 0);
	close(fd);
	fd = addr_bind(&got, SOCK_STREAM, 16, true, 0);
	assert_true(fd >= 0);
	other = addr_bind(&got, SOCK_STREAM, 16, true, 0);
	assert_true(other >= 0); /* reuseport */
	close(other);
	assert_int_equal(addr_bind(&got, SOCK_STREAM, 16, false, 0), -EADDRINUSE);
	close(fd);
}

static void bind_unix(void **state)
{
	char folder[200], path[300];
	struct addr_port ap = { 0 };
	struct stat st;
	int fd;

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(ap.path, sizeof(ap.path), "%.100s", path);
	for (int i = 0; i < 2; i++) { /* the second replaces what the first left */
		fd = addr_bind(&ap, SOCK_STREAM, 4, false, 0660);
		assert_true(fd >= 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0660);
		close(fd);
	}
	unlink(path);
	fclose(fopen(path, "w"));
	assert_int_equal(addr_bind(&ap, SOCK_STREAM, 4, false, 0660), -EEXIST);
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),	     cmocka_unit_test(prefixes),
		cmocka_unit_test(socket_addresses),
		cmocka_unit_test(networks_of_services),  cmocka_unit_test(loopback),
		cmocka_unit_test(sockaddr_and_back), cmocka_unit_test(bind_tcp),
		cmocka_unit_test(bind_unix),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
