// SPDX-License-Identifier: Apache-2.0
/*
 * sni.c -- the name in a TLS ClientHello, read without answering it (see sni.h).
 *
 * What decides who gets a stranger's connection is read strictly: lengths that do not add up, an
 * extension given twice or a name that is none are refused, so that edge and origin never see
 * different names in one hello.
 */
#include <errno.h>
#include <string.h>

#include "user/tunnel/sni.h"

#define RECORD_HEADER	 5 /* type, version, length (RFC 8446 section 5.1) */
#define RECORD_HANDSHAKE 22
#define RECORD_MAX	 16384 /* of plaintext */
#define HELLO_HEADER	 4     /* type, length of 24 bits (RFC 8446 section 4) */
#define HELLO_CLIENT	 1
#define EXT_SERVER_NAME	 0 /* RFC 6066 section 3 */
#define NAME_HOST	 0

struct cursor {
	const uint8_t *pos, *end;
};

/* A failed pull returns NULL and moves nothing. */
static const uint8_t *cursor_pull(struct cursor *c, size_t len)
{
	const uint8_t *p = c->pos;

	if ((size_t)(c->end - c->pos) < len)
		return NULL;
	c->pos += len;
	return p;
}

static size_t be16(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

/* A vector whose length is written in size bytes (1 or 2): its content in *out. */
static bool cursor_vector(struct cursor *c, size_t size, struct cursor *out)
{
	const uint8_t *len = cursor_pull(c, size), *p;
	size_t n;

	if (!len)
		return false;
	n = size == 1 ? len[0] : be16(len);
	p = cursor_pull(c, n);
	if (!p)
		return false;
	*out = (struct cursor){ p, p + n };
	return true;
}

static bool cursor_empty(const struct cursor *c)
{
	return c->pos == c->end;
}

/* Letters, digits, "-", "_", single dots, none at the ends: what can be a host name. */
static int take_name(char host[256], const struct cursor *name)
{
	size_t n = (size_t)(name->end - name->pos);
	char out[256];

	if (n == 0 || n > 255)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		char c = (char)name->pos[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c == '.' ? (i == 0 || i == n - 1 || out[i - 1] == '.')
			     : !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
				 c == '_'))
			return -EINVAL;
		out[i] = c;
	}
	memcpy(host, out, n);
	host[n] = '\0';
	return 0;
}

static int parse_server_name(char host[256], struct cursor ext)
{
	struct cursor list, name;
	const uint8_t *type;

	/* One entry alone: no second type was ever defined, and two host names are forbidden. */
	if (!cursor_vector(&ext, 2, &list) || !cursor_empty(&ext))
		return -EINVAL;
	type = cursor_pull(&list, 1);
	if (!type || *type != NAME_HOST || !cursor_vector(&list, 2, &name) || !cursor_empty(&list))
		return -EINVAL;
	return take_name(host, &name);
}

/* The body of a ClientHello. 1 or -EINVAL. */
static int parse_hello(char host[256], struct cursor hello)
{
	struct cursor session, suites, compression, all, ext;
	char name[256] = "";
	const uint8_t *type;

	if (!cursor_pull(&hello, 2 + 32) || !cursor_vector(&hello, 1, &session) ||
	    session.end - session.pos > 32 || !cursor_vector(&hello, 2, &suites) ||
	    cursor_empty(&suites) || (suites.end - suites.pos) % 2 ||
	    !cursor_vector(&hello, 1, &compression) || cursor_empty(&compression))
		return -EINVAL;
	/* Without extensions the hello ends here (TLS 1.2). */
	if (!cursor_empty(&hello)) {
		if (!cursor_vector(&hello, 2, &all) || !cursor_empty(&hello))
			return -EINVAL;
		while (!cursor_empty(&all)) {
			type = cursor_pull(&all, 2);
			if (!type || !cursor_vector(&all, 2, &ext))
				return -EINVAL;
			if (be16(type) != EXT_SERVER_NAME)
				continue;
			if (name[0] || parse_server_name(name, ext))
				return -EINVAL;
		}
	}
	strcpy(host, name);
	return 1;
}

/* Joins the handshake's bytes out of the records that came. Their count, or -EINVAL. */
static long join_records(uint8_t out[SNI_HELLO_MAX], struct cursor in)
{
	size_t n = 0;

	while (!cursor_empty(&in)) {
		size_t have = (size_t)(in.end - in.pos), len;
		const uint8_t *p = in.pos;

		if (p[0] != RECORD_HANDSHAKE || (have > 1 && p[1] != 3))
			return -EINVAL;
		if (have < RECORD_HEADER)
			break;
		len = be16(p + 3);
		if (len == 0 || len > RECORD_MAX)
			return -EINVAL;
		cursor_pull(&in, RECORD_HEADER);
		have -= RECORD_HEADER;
		if (have > len)
			have = len;
		if (have > SNI_HELLO_MAX - n)
			have = SNI_HELLO_MAX - n;
		memcpy(out + n, in.pos, have);
		n += have;
		/* The hello is in the first record but for odd clients: do not join what follows
		 * it. */
		if (n == SNI_HELLO_MAX ||
		    (n >= HELLO_HEADER && n >= HELLO_HEADER + be16(out + 2) && !out[1]))
			break;
		in.pos += have;
	}
	return (long)n;
}

int sni_parse(char host[256], const uint8_t *data, size_t len)
{
	uint8_t hello[SNI_HELLO_MAX];
	long n = join_records(hello, (struct cursor){ data, data + len });
	size_t size;

	if (n < 0 || (n > 0 && hello[0] != HELLO_CLIENT) || (n > 1 && hello[1]))
		return -EINVAL;
	if (n >= HELLO_HEADER) {
		size = HELLO_HEADER + be16(hello + 2);
		if (size > SNI_HELLO_MAX)
			return -EINVAL;
		if ((size_t)n >= size)
			return parse_hello(host,
					   (struct cursor){ hello + HELLO_HEADER, hello + size });
	}
	/* Tiny records may not stretch it without end. */
	return len >= SNI_HELLO_MAX ? -EINVAL : 0;
}
