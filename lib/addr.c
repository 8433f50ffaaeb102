// SPDX-License-Identifier: Apache-2.0
/*
 * addr.c -- addresses, socket addresses and prefixes as people write them.
 *
 * Parsing is strict: what inet_pton(3) takes, decimal ports and lengths without sign, blank or
 * leading zero, nothing behind. Whoever writes "010.0.0.1" or "80 " hears of it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/addr.h"

int addr_parse(struct addr *out, const char *text)
{
	struct addr a = { 0 };

	if (inet_pton(AF_INET, text, a.bytes) == 1)
		a.family = AF_INET;
	else if (inet_pton(AF_INET6, text, a.bytes) == 1)
		a.family = AF_INET6;
	else
		return -EINVAL;
	*out = a;
	return 0;
}

/* A decimal number up to max, without sign or leading zero; the first byte behind it, or NULL. */
static const char *parse_number(const char *text, unsigned int max, unsigned int *out)
{
	unsigned int n = 0;
	const char *p = text;

	if (*p == '0' && p[1] >= '0' && p[1] <= '9')
		return NULL;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (unsigned int)(*p - '0');
		if (n > max)
			return NULL;
	}
	if (p == text)
		return NULL;
	*out = n;
	return p;
}

/* Keeps the first len bits, the rest becomes zero. */
static void mask_bits(struct addr *a, unsigned int len)
{
	for (unsigned int i = 0; i < sizeof(a->bytes); i++) {
		unsigned int first = i * 8;

		if (first >= len)
			a->bytes[i] = 0;
		else if (len - first < 8)
			a->bytes[i] &= (uint8_t)(0xff << (8 - (len - first)));
	}
}

int addr_prefix_parse(struct addr_prefix *out, const char *text)
{
	const char *slash = strchr(text, '/');
	struct addr_prefix p = { 0 };
	char head[ADDR_STRLEN];
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	unsigned int len, bits;
	const char *end;

	if (n >= sizeof(head))
		return -EINVAL;
	memcpy(head, text, n);
	head[n] = '\0';
	if (addr_parse(&p.addr, head))
		return -EINVAL;
	bits = p.addr.family == AF_INET ? 32 : 128;
	len = bits;
	if (slash) {
		end = parse_number(slash + 1, bits, &len);
		if (!end || *end)
			return -EINVAL;
	}
	mask_bits(&p.addr, len);
	p.len = (uint8_t)len;
	*out = p;
	return 0;
}

static int unix_parse(struct addr_port *out, const char *path)
{
	struct addr_port ap = { 0 };

	if (path[0] != '/' || strlen(path) >= sizeof(ap.path))
		return -EINVAL;
	strcpy(ap.path, path);
	*out = ap;
	return 0;
}

int addr_port_parse(struct addr_port *out, const char *text)
{
	struct addr_port ap = { 0 };
	char head[ADDR_STRLEN];
	const char *start = text, *stop, *p;
	unsigned int port;

	if (!strncmp(text, "unix:", 5))
		return unix_parse(out, text + 5);
	if (*text == '[') {
		start = text + 1;
		stop = strchr(start, ']');
		p = stop ? stop + 1 : NULL;
	} else {
		p = stop = strchr(text, ':');
	}
	if (!p || *p != ':' || (size_t)(stop - start) >= sizeof(head))
		return -EINVAL;
	memcpy(head, start, (size_t)(stop - start));
	head[stop - start] = '\0';
	/* Brackets are for IPv6 alone, and IPv6 always has them: "::1:80" could be read two ways.
	 */
	if (addr_parse(&ap.addr, head) || (ap.addr.family == AF_INET6) != (*text == '['))
		return -EINVAL;
	p = parse_number(p + 1, 65535, &port);
	if (!p)
		return -EINVAL;
	if (!strcmp(p, "/tcp"))
		ap.proto = IPPROTO_TCP;
	else if (!strcmp(p, "/udp"))
		ap.proto = IPPROTO_UDP;
	else if (*p)
		return -EINVAL;
	ap.port = (uint16_t)port;
	*out = ap;
	return 0;
}

int addr_serve_parse(struct addr_port *out, const char *text)
{
	const char *slash = *text == '[' ? strstr(text, "]/") : strchr(text, '/');
	size_t head = slash ? (size_t)(slash - text) + (*text == '[') : 0;
	unsigned int bits, max = *text == '[' ? 128 : 32;
	char plain[ADDR_PORT_STRLEN];
	struct addr_port ap;
	const char *rest;

	/* The slash of "/tcp" comes behind the port's colon. */
	if (!slash || (*text != '[' && memchr(text, ':', head)))
		return addr_port_parse(out, text);
	rest = parse_number(text + head + 1, max, &bits);
	if (!rest || !bits || head + strlen(rest) >= sizeof(plain))
		return -EINVAL;
	snprintf(plain, sizeof(plain), "%.*s%s", (int)head, text, rest);
	if (addr_port_parse(&ap, plain) || ap.path[0])
		return -EINVAL;
	mask_bits(&ap.addr, bits);
	ap.prefix = bits == max ? 0 : (uint8_t)bits;
	*out = ap;
	return 0;
}

/* Without stdio: an edge does it for every request. */
static char *format_v4(const uint8_t *bytes, char *buf)
{
	char *to = buf;

	for (int i = 0; i < 4; i++) {
		unsigned int n = bytes[i];

		if (i)
			*to++ = '.';
		if (n >= 100)
			*to++ = (char)('0' + n / 100);
		if (n >= 10)
			*to++ = (char)('0' + n / 10 % 10);
		*to++ = (char)('0' + n % 10);
	}
	*to = '\0';
	return buf;
}

char *addr_format(const struct addr *a, char *buf, size_t len)
{
	if (a->family == AF_INET && len >= INET_ADDRSTRLEN)
		return format_v4(a->bytes, buf);
	if (a->family == AF_UNSPEC || !inet_ntop(a->family, a->bytes, buf, (socklen_t)len))
		snprintf(buf, len, "%s", "-");
	return buf;
}

char *addr_prefix_format(const struct addr_prefix *p, char *buf, size_t len)
{
	char head[ADDR_STRLEN];

	snprintf(buf, len, "%s/%u", addr_format(&p->addr, head, sizeof(head)), p->len);
	return buf;
}

char *addr_port_format(const struct addr_port *ap, char *buf, size_t len)
{
	const char *proto = ap->proto == IPPROTO_TCP   ? "/tcp"
			    : ap->proto == IPPROTO_UDP ? "/udp"
						       : "";
	char head[ADDR_STRLEN], bits[8] = "";

	if (ap->prefix)
		snprintf(bits, sizeof(bits), "/%u", ap->prefix);
	if (ap->path[0])
		snprintf(buf, len, "unix:%s", ap->path);
	else if (ap->addr.family == AF_UNSPEC)
		snprintf(buf, len, "%s", "-");
	else
		snprintf(buf, len, ap->addr.family == AF_INET6 ? "[%s]%s:%u%s" : "%s%s:%u%s",
			 addr_format(&ap->addr, head, sizeof(head)), bits, ap->port, proto);
	return buf;
}

static size_t addr_len(const struct addr *a)
{
	return a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, addr_len(a));
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	if (a->family == AF_INET)
		return a->bytes[0] == 127;
	return a->family == AF_INET6 && !memcmp(a->bytes, one, sizeof(one));
}

bool addr_port_is_local(const struct addr_port *ap)
{
	return ap->path[0] || addr_is_loopback(&ap->addr);
}

bool addr_prefix_contains(const struct addr_prefix *p, const struct addr *a)
{
	struct addr masked = *a;

	if (a->family != p->addr.family || a->family == AF_UNSPEC)
		return false;
	mask_bits(&masked, p->len);
	return addr_equal(&masked, &p->addr);
}

socklen_t addr_port_sockaddr(const struct addr_port *ap, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_un *un = (struct sockaddr_un *)ss;

	memset(ss, 0, sizeof(*ss));
	if (ap->path[0]) {
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, ap->path, sizeof(un->sun_path));
		return sizeof(*un);
	}
	if (ap->addr.family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(ap->port);
		memcpy(&in->sin_addr, ap->addr.bytes, 4);
		return sizeof(*in);
	}
	in6->sin6_family = ap->addr.family;
	in6->sin6_port = htons(ap->port);
	memcpy(&in6->sin6_addr, ap->addr.bytes, 16);
	return ap->addr.family == AF_INET6 ? sizeof(*in6) : 0;
}

void addr_from_sockaddr(struct addr_port *out, const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		out->addr.family = AF_INET;
		memcpy(out->addr.bytes, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		out->addr.family = AF_INET;
		memcpy(out->addr.bytes, in6->sin6_addr.s6_addr + 12, 4);
		out->port = ntohs(in6->sin6_port);
	} else if (sa->sa_family == AF_INET6) {
		out->addr.family = AF_INET6;
		memcpy(out->addr.bytes, &in6->sin6_addr, 16);
		out->port = ntohs(in6->sin6_port);
	}
}

/* Options before bind(). 0 or -errno. */
static int set_options(int fd, int family, bool reuseport)
{
	int on = 1;

	if (family == AF_UNIX)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		return -errno;
	if (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return -errno;
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		return -errno;
	return 0;
}

/* Replaces an old socket file, and nothing that is not a socket. */
static int unlink_old(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(path) ? -errno : 0;
}

/* The mode is set before the socket has a name, so that nobody connects in between, and not by the
 * name, which another user of the folder could have turned into a link. */
static int bind_named(int fd, const struct sockaddr_storage *ss, socklen_t len, mode_t mode)
{
	mode_t before;
	int err;

	if (ss->ss_family != AF_UNIX)
		return bind(fd, (const struct sockaddr *)ss, len) ? -errno : 0;
	if (fchmod(fd, mode))
		return -errno;
	before = umask(0);
	err = bind(fd, (const struct sockaddr *)ss, len) ? -errno : 0;
	umask(before);
	return err;
}

int addr_bind(const struct addr_port *ap, int type, int backlog, bool reuseport, mode_t mode)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(ap, &ss);
	int fd, err;

	if (!len)
		return -EINVAL;
	fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = set_options(fd, ss.ss_family, reuseport);
	if (!err && ap->path[0])
		err = unlink_old(ap->path);
	if (!err)
		err = bind_named(fd, &ss, len, mode);
	if (!err && type == SOCK_STREAM && backlog > 0 && listen(fd, backlog))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}
