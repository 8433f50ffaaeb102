/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c -- requests among endpoints (transfer.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/store/transfer.h"

#define SMALL_TIMEOUT_MS 10000

static _Thread_local char last_error[400];

const char *transfer_error(void)
{
	return last_error;
}

/* An answer's status as an errno. */
static int status_errno(long status)
{
	if (status >= 200 && status < 300)
		return 0;
	switch (status) {
	case 404:
		return -ENOENT;
	case 507:
		return -ENOSPC;
	case 500:
		return -EBADMSG;
	case 409:
		return -ESTALE;
	default:
		return -EPROTO;
	}
}

static int outcome(const struct peer *peer, int rc, const struct httpc_answer *answer)
{
	if (rc) {
		snprintf(last_error, sizeof(last_error), "%s: %s", peer->node,
			 answer->error[0] ? answer->error : "no answer");
		return rc;
	}
	rc = status_errno(answer->status);
	if (rc)
		snprintf(last_error, sizeof(last_error), "%s answered %ld", peer->node,
			 answer->status);
	return rc;
}

struct sending {
	const struct staged *staged;
	uint64_t at, end;
};

static ssize_t send_more(void *arg, char *buf, size_t max)
{
	struct sending *s = arg;
	ssize_t n;

	if (s->at >= s->end)
		return 0;
	n = staged_read(s->staged, buf, s->end - s->at < max ? s->end - s->at : max, s->at);
	if (n == 0)
		return -EIO; /* shorter than it was */
	if (n > 0)
		s->at += (uint64_t)n;
	return n;
}

int transfer_chunk(struct httpc *c, const struct peer *to, const char *self,
		   const struct version *v, const struct staged *s, uint64_t number,
		   const char *last)
{
	uint64_t first = number * CHUNK_SIZE, size = staged_size(s);
	uint64_t left = first < size ? size - first : 0;
	struct sending sending = { s, first, first + (left < CHUNK_SIZE ? left : CHUNK_SIZE) };
	char hex[VERSION_STRLEN], sha[65], url[256], hash_line[96], from[96], *last_line = NULL;
	const char *headers[5] = { hash_line, from, "Expect:" };
	struct httpc_call call = { .method = "PUT", .url = url, .headers = headers };
	struct httpc_answer answer = { 0 };
	uint8_t hash[32];
	int rc;

	rc = staged_chunk_hash(s, number, hash);
	if (rc)
		return rc;
	if (last && asprintf(&last_line, "X-Weir-Manifest: %s", last) < 0)
		return -ENOMEM;
	headers[3] = last_line;
	snprintf(from, sizeof(from), "X-Weir-From: %s", self);
	snprintf(hash_line, sizeof(hash_line), "X-Weir-Sha256: %s", hex_encode(hash, 32, sha));
	snprintf(url, sizeof(url), "%s/i/chunk/%s/%" PRIu64, to->base, version_format(v, hex),
		 number);
	call.read = send_more;
	call.read_len = sending.end - sending.at;
	call.arg = &sending;
	rc = outcome(to, httpc_do(c, &call, &answer), &answer);
	httpc_answer_free(&answer);
	free(last_line);
	return rc;
}

static int ask_to_delete(struct httpc *c, const struct peer *to, const char *what, const char *name)
{
	char url[256];
	struct httpc_call call = { .method = "DELETE", .url = url, .timeout_ms = SMALL_TIMEOUT_MS };
	struct httpc_answer answer = { 0 };
	int rc;

	snprintf(url, sizeof(url), "%s/i/%s/%s", to->base, what, name);
	rc = outcome(to, httpc_do(c, &call, &answer), &answer);
	httpc_answer_free(&answer);
	return rc;
}

int transfer_forget(struct httpc *c, const struct peer *to, const struct version *v)
{
	char hex[VERSION_STRLEN];

	return ask_to_delete(c, to, "version", version_format(v, hex));
}

int transfer_restarted(struct httpc *c, const struct peer *to, const char *self)
{
	return ask_to_delete(c, to, "from", self);
}

int transfer_manifest(struct httpc *c, const struct peer *from, const struct version *v,
		      struct manifest *out)
{
	char hex[VERSION_STRLEN], url[256];
	struct httpc_call call = { .url = url,
				   .timeout_ms = SMALL_TIMEOUT_MS,
				   .body_max = HEAD_MAX };
	struct httpc_answer answer = { 0 };
	int rc;

	snprintf(url, sizeof(url), "%s/i/manifest/%s", from->base, version_format(v, hex));
	rc = outcome(from, httpc_do(c, &call, &answer), &answer);
	if (!rc &&
	    (manifest_decode(out, answer.body, answer.len) || !version_equal(&out->version, v))) {
		snprintf(last_error, sizeof(last_error), "%s sent no manifest of that version",
			 from->node);
		rc = -EPROTO;
	}
	httpc_answer_free(&answer);
	return rc;
}

struct receiving {
	int (*on_data)(void *arg, const void *data, size_t n);
	void *arg;
	uint64_t left, got;
	int rc;
};

static int check_status(void *arg, const struct httpc_answer *head)
{
	struct receiving *r = arg;

	/* A peer that ignored the range would send other bytes than those asked for. */
	r->rc = head->status == 206   ? 0
		: head->status == 200 ? -EPROTO
				      : status_errno(head->status);
	return r->rc;
}

static int receive(void *arg, const void *data, size_t n)
{
	struct receiving *r = arg;

	if (n > r->left)
		r->rc = -EPROTO;
	else
		r->rc = r->on_data(r->arg, data, n);
	if (!r->rc) {
		r->left -= n;
		r->got += n;
	}
	return r->rc;
}

int transfer_data(struct httpc *c, const struct peer *from, const struct version *v, uint64_t first,
		  uint64_t len, int (*on_data)(void *arg, const void *data, size_t n), void *arg,
		  uint64_t *got)
{
	struct receiving r = { .on_data = on_data, .arg = arg, .left = len };
	char hex[VERSION_STRLEN], url[256], range[80];
	const char *headers[] = { range, NULL };
	struct httpc_call call = { .url = url,
				   .headers = headers,
				   .on_head = check_status,
				   .on_data = receive,
				   .arg = &r };
	struct httpc_answer answer = { 0 };
	int rc;

	*got = 0;
	if (!len)
		return 0;
	snprintf(url, sizeof(url), "%s/i/data/%s", from->base, version_format(v, hex));
	snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, first, first + len - 1);
	rc = httpc_do(c, &call, &answer);
	*got = r.got;
	if (r.rc) {
		snprintf(last_error, sizeof(last_error), "%s answered %ld", from->node,
			 answer.status);
		rc = r.rc;
	} else {
		rc = outcome(from, rc, &answer);
		if (!rc && r.left)
			rc = -EPROTO;
	}
	httpc_answer_free(&answer);
	return rc;
}
