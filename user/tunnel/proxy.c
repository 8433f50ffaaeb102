// SPDX-License-Identifier: Apache-2.0
/*
 * proxy.c -- the PROXY protocol, both versions, read and written (see proxy.h).
 *
 * The names of sections are those of haproxy's proxy-protocol.txt. Reading is strict: one byte that
 * is not the protocol's ends the connection, since a stranger's guess would name any client.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/proxy.h"

#define V1_MAX	  107 /* with CR LF (section 2.1) */
#define V2_HEADER 16

static const uint8_t v1_start[] = "PROXY ";
static const uint8_t v2_start[12] = "\r\n\r\n\0\r\nQUIT\n";

/* A balancer that listens for both families may say ::ffff:192.0.2.1: networks that are allowed or
 * denied, and counts by address, mean 192.0.2.1. */
static void unmap(struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct addr v4 = { .family = AF_INET };

	if (a->family != AF_INET6 || memcmp(a->bytes, mapped, sizeof(mapped)) != 0)
		return;
	memcpy(v4.bytes, a->bytes + 12, 4);
	*a = v4;
}

static long known(struct proxy *out, struct proxy *p, size_t len)
{
	unmap(&p->client.addr);
	unmap(&p->server.addr);
	*out = *p;
	return (long)len;
}

/* ---- version 1 (section 2.1) ---- */

/* A port: decimal, no sign, no leading zero. */
static int v1_port(uint16_t *out, const char *text)
{
	unsigned long n = 0;
	size_t len = strlen(text);

	if (len == 0 || len > 5 || strspn(text, "0123456789") != len || (len > 1 && *text == '0'))
		return -EINVAL;
	n = strtoul(text, NULL, 10);
	if (n > 65535)
		return -EINVAL;
	*out = (uint16_t)n;
	return 0;
}

/* "TCP4 SRC DST SPORT DPORT": exactly one blank between. Cuts the line. */
static int v1_addresses(struct proxy *p, char *line)
{
	int family = !strncmp(line, "TCP4 ", 5) ? AF_INET : AF_INET6;
	char *part[4], *rest = line + 5;

	for (size_t i = 0; i < 4; i++)
		part[i] = strsep(&rest, " ");
	if (rest || !part[3] || addr_parse(&p->client.addr, part[0]) ||
	    addr_parse(&p->server.addr, part[1]) || p->client.addr.family != family ||
	    p->server.addr.family != family || v1_port(&p->client.port, part[2]) ||
	    v1_port(&p->server.port, part[3]))
		return -EINVAL;
	p->client.proto = p->server.proto = IPPROTO_TCP;
	return 0;
}

static long v1_parse(struct proxy *out, const uint8_t *data, size_t len)
{
	struct proxy p = { 0 };
	char line[V1_MAX + 1];
	size_t n = len < V1_MAX ? len : V1_MAX;
	const uint8_t *end = memchr(data, '\n', n);

	if (!end)
		return len >= V1_MAX ? -EINVAL : 0;
	n = (size_t)(end - data) + 1;
	if (end == data || end[-1] != '\r' || memchr(data, '\0', n) ||
	    memchr(data, '\r', n) != end - 1)
		return -EINVAL;
	memcpy(line, data, n);
	line[n - 2] = '\0';
	if (!strcmp(line + 6, "UNKNOWN") || !strncmp(line + 6, "UNKNOWN ", 8))
		p.local = true; /* what follows is to be ignored */
	else if (strncmp(line + 6, "TCP4 ", 5) && strncmp(line + 6, "TCP6 ", 5))
		return -EINVAL;
	else if (v1_addresses(&p, line + 6))
		return -EINVAL;
	return known(out, &p, n);
}

/* ---- version 2 (section 2.2) ---- */

static void v2_take(struct addr_port *out, int family, const uint8_t *addr, const uint8_t *port)
{
	*out = (struct addr_port){ .addr.family = (uint8_t)family,
				   .port = (uint16_t)(port[0] << 8 | port[1]),
				   .proto = IPPROTO_TCP };
	memcpy(out->addr.bytes, addr, family == AF_INET ? 4 : 16);
}

/* What follows the addresses must be whole TLVs (section 2.2.1); what they say is not used. */
static bool v2_tlvs_fit(const uint8_t *p, size_t len)
{
	while (len) {
		size_t n;

		if (len < 3)
			return false;
		n = 3 + ((size_t)p[1] << 8 | p[2]);
		if (n > len)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static int v2_addresses(struct proxy *p, uint8_t family, const uint8_t *body, size_t len)
{
	size_t used;

	switch (family) {
	case 0x11: /* TCP over IPv4 */
		used = 12;
		break;
	case 0x21: /* TCP over IPv6 */
		used = 36;
		break;
	case 0x31: /* a Unix socket: no address that we could use */
		used = 216;
		break;
	case 0x00: /* unspecified */
		p->local = true;
		return 0;
	default: /* datagrams, and what is not defined */
		return -EINVAL;
	}
	if (len < used || !v2_tlvs_fit(body + used, len - used))
		return -EINVAL;
	if (family == 0x11) {
		v2_take(&p->client, AF_INET, body, body + 8);
		v2_take(&p->server, AF_INET, body + 4, body + 10);
	} else if (family == 0x21) {
		v2_take(&p->client, AF_INET6, body, body + 32);
		v2_take(&p->server, AF_INET6, body + 16, body + 34);
	} else {
		p->local = true;
	}
	return 0;
}

static long v2_parse(struct proxy *out, const uint8_t *data, size_t len)
{
	struct proxy p = { 0 };
	size_t size;

	if (len > 12 && data[12] != 0x20 && data[12] != 0x21)
		return -EINVAL;
	if (len < V2_HEADER)
		return 0;
	size = V2_HEADER + ((size_t)data[14] << 8 | data[15]);
	if (size > PROXY_HEADER_MAX)
		return -EINVAL;
	if (len < size)
		return 0;
	if (data[12] == 0x20) /* LOCAL: what follows is to be skipped */
		p.local = true;
	else if (v2_addresses(&p, data[13], data + V2_HEADER, size - V2_HEADER))
		return -EINVAL;
	return known(out, &p, size);
}

static bool begins(const uint8_t *data, size_t len, const uint8_t *start, size_t start_len)
{
	return !memcmp(data, start, len < start_len ? len : start_len);
}

long proxy_parse(struct proxy *out, const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (begins(data, len, v2_start, sizeof(v2_start)))
		return v2_parse(out, data, len);
	if (!begins(data, len, v1_start, sizeof(v1_start) - 1))
		return -EINVAL;
	return len < sizeof(v1_start) - 1 ? 0 : v1_parse(out, data, len);
}

/* ---- writing ---- */

static size_t v1_format(const struct proxy *p, bool local, uint8_t *out)
{
	char client[ADDR_STRLEN], server[ADDR_STRLEN];
	int n;

	if (local)
		n = snprintf((char *)out, PROXY_HEADER_MAX, "PROXY UNKNOWN\r\n");
	else
		n = snprintf((char *)out, PROXY_HEADER_MAX, "PROXY %s %s %s %u %u\r\n",
			     p->client.addr.family == AF_INET ? "TCP4" : "TCP6",
			     addr_format(&p->client.addr, client, sizeof(client)),
			     addr_format(&p->server.addr, server, sizeof(server)), p->client.port,
			     p->server.port);
	return (size_t)n;
}

static size_t v2_format(const struct proxy *p, bool local, uint8_t *out)
{
	size_t size = p->client.addr.family == AF_INET ? 4 : 16;
	uint8_t *at = out + V2_HEADER;

	memcpy(out, v2_start, sizeof(v2_start));
	out[12] = local ? 0x20 : 0x21;
	out[13] = local ? 0x00 : size == 4 ? 0x11 : 0x21;
	out[14] = 0;
	out[15] = local ? 0 : (uint8_t)(2 * size + 4);
	if (local)
		return V2_HEADER;
	memcpy(at, p->client.addr.bytes, size);
	memcpy(at + size, p->server.addr.bytes, size);
	at += 2 * size;
	at[0] = (uint8_t)(p->client.port >> 8);
	at[1] = (uint8_t)p->client.port;
	at[2] = (uint8_t)(p->server.port >> 8);
	at[3] = (uint8_t)p->server.port;
	return V2_HEADER + out[15];
}

size_t proxy_format(const struct proxy *p, int version, uint8_t out[PROXY_HEADER_MAX])
{
	uint8_t family = p->client.addr.family;
	bool local = p->local || family != p->server.addr.family ||
		     (family != AF_INET && family != AF_INET6);

	return version == 1 ? v1_format(p, local, out) : v2_format(p, local, out);
}
