// SPDX-License-Identifier: Apache-2.0
/*
 * target.c -- targets of an origin as people write them: parsing, checking, matching. Pure.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/addr.h"
#include "lib/tunnels.h"
#include "lib/target.h"

static const struct scheme {
	const char *text;
	enum target_kind kind;
	uint16_t port; /* when none is written; 0: one must be */
	bool path;     /* a Unix socket follows */
} schemes[] = {
	{ "http://", TARGET_HTTP, 80, false },	   { "https://", TARGET_HTTPS, 443, false },
	{ "h2c://", TARGET_H2C, 80, false },	   { "h2://", TARGET_H2, 443, false },
	{ "tcp://", TARGET_TCP, 0, false },	   { "unix:", TARGET_UNIX, 0, true },
	{ "tcp+unix:", TARGET_TCP_UNIX, 0, true },
};

/* What people try, and what they mean. */
static const char *const meant[][2] = {
	{ "ws://", "WebSocket goes to an http:// target" },
	{ "wss://", "WebSocket over TLS goes to an https:// target" },
	{ "grpc://", "gRPC goes to an h2c:// target (h2:// with TLS)" },
	{ "grpcs://", "gRPC over TLS goes to an h2:// target" },
	{ "tls://", "TLS that is passed through goes to a tcp:// target" },
	{ "ssh://", "ssh goes to a tcp://HOST:22 target, with its port of the tunnel" },
	{ "http+unix:", "HTTP over a Unix socket is written unix:/PATH" },
};

__attribute__((format(printf, 2, 3))) static int refuse(char why[TARGET_WHY_MAX], const char *fmt,
							...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, TARGET_WHY_MAX, fmt, args);
	va_end(args);
	return -EINVAL;
}

bool target_is_http(enum target_kind kind)
{
	return kind != TARGET_TCP && kind != TARGET_TCP_UNIX;
}

bool target_is_h2(enum target_kind kind)
{
	return kind == TARGET_H2 || kind == TARGET_H2C;
}

bool target_is_tls(enum target_kind kind)
{
	return kind == TARGET_HTTPS || kind == TARGET_H2;
}

static int parse_port(const char *text, uint16_t *port)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	n = strtoul(text, &end, 10);
	if (*end || !n || n > 65535)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

static int parse_path(struct target_spec *out, const char *to, const char *path,
		      char why[TARGET_WHY_MAX])
{
	if (!strncmp(path, "///", 3)) /* unix:///run/x.sock, as others write it */
		path += 2;
	if (*path != '/')
		return refuse(why, "\"%.120s\" names no absolute path; write %.*s/run/app.sock", to,
			      (int)(path - to), to);
	if (strlen(path) >= sizeof(out->path))
		return refuse(why,
			      "\"%.60s…\" is longer than the %zu bytes that a Unix socket's path "
			      "may have",
			      to, sizeof(out->path) - 1);
	snprintf(out->path, sizeof(out->path), "%s", path);
	return 0;
}

/* A DNS name in the wider sense, or localhost: what getaddrinfo() may be asked. */
static bool host_is_name(const char *host)
{
	size_t len = strlen(host);

	return len &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
		       len &&
	       host[0] != '-' && host[0] != '.';
}

/* HOST, HOST:PORT, [ADDRESS]:PORT in text, which is changed. */
static int split_host(struct target_spec *out, const char *to, char *text, char why[TARGET_WHY_MAX])
{
	char *host = text, *port = NULL, *end;
	struct addr a;

	if (*text == '[') {
		end = strchr(text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return refuse(
				why, "\"%.120s\" has a bracket without its other; write [::1]:8080",
				to);
		*end = '\0';
		host = text + 1;
		port = end[1] ? end + 2 : NULL;
		if (addr_parse(&a, host) || a.family != AF_INET6)
			return refuse(why, "\"%.120s\": %.60s is no IPv6 address", to, host);
	} else {
		end = strchr(text, ':');
		if (end && strchr(end + 1, ':'))
			return refuse(
				why,
				"\"%.120s\": an IPv6 address stands in brackets, as in [::1]:8080",
				to);
		if (end) {
			*end = '\0';
			port = end + 1;
		}
		if (!*host)
			return refuse(why,
				      "\"%.120s\" names no host; write 127.0.0.1 before the port",
				      to);
		if (!host_is_name(host) || strlen(host) >= sizeof(out->host))
			return refuse(why, "\"%.120s\": \"%.60s\" is no host name", to, host);
	}
	if (port && parse_port(port, &out->port))
		return refuse(why, "\"%.120s\": \"%.20s\" is no port (1 to 65535)", to, port);
	memcpy(out->host, host, strlen(host) + 1); /* an address is shorter, a name was measured */
	return 0;
}

static int parse_host(struct target_spec *out, const char *to, const char *rest,
		      char why[TARGET_WHY_MAX])
{
	char text[TARGET_HOST_MAX + 16];
	size_t len = strcspn(rest, "/?#");

	if (rest[len] && strcmp(rest + len, "/"))
		return refuse(
			why,
			"\"%.120s\": a target has no path (\"%.40s\"); requests keep their own", to,
			rest + len);
	if (len >= sizeof(text))
		return refuse(why, "\"%.60s…\" is too long for a host and a port", to);
	memcpy(text, rest, len);
	text[len] = '\0';
	if (strchr(text, '@'))
		return refuse(why, "the target holds a user or a password, which are not sent; "
				   "leave them out");
	return split_host(out, to, text, why);
}

static int unknown_scheme(const char *to, char why[TARGET_WHY_MAX])
{
	uint16_t port;

	for (size_t i = 0; i < sizeof(meant) / sizeof(*meant); i++)
		if (!strncasecmp(to, meant[i][0], strlen(meant[i][0])))
			return refuse(why, "\"%.120s\": %s", to, meant[i][1]);
	if (!parse_port(to, &port))
		return refuse(why, "\"%.20s\" is a port alone; write http://127.0.0.1:%u", to,
			      port);
	if (*to == '/')
		return refuse(why, "\"%.120s\" is a path alone; write unix:%.120s", to, to);
	if (!strstr(to, "://"))
		return refuse(why,
			      "\"%.120s\" does not say what is spoken there; write http://%.120s "
			      "(or tcp:// for "
			      "bytes)",
			      to, to);
	return refuse(
		why,
		"\"%.120s\": nothing is known of %.*s; write http://, https://, h2c://, h2://, "
		"unix:/PATH, tcp:// or tcp+unix:/PATH",
		to, (int)(strstr(to, "://") + 3 - to), to);
}

int target_parse(struct target_spec *out, const char *to, char why[TARGET_WHY_MAX])
{
	const struct scheme *s = schemes, *end = schemes + sizeof(schemes) / sizeof(*schemes);
	struct target_spec got = { 0 };
	int err;

	while (s < end && strncasecmp(to, s->text, strlen(s->text)))
		s++;
	if (s == end)
		return unknown_scheme(to, why);
	got.kind = s->kind;
	got.port = s->port;
	err = s->path ? parse_path(&got, to, to + strlen(s->text), why)
		      : parse_host(&got, to, to + strlen(s->text), why);
	if (err)
		return err;
	if (!s->path && !got.port)
		return refuse(
			why,
			"\"%.120s\" names no port, and %s has none of its own; write %s%.100s:PORT",
			to, s->text, s->text, got.host);
	*out = got;
	return 0;
}

static int check_port(const struct conf_target *t, const struct target_spec *s,
		      char why[TARGET_WHY_MAX])
{
	if (t->port && target_is_http(s->kind))
		return refuse(
			why,
			"port: %u stands beside an HTTP target; `port` is for bytes: write tcp:// "
			"(or tcp+unix:), or leave port out",
			t->port);
	if (!t->port && !target_is_http(s->kind))
		return refuse(why,
			      "to: bytes need to know from which port of the tunnel they come; add "
			      "port: %u",
			      s->port ? s->port : 22);
	return 0;
}

int target_check(const struct conf_target *t, struct target_spec *out, char why[TARGET_WHY_MAX])
{
	struct target_spec s;
	char rest[TARGET_WHY_MAX];

	if (t->hostname && strcmp(t->hostname, "*") && !tunnel_hostname_valid(t->hostname))
		return refuse(why,
			      "hostname: \"%.120s\" is no host name in lower case with at least "
			      "two labels; "
			      "write app.edge.example, or \"*\" for all",
			      t->hostname);
	if (!t->to)
		return refuse(why, "to: is missing; write to: http://127.0.0.1:8080");
	if (target_parse(&s, t->to, rest))
		return refuse(why, "to: %.*s", TARGET_WHY_MAX - 8, rest);
	if (check_port(t, &s, why))
		return -EINVAL;
	if (t->ca && !target_is_tls(s.kind))
		return refuse(why, "ca: has no effect on %.60s; use it with https:// or h2://",
			      t->to);
	if (t->host && !target_is_http(s.kind))
		return refuse(
			why,
			"host: has no effect on %.60s, whose bytes are not looked at; leave it out",
			t->to);
	if (t->host && (strpbrk(t->host, " /?#@\t\r\n") || !*t->host))
		return refuse(
			why,
			"host: \"%.60s\" is no host; write a name, with :PORT when one is wanted",
			t->host);
	if (t->proxy != CONF_PROXY_OFF && target_is_h2(s.kind))
		return refuse(why,
			      "proxy: a connection of HTTP/2 carries many clients, and the PROXY "
			      "protocol names "
			      "one; leave it out (Forwarded and X-Forwarded-For name the client)");
	*out = s;
	return 0;
}

int target_match(const struct conf_target *list, size_t n, const char *hostname, uint16_t port)
{
	int any = -1;

	for (size_t i = 0; i < n; i++) {
		if (list[i].port != port)
			continue;
		if (list[i].hostname && strcmp(list[i].hostname, "*")) {
			if (!strcmp(list[i].hostname, hostname))
				return (int)i;
		} else if (any < 0) {
			any = (int)i;
		}
	}
	return any;
}
