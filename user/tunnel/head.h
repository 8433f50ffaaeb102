/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head.h -- the head of an HTTP message in the one form in which it goes through: HTTP/2's
 * pseudo-fields and lower-case fields (RFC 9113 section 8), whatever it came as.
 *
 * A head that arrived is checked once, here; every head that leaves is composed anew from this
 * form, never from bytes that were received. Pure: no socket, no clock.
 */
#ifndef WEIR_TUNNEL_HEAD_H
#define WEIR_TUNNEL_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_FIELDS_MAX 128
#define HEAD_BYTES_MAX	(64u << 10) /* names and values together; the limit of a listener is lower \
				     */

struct head_field {
	const char *name; /* lower case, terminated */
	const char *value;
	uint16_t name_len;
	uint32_t value_len;
	bool secret; /* authorization, cookie …: never indexed by HPACK, never logged */
};

struct head {
	/* A request's; NULL in a response. protocol: of an extended CONNECT (RFC 8441). */
	const char *method, *scheme, *authority, *path, *protocol;
	unsigned int status;	/* a response's, 100 to 599; 0 in a request and in trailers */
	int64_t content_length; /* -1: not said */
	struct head_field *fields;
	size_t n;
	uint32_t initials; /* bits of first letters: a name without its bit is not there */
	char *text;	   /* where all of it lies */
	size_t text_len, text_size, fields_size;
};

struct head *head_new(void); /* NULL without memory */
void head_free(struct head *h);
struct head *head_copy(const struct head *h);
/* The same with room for so many more bytes of text and fields before it must grow. */
struct head *head_copy_room(const struct head *h, size_t text, size_t fields);
void head_clear(struct head *h); /* empty again; its memory is kept for the next */

/* Names a pseudo-field (":method" …) or adds a field; bytes are copied, names made lower case. 0,
 * -EINVAL (not a token, control characters, a pseudo-field twice, after fields or unknown), -E2BIG
 * (too many or too long), -ENOMEM. */
int head_add(struct head *h, const char *name, size_t name_len, const char *value,
	     size_t value_len);
int head_addf(struct head *h, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int head_set_status(struct head *h, unsigned int status);
/* Names or replaces a pseudo-field at any time (value NULL: takes it away); for those who change a
 * head that was checked. */
int head_set(struct head *h, const char *pseudo, const char *value);
void head_remove(struct head *h, const char *name);	      /* every one of that name */
const char *head_get(const struct head *h, const char *name); /* the first, or NULL */
size_t head_count(const struct head *h, const char *name);
bool head_has_token(const struct head *h, const char *name,
		    const char *token); /* in a list, any case */

/* Checks a request as a server must: the parts that RFC 9113 section 8.3.1 wants, a target without
 * control characters, fragment or userinfo, an authority that is a host and a port, one Host that
 * agrees, Content-Length as one number, no Transfer-Encoding beside it, no connection-specific
 * fields but those removed here (RFC 9110 section 7.6.1: Connection, what it names, Keep-Alive,
 * Proxy-Connection, Transfer-Encoding, Upgrade, TE but "trailers"). Sets content_length. 0, or
 * -EINVAL with a short reason in *why. */
int head_check_request(struct head *h, const char **why);
/* The same for a response to `method`; removes what belongs to the connection. */
int head_check_response(struct head *h, const char *method, const char **why);
/* Trailers: neither pseudo-fields nor fields that change framing, routing or authentication; what
 * would say who the client is goes. */
int head_check_trailers(struct head *h);

/* A method, or as much of it as there is room for: compared with HEAD and CONNECT later. */
void head_keep_method(char *to, size_t size, const char *method);
bool head_is_safe(const struct head *h); /* GET, HEAD, OPTIONS, TRACE: may be sent twice */
bool head_response_has_body(const struct head *h, const char *method);
/* authority without its port, lower case, without a dot at the end, into out; 0 or -EINVAL. */
int head_hostname(const char *authority, char *out, size_t len);

#endif
