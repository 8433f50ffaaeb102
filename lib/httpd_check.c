/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_check.c -- what a request's head must be before anybody acts on it (RFC 9112).
 * libmicrohttpd lets a good deal through; what is refused here also ends the connection, so that
 * bytes whose meaning was in doubt are never read as a second request (RFC 9112 section 11.2).
 */
#include <string.h>
#include <strings.h>

#include "lib/httpd_impl.h"

/*
 * What the header lines said. libmicrohttpd parses in place: between the end of a value and the
 * next name there are the two bytes of CR LF, and four before the body. Anything else is a byte
 * that it read as nobody else might: a bare LF, a NUL, or a line that begins with a colon (it ends
 * the head there, and the rest would be the next request). So every byte of the head is accounted
 * for, by the distance between pointers.
 */
struct seen {
	unsigned int count, host, length, encoding;
	const char *host_value, *length_value, *encoding_value;
	const char *at; /* where the line before ended */
	bool bad_name, bad_value, stray;
};

static enum MHD_Result see_header(void *arg, enum MHD_ValueKind kind, const char *name,
				  size_t name_len, const char *value, size_t value_len)
{
	struct seen *seen = arg;

	(void)kind;
	seen->count++;
	if (!value) {
		seen->stray = true;
		return MHD_YES;
	}
	seen->stray |= name != seen->at + 2;
	seen->at = value + value_len;
	if (!http_is_token(name, name_len))
		seen->bad_name = true;
	if (!http_is_field_value(value, value_len))
		seen->bad_value = true;
	if (!strcasecmp(name, "Host")) {
		seen->host++;
		seen->host_value = value;
	} else if (!strcasecmp(name, "Content-Length")) {
		seen->length++;
		seen->length_value = value;
	} else if (!strcasecmp(name, "Transfer-Encoding")) {
		seen->encoding++;
		seen->encoding_value = value;
	}
	return MHD_YES;
}

static const char *const method_names[HTTP_METHODS] = {
	[HTTP_GET] = "GET",	[HTTP_HEAD] = "HEAD",	  [HTTP_PUT] = "PUT",	  [HTTP_POST] = "POST",
	[HTTP_DELETE] = "DELETE", [HTTP_PATCH] = "PATCH", [HTTP_OPTIONS] = "OPTIONS",
};

const char *http_method_name(enum http_method method)
{
	return method_names[method];
}

void http_routes_print(const struct http_route *routes, FILE *out)
{
	for (; routes->path; routes++)
		for (int m = 0; m < HTTP_METHODS; m++)
			if (routes->methods & 1u << m)
				fprintf(out, "%s %s\n", method_names[m], routes->path);
}

static bool parse_method(struct http_req *req, const char *method)
{
	for (int m = 0; m < HTTP_METHODS; m++) {
		if (!strcmp(method_names[m], method)) {
			req->method = (enum http_method)m;
			return true;
		}
	}
	return false;
}

/* Sets what body comes; false when the framing can be read in two ways. */
static bool parse_framing(struct http_req *req, const struct seen *seen)
{
	if (seen->encoding) {
		req->content_length = UINT64_MAX;
		req->has_body = true;
		return seen->encoding == 1 && !seen->length &&
		       !strcasecmp(seen->encoding_value, "chunked");
	}
	if (seen->length > 1)
		return false;
	if (seen->length &&
	    http_length_parse(&req->content_length, seen->length_value, strlen(seen->length_value)))
		return false;
	req->has_body = req->content_length > 0;
	return true;
}

/* libmicrohttpd ends the target with a NUL in place of the space before the version: any other
 * distance between the two means that the target itself held a NUL, or more spaces than one. */
static bool target_is_whole(const struct http_req *req, const char *version)
{
	return version == req->target_at + strlen(req->raw) + 1;
}

static bool authority_is_ours(const struct http_req *req, const struct seen *seen)
{
	return !req->target.authority ||
	       (seen->host_value && strlen(seen->host_value) == req->target.authority_len &&
		!strncasecmp(seen->host_value, req->target.authority, req->target.authority_len));
}

static bool host_ok(const char *host)
{
	return !host[strcspn(host, " \t/?#@\\,")];
}

struct refusal {
	const char *reason, *sentence;
	unsigned int status;
};

static struct refusal refusal_of(struct http_req *req, const struct seen *seen, const char *method,
				 const char *version)
{
	const union MHD_ConnectionInfo *size =
		MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	bool v11 = req->http11 = !strcmp(version, "HTTP/1.1");
	size_t rest = size ? size->header_size - (size_t)(seen->at - method) : 0;
	/* First: who refuses asks it. */
	bool target_ok = target_is_whole(req, version) && !http_target_parse_any(&req->target, req->raw);

	if (size && size->header_size > req->server->opt.header_bytes_max)
		return (struct refusal){ "head_size", "the request's head is too large", 431 };
	if (seen->count > HTTP_HEADERS_MAX)
		return (struct refusal){ "head_count", "the request has too many header lines",
					 431 };
	if (seen->bad_name)
		return (struct refusal){ "header_name", "a header line's name is malformed", 400 };
	if (seen->bad_value)
		return (struct refusal){ "header_value", "a header line holds control characters",
					 400 };
	if (seen->stray || rest != 4)
		return (struct refusal){ "line_end", "every line of the head must end with CR LF",
					 400 };
	if (!parse_framing(req, seen) || (seen->encoding && !v11))
		return (struct refusal){
			"framing", "Content-Length and Transfer-Encoding must say one thing, once",
			400
		};
	if (seen->host > 1 || (v11 && !seen->host) || (seen->host && !host_ok(seen->host_value)))
		return (struct refusal){ "host", "there must be one Host line with one host", 400 };
	if (!target_ok || !authority_is_ours(req, seen))
		return (struct refusal){ "target", "the request's target is malformed", 400 };
	if (!parse_method(req, method))
		return (struct refusal){ "method", "this server does not know the method", 501 };
	return (struct refusal){ NULL, NULL, 0 };
}

const char *http_check_head(struct http_req *req, const char *method, const char *version,
			    unsigned int *status, const char **sentence)
{
	struct seen seen = { .at = version + strlen(version) };
	struct refusal refusal;

	MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, see_header, &seen);
	refusal = refusal_of(req, &seen, method, version);
	*status = refusal.status;
	*sentence = refusal.sentence;
	return refusal.reason;
}
