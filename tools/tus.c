/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tus.c -- see tus.h.
 */
#include "tools/tus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/hash.h"
#include "lib/httpd.h"

#define RESUMABLE "Tus-Resumable: 1.0.0"
#define TYPE	  "Content-Type: application/offset+octet-stream"
#define CALL_MS	  30000
#define CHUNK	  (64u << 10) /* bytes at a time under a rate */

/* ---- one exchange ---- */

struct exchange {
	struct httpc_call call;
	struct httpc_answer answer;
	const char *headers[12];
	size_t nheaders, at;
	const struct tus_piece *piece;
	char checksum[80];
	/* of the answer */
	char id[TUS_ID_MAX], metadata[1200];
	uint64_t offset, size;
	bool has_offset;
};

static void add(struct exchange *x, const char *header)
{
	if (header)
		x->headers[x->nheaders++] = header;
}

static ssize_t give(void *arg, char *buf, size_t max)
{
	struct exchange *x = arg;
	const struct tus_piece *p = x->piece;
	size_t rest = p->len - x->at, n = rest < max ? rest : max;

	if (p->stop && *p->stop)
		return -ECANCELED;
	if (p->rate)
		n = rate_take(p->rate, n < CHUNK ? n : CHUNK, p->stop);
	if (!n && rest)
		return -ECANCELED;
	memcpy(buf, (const char *)p->data + x->at, n);
	x->at += n;
	if (p->sent && n)
		p->sent(p->arg, n);
	return (ssize_t)n;
}

static void take_header(void *arg, const char *name, const char *value)
{
	struct exchange *x = arg;
	const char *slash = strrchr(value, '/');

	if (!strcasecmp(name, "Location") && slash)
		snprintf(x->id, sizeof(x->id), "%s", slash + 1);
	if (!strcasecmp(name, "Upload-Metadata"))
		snprintf(x->metadata, sizeof(x->metadata), "%s", value);
	if (!strcasecmp(name, "Upload-Offset")) {
		x->offset = strtoull(value, NULL, 10);
		x->has_offset = true;
	}
	if (!strcasecmp(name, "Upload-Length"))
		x->size = strtoull(value, NULL, 10);
}

/* The header of a piece: its digest. */
static void add_piece(struct exchange *x, const struct tus_piece *piece)
{
	uint8_t sum[32];
	char *text;

	x->piece = piece;
	x->call.read = give;
	x->call.read_len = piece->len;
	add(x, TYPE);
	if (!piece->len)
		return;
	sha256_once(piece->data, piece->len, sum);
	text = base64_encode(sum, sizeof(sum));
	snprintf(x->checksum, sizeof(x->checksum), "Upload-Checksum: sha256 %s", text ? text : "");
	free(text);
	add(x, x->checksum);
}

static int meaning_of(long status, const char *code)
{
	if (status / 100 == 2)
		return 0;
	if (status / 100 == 5 || status == 423 || status == 429 || status == 408)
		return -EAGAIN;
	if (status == 403 && !strcmp(code, "closed"))
		return -EPERM;
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
	case 410:
		return -ENOENT;
	case 409:
		return -ESTALE;
	case 413:
		return -EFBIG;
	case 460:
		return -EBADMSG;
	default:
		return -EINVAL;
	}
}

int tus_judge(struct tus_why *why, int rc, const struct httpc_answer *answer)
{
	json_t *said = answer->body ? json_loadb(answer->body, answer->len, 0, NULL) : NULL;
	const char *message;

	*why = (struct tus_why){ .status = rc ? 0 : answer->status };
	if (rc) {
		why->rc = rc == -ECANCELED ? -ECANCELED : -EAGAIN;
		/* a kept connection that ended under a body: libcurl would send it again, from a place that is gone */
		snprintf(why->text, sizeof(why->text), "no answer: %s",
			 strstr(answer->error, "rewind") ? "the connection broke" : answer->error);
	} else {
		snprintf(why->code, sizeof(why->code), "%.31s", js_text(said, "error", ""));
		why->rc = meaning_of(answer->status, why->code);
		message = web_safe(js_text(said, "message", "no reason was given"));
		snprintf(why->text, sizeof(why->text), "%.240s (%ld%s%.31s)", message, answer->status,
			 *why->code ? " " : "", web_safe(why->code));
	}
	json_decref(said);
	return why->rc;
}

static int perform(struct web *w, const char *url, struct exchange *x, struct tus_why *why)
{
	int rc;

	add(x, RESUMABLE);
	add(x, web_authorization(w));
	x->size = UINT64_MAX;
	x->call.url = url;
	x->call.headers = x->headers;
	x->call.on_header = take_header;
	x->call.arg = x;
	if (!url)
		return why->rc = -EAGAIN;
	rc = httpc_do(web_client(w), &x->call, &x->answer);
	return tus_judge(why, rc, &x->answer);
}

char *tus_url(const struct web *w, const char *before, const char *part, const char *between, const char *other)
{
	char *a = http_percent_encode(part, false), *b = http_percent_encode(other, true), *url = NULL;

	if (a && b && asprintf(&url, "%s%s%s%s%s", web_base(w), before, a, between, b) < 0)
		url = NULL;
	free(a);
	free(b);
	return url;
}

/* ---- the calls ---- */

char *tus_metadata_header(const struct tus_new *n)
{
	char *dataset = base64_encode(n->dataset, strlen(n->dataset)), *file = base64_encode(n->file, strlen(n->file)),
	     *key = n->key ? base64_encode(n->key, strlen(n->key)) : NULL, *header = NULL;

	if (dataset && file &&
	    asprintf(&header, "Upload-Metadata: dataset %s,filename %s%s%s", dataset, file, key ? ",sender " : "",
		     key ? key : "") < 0)
		header = NULL;
	free(dataset);
	free(file);
	free(key);
	return header;
}

int tus_create(struct web *w, const struct tus_new *n, char id[TUS_ID_MAX], uint64_t *offset, struct tus_why *why)
{
	struct exchange x = { .call = { .method = "POST" } };
	char length[64], *metadata = tus_metadata_header(n), *url = tus_url(w, "/_/tus/", "", "", "");
	int rc;

	if (n->size == UINT64_MAX)
		snprintf(length, sizeof(length), "Upload-Defer-Length: 1");
	else
		snprintf(length, sizeof(length), "Upload-Length: %llu", (unsigned long long)n->size);
	add(&x, length);
	add(&x, metadata);
	if (n->piece && n->piece->len)
		add_piece(&x, n->piece);
	rc = perform(w, url, &x, why);
	if (!rc && !*x.id)
		rc = why->rc = -EINVAL;
	if (!rc) {
		snprintf(id, TUS_ID_MAX, "%s", x.id);
		*offset = x.has_offset ? x.offset : 0;
	}
	httpc_answer_free(&x.answer);
	free(metadata);
	free(url);
	return rc;
}

int tus_offset(struct web *w, const char *id, uint64_t *offset, uint64_t *size, struct tus_why *why)
{
	struct exchange x = { .call = { .method = "HEAD", .timeout_ms = CALL_MS } };
	char *url = tus_url(w, "/_/tus/", id, "", "");
	int rc = perform(w, url, &x, why);

	if (!rc && !x.has_offset)
		rc = why->rc = -EINVAL;
	if (!rc) {
		*offset = x.offset;
		*size = x.size;
	}
	httpc_answer_free(&x.answer);
	free(url);
	return rc;
}

int tus_send(struct web *w, const char *id, uint64_t *offset, const struct tus_piece *piece, uint64_t size,
	     struct tus_why *why)
{
	struct exchange x = { .call = { .method = "PATCH" } };
	char at[64], length[64], *url = tus_url(w, "/_/tus/", id, "", "");
	int rc;

	snprintf(at, sizeof(at), "Upload-Offset: %llu", (unsigned long long)*offset);
	snprintf(length, sizeof(length), "Upload-Length: %llu", (unsigned long long)size);
	add(&x, at);
	if (size != UINT64_MAX)
		add(&x, length);
	add_piece(&x, piece);
	rc = perform(w, url, &x, why);
	if (!rc)
		*offset = x.has_offset ? x.offset : *offset + piece->len;
	httpc_answer_free(&x.answer);
	free(url);
	return rc;
}

int tus_cancel(struct web *w, const char *id, struct tus_why *why)
{
	struct exchange x = { .call = { .method = "DELETE", .timeout_ms = CALL_MS } };
	char *url = tus_url(w, "/_/tus/", id, "", "");
	int rc = perform(w, url, &x, why);

	httpc_answer_free(&x.answer);
	free(url);
	return rc;
}

/* Is the upload's key this one? */
static bool has_key(struct web *w, const char *id, const char *key, struct tus_why *why)
{
	struct exchange x = { .call = { .method = "HEAD", .timeout_ms = CALL_MS } };
	char *url = tus_url(w, "/_/tus/", id, "", ""), *encoded = base64_encode(key, strlen(key));
	const char *at;
	bool found = !perform(w, url, &x, why) && (at = strstr(x.metadata, ",sender ")) && encoded &&
		     !strncmp(at + 8, encoded, strlen(encoded)) && strchr(" ,", at[8 + strlen(encoded)]);

	httpc_answer_free(&x.answer);
	free(url);
	free(encoded);
	return found;
}

static int show(struct web *w, const char *id, const char *query, unsigned int timeout_ms,
		const volatile bool *stop, json_t **out, struct tus_why *why)
{
	struct exchange x = { .call = { .timeout_ms = timeout_ms, .stop = stop, .body_max = 64u << 20 } };
	char *url = tus_url(w, "/_/uploads", "", id, ""), *whole = NULL;
	int rc;

	if (url && asprintf(&whole, "%s%s", url, query) < 0)
		whole = NULL;
	rc = perform(w, whole, &x, why);
	*out = x.answer.body ? json_loadb(x.answer.body, x.answer.len, 0, NULL) : NULL;
	/* a waiting one is answered as a PUT is: 422 for a rejected one, 500 for one that failed */
	if (rc && why->status && json_object_get(*out, "state"))
		rc = why->rc = 0;
	if (!rc && !*out)
		rc = why->rc = -EAGAIN;
	if (rc) {
		json_decref(*out);
		*out = NULL;
	}
	httpc_answer_free(&x.answer);
	free(whole);
	free(url);
	return rc;
}

int tus_find(struct web *w, const char *dataset, const char *file, const char *key, char id[TUS_ID_MAX],
	     struct tus_why *why)
{
	json_t *all = NULL, *o;
	int rc = show(w, "", "", CALL_MS, NULL, &all, why);
	size_t i;

	if (rc)
		return rc;
	rc = -ENOENT;
	json_array_foreach (json_object_get(all, "uploads"), i, o) {
		const char *its = js_text(o, "id", ""), *state = js_text(o, "state", "");

		if (rc != -ENOENT || strcmp(js_text(o, "file", ""), file) || strcmp(js_text(o, "dataset", ""), dataset) ||
		    !strcmp(state, "cancelled"))
			continue;
		if (has_key(w, its, key, why)) {
			snprintf(id, TUS_ID_MAX, "%s", its);
			rc = 0;
		} else if (why->rc == -EAGAIN) {
			rc = -EAGAIN;
		}
	}
	json_decref(all);
	return why->rc = rc;
}

int tus_show(struct web *w, const char *id, unsigned int wait_s, const volatile bool *stop, json_t **out,
	     struct tus_why *why)
{
	char path[TUS_ID_MAX + 2];

	snprintf(path, sizeof(path), "/%s", id);
	return show(w, path, wait_s ? "?wait=1" : "", wait_s ? wait_s * 1000 : CALL_MS, stop, out, why);
}

bool tus_over(const char *state)
{
	return !strcmp(state, "accepted") || !strcmp(state, "rejected") || !strcmp(state, "failed") ||
	       !strcmp(state, "cancelled");
}
