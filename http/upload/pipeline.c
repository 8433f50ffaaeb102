// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline.c -- the whole way of one file: its bytes counted and digested, unpacked, given to a reader; the result.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/upload/pipeline_impl.h"
#include "http/upload/unpack.h"

#define TELL_BYTES (8u << 20)
#define TELL_US	   250000u

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int pipeline_tell(struct pipeline *p, const char *name, json_t *value)
{
	int rc = value ? 0 : -ENOMEM;

	if (!rc && p->io->tell)
		rc = p->io->tell(p->io->arg, name, value);
	json_decref(value);
	if (rc && !p->failed)
		p->failed = rc;
	return rc;
}

static void add_to_summary(struct pipeline *p, const char *rule)
{
	json_t *entry;
	size_t i;

	p->findings++;
	json_array_foreach(p->summary, i, entry) {
		json_t *count = json_object_get(entry, "count");

		if (strcmp(json_string_value(json_object_get(entry, "rule")), rule))
			continue;
		json_integer_set(count, json_integer_value(count) + 1);
		return;
	}
	json_array_append_new(p->summary, json_pack("{s:s, s:s, s:i}", "rule", rule, "column", "", "count", 1));
}

void pipeline_reject(struct pipeline *p, const char *rule, const char *mend, const char *fmt, ...)
{
	struct finding f = { .level = FINDING_REJECT, .column = "", .rule = rule, .value = "" };
	va_list args;

	va_start(args, fmt);
	vsnprintf(f.message, sizeof(f.message), fmt, args);
	va_end(args);
	snprintf(f.mend, sizeof(f.mend), "%s", mend);
	p->rejected = true;
	add_to_summary(p, rule);
	pipeline_tell(p, "finding", finding_json(&f));
}

static int tell_progress(struct pipeline *p, bool always)
{
	uint64_t now = now_us();

	if (!always && p->bytes - p->told_bytes < TELL_BYTES && now - p->told_us < TELL_US)
		return 0;
	p->told_bytes = p->bytes;
	p->told_us = now;
	return pipeline_tell(p, "progress",
			     json_pack("{s:I, s:I}", "checked", (json_int_t)p->bytes, "rows", (json_int_t)p->rows));
}

/* The file's next bytes; also unpack()'s. */
static ssize_t read_file(void *arg, void *buf, size_t max)
{
	struct pipeline *p = arg;
	ssize_t got;

	if (tell_progress(p, false))
		return p->failed;
	got = p->io->read(p->io->arg, buf, max);
	if (got < 0) {
		p->failed = (int)got;
		return got;
	}
	p->bytes += (uint64_t)got;
	if (got && EVP_DigestUpdate(p->digest, buf, (size_t)got) != 1) {
		p->failed = -ENOMEM;
		return -ENOMEM;
	}
	if (p->rules->max_size && p->bytes > p->rules->max_size) {
		pipeline_reject(p, "size", "Upload the file in parts, or ask the owner for a larger limit.",
				"The file is larger than the %llu bytes that the dataset accepts.",
				(unsigned long long)p->rules->max_size);
		p->stop = true;
		return -ECANCELED;
	}
	return got;
}

/* Fills buf unless the file ends: its length, or -errno. */
static ssize_t read_head(struct pipeline *p, char *buf, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t got = read_file(p, buf + len, size - len);

		if (got < 0)
			return got;
		if (!got)
			break;
		len += (size_t)got;
	}
	return (ssize_t)len;
}

/* To the reader of the entry. Ends with -ECANCELED and p->stop when nothing more of the file counts. */
static int feed(struct pipeline *p, const void *data, size_t len)
{
	int rc = 0;

	if (p->csv)
		rc = csv_feed(p->csv, data, len);
	else if (p->json)
		rc = jsonrows_feed(p->json, data, len);
	if (rc == -EBADMSG || rc == -ECANCELED) {
		p->stop = true;
		return -ECANCELED;
	}
	if (rc && !p->failed)
		p->failed = rc;
	return rc;
}

static int take_head(struct pipeline *p, bool whole)
{
	int rc = type_of_text(p, p->head, p->head_len, whole);

	p->known = true;
	return rc ? rc : feed(p, p->head, p->head_len);
}

static int text_data(void *arg, const void *data, size_t len)
{
	struct pipeline *p = arg;
	const char *at = data;
	size_t piece;
	int rc;

	p->text += len;
	if (p->known)
		return feed(p, data, len);
	piece = SNIFF_BYTES - p->head_len < len ? SNIFF_BYTES - p->head_len : len;
	memcpy(p->head + p->head_len, at, piece);
	p->head_len += piece;
	if (p->head_len < SNIFF_BYTES)
		return 0;
	rc = take_head(p, false);
	return rc || piece == len ? rc : feed(p, at + piece, len - piece);
}

static int text_end(struct pipeline *p)
{
	int rc = p->known ? 0 : take_head(p, true);

	if (!rc && p->csv)
		rc = csv_end(p->csv);
	else if (!rc && p->json)
		rc = jsonrows_end(p->json);
	if (rc == -EBADMSG || rc == -ECANCELED) {
		p->stop = true;
		rc = -ECANCELED;
	} else if (rc && !p->failed) {
		p->failed = rc;
	}
	csv_free(p->csv);
	jsonrows_free(p->json);
	p->csv = NULL;
	p->json = NULL;
	return rc;
}

static int text_entry(void *arg, const char *name)
{
	struct pipeline *p = arg;
	int rc = p->entries ? text_end(p) : 0;

	p->entries++;
	snprintf(p->entry, sizeof(p->entry), "%s", name);
	p->known = false;
	p->head_len = 0;
	p->entry_text = p->text;
	p->entry_rows = p->rows;
	return rc;
}

/* unpack() reads the head again, then the file. */
struct source {
	struct pipeline *p;
	const char *head;
	size_t left;
};

static ssize_t read_source(void *arg, void *buf, size_t max)
{
	struct source *s = arg;
	size_t n = s->left < max ? s->left : max;

	if (!s->left)
		return read_file(s->p, buf, max);
	memcpy(buf, s->head, n);
	s->head += n;
	s->left -= n;
	return (ssize_t)n;
}

static int run_packed(struct pipeline *p, const char *head, size_t len)
{
	static const struct unpack_limits limits = { 0 };
	const struct unpack_sink sink = { text_entry, text_data, p };
	struct source source = { p, head, len };
	char why[160] = "";
	int rc = unpack(p->packing, read_source, &source, &limits, &sink, why);

	if (!rc && !p->entries)
		pipeline_reject(p, "packing", "Pack the file anew, with a file in it.", "The archive holds no file.");
	else if (!rc)
		return text_end(p);
	else if (p->failed || p->stop)
		return p->failed ? p->failed : -ECANCELED;
	else if (rc == -EBADMSG)
		pipeline_reject(p, "packing", "Pack the file anew and upload that.", "The file cannot be unpacked: %s.", why);
	else if (rc == -E2BIG)
		pipeline_reject(p, "bomb", "Upload the file unpacked, or in parts.",
				"The file is not unpacked further: %s.", why);
	else
		p->failed = rc;
	return p->failed ? p->failed : -ECANCELED;
}

static int run_plain(struct pipeline *p, const char *head, size_t len, char *piece)
{
	int rc = text_entry(p, "");

	if (!rc && len)
		rc = text_data(p, head, len);
	while (!rc) {
		ssize_t got = read_file(p, piece, PIPELINE_PIECE);

		if (got <= 0) {
			rc = got ? (int)got : text_end(p);
			break;
		}
		rc = text_data(p, piece, (size_t)got);
	}
	return rc;
}

static int run_file(struct pipeline *p)
{
	char *piece = malloc(PIPELINE_PIECE), *head = malloc(SNIFF_BYTES);
	struct sniffed sniffed = { 0 };
	ssize_t len = -ENOMEM;
	int rc;

	p->head = malloc(SNIFF_BYTES);
	if (piece && head && p->head)
		len = read_head(p, head, SNIFF_BYTES);
	else
		p->failed = -ENOMEM;
	rc = len < 0 ? (int)len : 0;
	if (!rc) {
		sniff(&sniffed, head, (size_t)len, len < (ssize_t)SNIFF_BYTES, type_magic());
		rc = type_of_file(p, &sniffed);
	}
	if (!rc)
		rc = p->packing != KIND_EMPTY ? run_packed(p, head, (size_t)len) : run_plain(p, head, (size_t)len, piece);
	free(piece);
	free(head);
	return rc;
}

static json_t *digest_text(struct pipeline *p)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	char text[2 * EVP_MAX_MD_SIZE + 1];
	unsigned int n = 0;

	if (EVP_DigestFinal_ex(p->digest, sum, &n) != 1)
		return NULL;
	for (unsigned int i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", sum[i]);
	return json_string(text);
}

static json_t *make_result(struct pipeline *p, bool whole)
{
	json_t *result = json_object();

	json_object_set(result, "type", p->type_json);
	json_object_set_new(result, "bytes", json_integer((json_int_t)p->bytes));
	json_object_set_new(result, "unpacked", json_integer((json_int_t)p->text));
	rows_result(p, result);
	/* A part's digest would be taken for the file's. */
	if (whole)
		json_object_set_new(result, "sha256", digest_text(p));
	return result;
}

static int set_up(struct pipeline *p)
{
	p->digest = EVP_MD_CTX_new();
	p->summary = json_array();
	p->type_json = json_object();
	p->told_us = now_us();
	if (!p->digest || !p->summary || !p->type_json || EVP_DigestInit_ex(p->digest, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	return rows_open(p);
}

static void release(struct pipeline *p)
{
	csv_free(p->csv);
	jsonrows_free(p->json);
	rows_close(p);
	EVP_MD_CTX_free(p->digest);
	json_decref(p->summary);
	json_decref(p->type_json);
	free(p->head);
	free(p);
}

/* What holds when there is none: every table is fine. */
static const struct rules *plain_rules(void)
{
	static char empty[] = "", *missing[] = { empty };
	static const struct rules rules = {
		.dialect = { .header = -1 },
		.missing_values = missing,
		.nmissing = 1,
		.tolerance = { .on_fault = FINDING_REJECT, .max_faults = UINT64_MAX, .max_share = 1.0, .show = 1000 },
	};

	return &rules;
}

json_t *pipeline_run(const struct rules *rules, const struct pipeline_io *io, int *error)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	json_t *result = NULL;
	int rc;

	*error = -ENOMEM;
	if (!p)
		return NULL;
	p->rules = rules ? rules : plain_rules();
	p->no_rules = !rules;
	p->io = io;
	p->packing = KIND_EMPTY;
	p->quarantine = -1;
	rc = set_up(p);
	if (rc) {
		p->failed = rc;
	} else {
		rc = run_file(p);
		if (!p->failed)
			rows_end(p);
		if (!p->failed)
			tell_progress(p, true);
	}
	if (!p->failed)
		result = make_result(p, !rc);
	*error = result ? 0 : p->failed ? p->failed : -ENOMEM;
	release(p);
	return result;
}

int pipeline_prepare(void)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int n;

	/* Once: OpenSSL reads its configuration and finds its algorithms. */
	if (EVP_Digest("", 0, sum, &n, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	tzset();
	return type_prepare();
}
