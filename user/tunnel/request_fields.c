// SPDX-License-Identifier: Apache-2.0
/*
 * request_fields.c -- what an edge takes away and adds (see request_fields.h).
 *
 * Towards the gateway and targets: x-request-id, traceparent (W3C Trace Context), x-forwarded-for,
 * -proto and -host, forwarded (RFC 7239). Through a tunnel goes x-weir-client instead, from which
 * the origin makes these: four fields less to compress and to check for each request.
 */
#include <errno.h>
#include <string.h>

#include "lib/hash.h"
#include "user/tunnel/request_fields.h"

/* Of a whole name, or of every name that begins so. "proxy" is an attack on CGI programs
 * (CVE-2016-5385). */
static const struct rule {
	const char *name;
	uint8_t len;
	bool prefix;
} dropped[] = {
	{ "x-forwarded", 11, true }, { "x-weir-", 7, true },	{ "x-request-id", 12, false },
	{ "x-real-ip", 9, false },   { "forwarded", 9, false }, { "proxy", 5, false },
};

/* The same text when '_' counts as '-': CGI-like servers cannot tell them apart. */
static bool spells(const char *text, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != name[i] && !(text[i] == '_' && name[i] == '-'))
			return false;
	return true;
}

/* What a page of the gateway's says to the gateway: it tells nothing of who the client is. */
static bool is_page_word(const struct head_field *f)
{
	return (f->name_len == 11 && !memcmp(f->name, "x-weir-csrf", 11)) ||
	       (f->name_len == 14 && !memcmp(f->name, "x-weir-console", 14));
}

static bool is_dropped(const struct head_field *f)
{
	/* All begin with one of these: most fields are done here. */
	if (f->name[0] != 'x' && f->name[0] != 'f' && f->name[0] != 'p')
		return false;
	if (is_page_word(f))
		return false;
	for (size_t i = 0; i < sizeof(dropped) / sizeof(*dropped); i++) {
		const struct rule *r = &dropped[i];

		if ((r->prefix ? f->name_len >= r->len : f->name_len == r->len) &&
		    spells(f->name, r->name, r->len))
			return true;
	}
	return false;
}

static bool is_trace(const struct head_field *f)
{
	return (f->name_len == 11 && spells(f->name, "traceparent", 11)) ||
	       (f->name_len == 10 && spells(f->name, "tracestate", 10));
}

/* tracestate means nothing without a traceparent. */
static void remove_fields(struct head *h, bool keep_trace)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++)
		if (!is_dropped(&h->fields[i]) && (keep_trace || !is_trace(&h->fields[i])))
			h->fields[kept++] = h->fields[i];
	h->n = kept;
}

static bool is_lower_hex(const char *text, size_t len, bool *zero)
{
	*zero = true;
	for (size_t i = 0; i < len; i++) {
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
			return false;
		*zero = *zero && text[i] == '0';
	}
	return true;
}

/* Later versions may be longer, with a dash behind what is known. */
bool traceparent_valid(const char *t)
{
	size_t len = strlen(t);
	bool zero[4];

	if (len < TRACEPARENT_LEN || len > 256 || t[2] != '-' || t[35] != '-' || t[52] != '-')
		return false;
	if (!is_lower_hex(t, 2, &zero[0]) || !is_lower_hex(t + 3, 32, &zero[1]) ||
	    !is_lower_hex(t + 36, 16, &zero[2]) || !is_lower_hex(t + 53, 2, &zero[3]))
		return false;
	if (zero[1] || zero[2] || !strncmp(t, "ff", 2))
		return false;
	return zero[0] ? len == TRACEPARENT_LEN : len == TRACEPARENT_LEN || t[55] == '-';
}

void traceparent_make(char out[TRACEPARENT_LEN + 1], const uint8_t random[24])
{
	memcpy(out, "00-", 3);
	hex_encode(random, 16, out + 3);
	out[35] = '-';
	hex_encode(random + 16, 8, out + 36);
	memcpy(out + 52, "-01", 4);
}

static int add(struct head *h, const char *name, size_t name_len, const char *value)
{
	return head_add(h, name, name_len, value, strlen(value));
}
#define ADD(h, name, value) add(h, name, sizeof(name) - 1, value)

static char *put(char *to, const char *text)
{
	return stpcpy(to, text);
}

/* ADDRESS, IPv6 in brackets. */
static char *put_host(char *to, const struct addr *a, const char *text)
{
	if (a->family != AF_INET6)
		return put(to, text);
	return put(put(put(to, "["), text), "]");
}

static char *put_port(char *to, uint16_t port)
{
	char digits[5];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + port % 10);
	while (port /= 10);
	*to++ = ':';
	while (n)
		*to++ = digits[--n];
	*to = '\0';
	return to;
}

/* RFC 7239 section 4; what is no token is quoted (section 6). */
static int add_forwarded(struct head *h, const struct addr *client, const char *text)
{
	const char *host = h->authority ? h->authority : "",
		   *quote = client->family == AF_INET6 ? "\"" : "";
	const char *proto = h->scheme ? h->scheme : "tcp";
	char value[512], *to = value;

	if (strlen(host) > 256 || strlen(proto) > 16)
		return -E2BIG;
	to = put_host(put(put(to, "for="), quote), client, text);
	to = put(put(put(to, quote), ";host=\""), host);
	to = put(put(to, "\";proto="), proto);
	return head_add(h, "forwarded", 9, value, (size_t)(to - value));
}

/* client: of h's request as it was sent; text: its address. */
static int add_forwarding(struct head *h, const struct addr *client, const char *text)
{
	int rc = ADD(h, "x-forwarded-for", text);

	if (!rc && h->scheme)
		rc = ADD(h, "x-forwarded-proto", h->scheme);
	if (!rc && h->scheme && h->authority)
		rc = ADD(h, "x-forwarded-host", h->authority);
	return rc ? rc : add_forwarded(h, client, text);
}

static int forward(struct head *h, const struct request_origin *from, bool all)
{
	char client[ADDR_STRLEN], local[ADDR_STRLEN], pair[ADDR_STRLEN + 16];
	const char *trace = head_get(h, "traceparent");
	bool keep = trace && head_count(h, "traceparent") == 1 && traceparent_valid(trace);
	int rc;

	remove_fields(h, keep);
	addr_format(from->client, client, sizeof(client));
	put_port(put_host(pair, from->client, client), from->client_port);
	rc = ADD(h, "x-request-id", from->id);
	if (!rc && !keep)
		rc = ADD(h, "traceparent", from->traceparent);
	if (!rc && all)
		rc = add_forwarding(h, from->client, client);
	if (!rc)
		rc = ADD(h, "x-weir-client", pair);
	if (!rc && from->local) {
		addr_format(from->local, local, sizeof(local));
		put_port(put_host(pair, from->local, local), from->local_port);
		rc = ADD(h, "x-weir-local", pair);
	}
	return rc;
}

int request_fields_forward(struct head *h, const struct request_origin *from)
{
	return forward(h, from, true);
}

int request_fields_tunnel(struct head *h, const struct request_origin *from)
{
	return forward(h, from, false);
}

int request_fields_target(struct head *h, const struct addr *client)
{
	char text[ADDR_STRLEN];

	return add_forwarding(h, client, addr_format(client, text, sizeof(text)));
}

int request_fields_answer(struct head *h, const char *id)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		if (f->name[0] == 'x' &&
		    ((f->name_len == 12 && !memcmp(f->name, "x-request-id", 12)) ||
		     (f->name_len >= 7 && !memcmp(f->name, "x-weir-", 7) &&
		      strcmp(f->name, "x-weir-endpoint") != 0)))
			continue;
		h->fields[kept++] = *f;
	}
	h->n = kept;
	return head_add(h, "x-request-id", 12, id, REQUEST_ID_LEN);
}
