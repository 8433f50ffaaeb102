// SPDX-License-Identifier: Apache-2.0
/*
 * head_check.c -- what every head passes once, on arrival: is it a request, a response, trailers
 * that all who read it later will understand in the same way?
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "user/tunnel/head.h"
#include "user/tunnel/head_impl.h"

struct authority {
	const char *host;
	size_t host_len;  /* brackets included */
	const char *port; /* NULL: not said */
};

static bool is_bracketed(const char *host, size_t len)
{
	if (len < 4 || host[0] != '[' || host[len - 1] != ']')
		return false;
	for (size_t i = 1; i < len - 1; i++)
		if (!isxdigit((unsigned char)host[i]) && host[i] != ':' && host[i] != '.')
			return false;
	return true;
}

static bool is_name(const char *host, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr("-._", host[i]))
			return false;
	return len > 0 && len <= 255 && host[0] != '.';
}

/* A host (a name or an address, nothing with escapes) and perhaps a port: 0 or -EINVAL. */
static int authority_parse(struct authority *out, const char *text)
{
	size_t len = *text == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":");
	const char *rest;
	int64_t port;

	if (len > strlen(text) || !(is_bracketed(text, len) || is_name(text, len)))
		return -EINVAL;
	rest = text + len;
	*out = (struct authority){ text, len, NULL };
	if (!*rest)
		return 0;
	port = *rest == ':' ? head_number(rest + 1, strlen(rest + 1)) : -1;
	if (port < 1 || port > 65535 || strlen(rest + 1) > 5)
		return -EINVAL;
	out->port = rest + 1;
	return 0;
}

/* Do both name the same? A port that is not said is the scheme's; a CONNECT's Host may leave it
 * away. */
static bool authority_same(const struct head *h, const char *a_text, const char *b_text)
{
	const char *usual = h->scheme && !strcasecmp(h->scheme, "https") ? "443" : "80";
	struct authority a, b;

	if (authority_parse(&a, a_text) || authority_parse(&b, b_text))
		return false;
	if (a.host_len != b.host_len || strncasecmp(a.host, b.host, a.host_len) != 0)
		return false;
	if (!h->scheme)
		return !b.port || (a.port && !strcmp(a.port, b.port));
	return !strcmp(a.port ? a.port : usual, b.port ? b.port : usual);
}

int head_hostname(const char *authority, char *out, size_t len)
{
	struct authority a;

	if (authority_parse(&a, authority))
		return -EINVAL;
	if (a.host[a.host_len - 1] == '.')
		a.host_len--;
	if (!a.host_len || a.host_len >= len)
		return -EINVAL;
	for (size_t i = 0; i < a.host_len; i++)
		out[i] = (char)tolower((unsigned char)a.host[i]);
	out[a.host_len] = '\0';
	return 0;
}

static int refuse(const char **why, const char *reason)
{
	if (why)
		*why = reason;
	return -EINVAL;
}

static int check_length(struct head *h, const char **why)
{
	size_t count = head_count(h, "content-length");
	const struct head_field *f;

	h->content_length = -1;
	if (!count)
		return 0;
	f = head_find(h, "content-length");
	if (count > 1)
		return refuse(why, "more than one Content-Length");
	h->content_length = head_number(f->value, f->value_len);
	if (h->content_length < 0)
		return refuse(why, "Content-Length is not a number");
	if (head_find(h, "transfer-encoding"))
		return refuse(why, "Content-Length beside Transfer-Encoding");
	return 0;
}

/* What Connection names goes too, but not what routing and framing stand on. */
static void remove_named(struct head *h)
{
	static const char *const kept[] = { "host", "content-length", "cookie", "authorization",
					    "te" };
	char names[1024], *at = names, *end = names + sizeof(names);
	const char *list, *member;
	size_t len;

	for (size_t i = 0; i < h->n; i++) {
		if (!head_field_is(&h->fields[i], "connection", 10))
			continue;
		list = h->fields[i].value;
		while (head_list_next(&list, &member, &len)) {
			if (len >= (size_t)(end - at))
				break;
			for (size_t k = 0; k < len; k++)
				at[k] = (char)tolower((unsigned char)member[k]);
			at[len] = '\0';
			at += len + 1;
		}
	}
	for (char *name = names; name < at; name += strlen(name) + 1) {
		bool keep = false;

		for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
			keep = keep || !strcmp(name, kept[i]);
		if (!keep)
			head_remove(h, name);
	}
}

/* RFC 9110 section 7.6.1. */
static void remove_connection(struct head *h)
{
	static const char *const hop[] = { "connection", "keep-alive", "proxy-connection",
					   "transfer-encoding", "upgrade" };

	if (head_find(h, "connection"))
		remove_named(h);
	for (size_t i = 0; i < sizeof(hop) / sizeof(*hop); i++)
		if (head_find(h, hop[i]))
			head_remove(h, hop[i]);
}

static void keep_te_trailers(struct head *h)
{
	bool trailers;

	if (!head_find(h, "te"))
		return;
	trailers = head_has_token(h, "te", "trailers");
	head_remove(h, "te");
	if (trailers)
		head_addf(h, "te", "trailers");
}

static bool is_target(const char *path)
{
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#')
			return false;
	return true;
}

static int check_authority(struct head *h, const char **why)
{
	const char *host = head_get(h, "host");
	struct authority a;

	if (head_count(h, "host") > 1)
		return refuse(why, "more than one Host");
	if (host && authority_parse(&a, host))
		return refuse(why, "Host is not a host and a port");
	if (!h->authority && !host)
		return refuse(why, "no Host");
	if (!h->authority && head_set(h, ":authority", host))
		return refuse(why, "no memory");
	host = head_get(h, "host"); /* the text may have moved */
	if (authority_parse(&a, h->authority))
		return refuse(why, "the authority is not a host and a port");
	if (host && !authority_same(h, h->authority, host))
		return refuse(why, "Host and the target's authority differ");
	if (!h->scheme && !a.port)
		return refuse(why, "CONNECT without a port");
	head_remove(h, "host");
	return 0;
}

static int check_target(const struct head *h, const char **why)
{
	bool connect = !strcmp(h->method, "CONNECT");

	if (h->protocol && (!connect || !head_is_token(h->protocol, strlen(h->protocol))))
		return refuse(why, ":protocol without CONNECT");
	if (connect && !h->protocol)
		return h->scheme || h->path ? refuse(why, "CONNECT with a scheme or a path") : 0;
	if (!h->scheme || (strcmp(h->scheme, "http") != 0 && strcmp(h->scheme, "https") != 0))
		return refuse(why, "the scheme is neither http nor https");
	if (!h->path || !is_target(h->path))
		return refuse(why, "no valid path");
	if (h->path[0] != '/' && !(!strcmp(h->path, "*") && !strcmp(h->method, "OPTIONS")))
		return refuse(why, "the path does not begin with a slash");
	return 0;
}

int head_check_request(struct head *h, const char **why)
{
	if (!h->method || !head_is_token(h->method, strlen(h->method)))
		return refuse(why, "no method");
	if (h->status)
		return refuse(why, "a status in a request");
	if (check_target(h, why) || check_authority(h, why) || check_length(h, why))
		return -EINVAL;
	if (h->content_length > 0 && !strcmp(h->method, "CONNECT"))
		return refuse(why, "CONNECT with a body");
	remove_connection(h);
	keep_te_trailers(h);
	return 0;
}

int head_check_response(struct head *h, const char *method, const char **why)
{
	if (h->status < 100 || h->status > 599)
		return refuse(why, "no status");
	if (h->method || h->scheme || h->authority || h->path || h->protocol)
		return refuse(why, "a request's part in a response");
	if (check_length(h, why))
		return -EINVAL;
	/* RFC 9110 section 8.6: no length where there cannot be a body, and none of a tunnel */
	if (h->status < 200 || h->status == 204 ||
	    (method && !strcmp(method, "CONNECT") && h->status < 300))
		head_remove(h, "content-length");
	remove_connection(h);
	head_remove(h, "te");
	return 0;
}

/* Who the client is, is the edge's to say: a server that merges trailers into the head (RFC 9110
 * section 6.5.1) must not find it there. '_' as in request_fields.c. */
static bool names_client(const struct head_field *f)
{
	static const char *const begins[] = { "x-forwarded", "x-weir-", "x-real-ip", "forwarded" };

	for (size_t i = 0; i < sizeof(begins) / sizeof(*begins); i++) {
		const char *want = begins[i], *name = f->name;

		while (*want && (*name == *want || (*name == '_' && *want == '-')))
			want++, name++;
		if (!*want)
			return true;
	}
	return false;
}

/* RFC 9110 section 6.5.1. */
int head_check_trailers(struct head *h)
{
	static const char *const never[] = {
		"authorization",
		"connection",
		"content-encoding",
		"content-length",
		"content-range",
		"content-type",
		"cookie",
		"expect",
		"host",
		"keep-alive",
		"max-forwards",
		"proxy-authorization",
		"proxy-connection",
		"set-cookie",
		"te",
		"trailer",
		"transfer-encoding",
		"upgrade",
	};

	size_t kept = 0;

	if (h->method || h->scheme || h->authority || h->path || h->protocol || h->status)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (head_find(h, never[i]))
			return -EINVAL;
	for (size_t i = 0; i < h->n; i++)
		if (!names_client(&h->fields[i]))
			h->fields[kept++] = h->fields[i];
	h->n = kept;
	return 0;
}
