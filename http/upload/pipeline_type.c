// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline_type.c -- what the file is, whether the dataset wants that, and the reader for it.
 */
#include <errno.h>
#include <magic.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/pipeline_impl.h"

static magic_t cookie, describer;

/* Two cookies: a description takes other flags, and a change of flags is not cheap. Compressed data is not looked into:
 * that would start programs. */
int type_prepare(void)
{
	const int common = MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TAR | MAGIC_NO_CHECK_ELF | MAGIC_NO_CHECK_CDF;

	cookie = magic_open(MAGIC_MIME_TYPE | common);
	describer = magic_open(common);
	if (!cookie || !describer)
		return -ENOMEM;
	/* Without its data own rules remain; the type of what they do not know is application/octet-stream. */
	if (magic_load(cookie, NULL)) {
		magic_close(cookie);
		cookie = NULL;
	}
	if (magic_load(describer, NULL)) {
		magic_close(describer);
		describer = NULL;
	}
	return 0;
}

void *type_magic(void)
{
	return cookie;
}

static const char *packing_name(enum file_kind kind)
{
	return kind == KIND_GZIP ? "gzip" : kind == KIND_ZSTD ? "zstd" : kind == KIND_ZIP ? "zip" : "";
}

static const char *kind_name(const struct sniffed *s)
{
	switch (s->kind) {
	case KIND_CSV:
		return s->delimiter == '\t' ? "tsv" : "csv";
	case KIND_JSON:
		return "json";
	case KIND_JSONL:
		return "jsonl";
	case KIND_EMPTY:
		return "empty";
	case KIND_OTHER:
		return "other";
	default:
		return packing_name(s->kind);
	}
}

static const char *encoding_name(enum text_encoding encoding)
{
	static const char *const names[] = { "utf-8", "utf-8-bom", "utf-16le", "utf-16be", "windows-1252" };

	return names[encoding];
}

static bool is_rows(enum file_kind kind)
{
	return kind == KIND_CSV || kind == KIND_JSON || kind == KIND_JSONL;
}

/* One word of `accept`: "*", a kind, a media type, or "image/" followed by "*". */
static bool matches(const char *word, const struct sniffed *s, const struct rules *rules)
{
	size_t len = strlen(word);

	if (!strcmp(word, "*") || !strcmp(word, s->mime) || !strcmp(word, kind_name(s)))
		return true;
	/* A dataset that names the tab itself calls its files CSV. */
	if (!strcmp(word, "csv") && s->kind == KIND_CSV)
		return s->delimiter != '\t' || rules->dialect.delimiter == '\t';
	return len > 2 && !strcmp(word + len - 2, "/*") && !strncmp(word, s->mime, len - 1);
}

static bool is_packing(const char *word)
{
	return !strcmp(word, "gz") || !strcmp(word, "zst") || !strcmp(word, "zip");
}

/* A list of packings alone takes any table in them. */
static bool accepts(const struct rules *rules, const struct sniffed *s)
{
	bool others = false;

	for (size_t i = 0; i < rules->naccept; i++) {
		if (matches(rules->accept[i], s, rules))
			return true;
		others = others || !is_packing(rules->accept[i]);
	}
	return !rules->naccept || (!others && is_rows(s->kind));
}

static bool accepts_packing(const struct rules *rules, enum file_kind kind)
{
	const char *word = kind == KIND_GZIP ? "gz" : kind == KIND_ZSTD ? "zst" : "zip";

	for (size_t i = 0; i < rules->naccept; i++) {
		if (!strcmp(rules->accept[i], word) || !strcmp(rules->accept[i], "*"))
			return true;
	}
	return !rules->naccept;
}

static void accept_text(char out[160], const struct rules *rules)
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < rules->naccept && len < 130; i++)
		len += (size_t)snprintf(out + len, 160 - len, "%s%s", i ? ", " : "", rules->accept[i]);
	if (!rules->naccept)
		snprintf(out, 160, "csv, tsv, json, jsonl");
}

static int refuse(struct pipeline *p, const struct sniffed *s)
{
	bool known = s->kind != KIND_OTHER;
	char wanted[160], mend[256], is[160];

	accept_text(wanted, p->rules);
	if (known)
		snprintf(is, sizeof(is), "%s (%s)", kind_name(s), s->mime);
	else
		snprintf(is, sizeof(is), "%s", s->mime);
	snprintf(mend, sizeof(mend), known ? "Save the file as one of: %.159s." : "Is it the file that you meant? What can be sent here: %.159s.",
		 wanted);
	pipeline_reject(p, "file_type", mend, "By its content the file is %s%s%s; the dataset accepts %.120s.", is,
			p->packing != KIND_EMPTY ? ", packed by " : "", packing_name(p->packing), wanted);
	p->stop = true;
	return -ECANCELED;
}

int type_of_file(struct pipeline *p, const struct sniffed *s)
{
	if (s->kind != KIND_GZIP && s->kind != KIND_ZSTD && s->kind != KIND_ZIP)
		return 0;
	if (!accepts_packing(p->rules, s->kind) && !accepts(p->rules, s))
		return refuse(p, s);
	p->packing = s->kind;
	return 0;
}

/* libmagic's sentence, cleaned: what a file says of itself is for people to read. */
static void describe(json_t *type, const void *data, size_t len)
{
	const char *text = describer ? magic_buffer(describer, data, len) : NULL;
	char clean[FINDING_VALUE_MAX + 8];

	if (text) {
		finding_value(clean, text, strlen(text));
		json_object_set_new(type, "description", json_string(clean));
	}
	image_describe(type, data, len);
}

static int tell_type(struct pipeline *p, const struct sniffed *s, const void *data, size_t len)
{
	char delimiter[2] = { s->delimiter, '\0' };

	json_object_set_new(p->type_json, "kind", json_string(kind_name(s)));
	json_object_set_new(p->type_json, "mime", json_string(s->mime));
	json_object_set_new(p->type_json, "packing", json_string(packing_name(p->packing)));
	if (is_rows(s->kind))
		json_object_set_new(p->type_json, "encoding", json_string(encoding_name(s->encoding)));
	if (s->kind == KIND_CSV) {
		json_object_set_new(p->type_json, "delimiter", json_string(delimiter));
		json_object_set_new(p->type_json, "header", json_boolean(s->header));
	}
	if (s->kind == KIND_OTHER)
		describe(p->type_json, data, len);
	return pipeline_tell(p, "type", json_incref(p->type_json));
}

void type_dialect(struct csv_dialect *out, const struct sniffed *s, const struct rules *rules)
{
	*out = (struct csv_dialect){ .delimiter = s->delimiter, .quote = s->quote, .header = s->header,
				     .encoding = s->encoding, .comment = rules->dialect.comment };
	if (rules->dialect.delimiter)
		out->delimiter = rules->dialect.delimiter;
	if (rules->dialect.quote)
		out->quote = rules->dialect.quote;
	if (rules->dialect.header >= 0)
		out->header = rules->dialect.header != 0;
	for (enum text_encoding e = ENC_UTF8; rules->dialect.encoding && e <= ENC_LATIN1; e++) {
		/* A BOM that is there stays known. */
		if (!strcasecmp(rules->dialect.encoding, encoding_name(e)) && !(e == ENC_UTF8 && s->encoding == ENC_UTF8_BOM))
			out->encoding = e;
	}
}

static int start_reader(struct pipeline *p, const struct sniffed *s)
{
	struct csv_dialect dialect;
	struct row_sink sink;
	int rc;

	p->was_read = true;
	rows_sink(p, &sink);
	type_dialect(&dialect, s, p->rules);
	if (s->kind == KIND_CSV)
		rc = csv_new(&p->csv, &dialect, &sink);
	else
		rc = jsonrows_new(&p->json, s->kind == KIND_JSONL, &sink);
	if (p->json)
		check_later_names(p->check);
	if (rc)
		p->failed = rc;
	return rc;
}

static int reject_text(struct pipeline *p, const char *rule, const char *mend, const char *what)
{
	pipeline_reject(p, rule, mend, "%s", what);
	p->stop = true;
	return -ECANCELED;
}

int type_of_text(struct pipeline *p, const void *data, size_t len, bool whole)
{
	struct sniffed s = { 0 };

	sniff(&s, data, len, whole, cookie);
	/* What the rules say of the form decides between kinds of text that look alike. */
	if (s.kind == KIND_CSV && p->rules->dialect.delimiter)
		s.delimiter = p->rules->dialect.delimiter;
	if (p->entries > 1 && s.kind == KIND_EMPTY)
		return 0;
	if (p->entries > 1 && s.kind != p->type.kind)
		return reject_text(p, "file_type", "Pack files of one kind and one header, or upload them one by one.",
				   "The archive holds files of different kinds.");
	if (p->entries <= 1) {
		p->type = s;
		if (tell_type(p, &s, data, len))
			return p->failed;
	}
	if (s.kind == KIND_GZIP || s.kind == KIND_ZSTD || s.kind == KIND_ZIP)
		return reject_text(p, "packing", "Unpack it once and upload what comes out.",
				   "There is a packed file in the packed file; one level is unpacked.");
	if (s.kind == KIND_EMPTY && !p->no_rules)
		return reject_text(p, "file_type", "Upload the file with its content.", "The file is empty.");
	if (!p->no_rules && (!accepts(p->rules, &s) || (p->rules->nfields && !p->rules->naccept && !is_rows(s.kind))))
		return refuse(p, &s);
	return is_rows(s.kind) ? start_reader(p, &s) : 0;
}
