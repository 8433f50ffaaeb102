/* SPDX-License-Identifier: Apache-2.0 */
/*
 * du.c -- `weir du`: what buckets hold, as their primaries count it; what the folders of one bucket hold, by its listing.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/web.h"

/* Sums of what is below one prefix. */
struct sum {
	char *name;
	uint64_t objects, bytes;
};

struct sums {
	struct sum *all;
	size_t n, room;
	struct sum total;
};

/* What stands below the prefix up to the next slash. Rows come in the order of keys, so that a folder's are beside each
 * other. */
static struct sum *sum_of(struct sums *s, const char *name, size_t len)
{
	struct sum *more;

	if (s->n && strlen(s->all[s->n - 1].name) == len && !memcmp(s->all[s->n - 1].name, name, len))
		return &s->all[s->n - 1];
	if (s->n == s->room) {
		more = realloc(s->all, (s->room * 2 + 64) * sizeof(*more));
		if (!more)
			return NULL;
		s->all = more;
		s->room = s->room * 2 + 64;
	}
	s->all[s->n] = (struct sum){ .name = strndup(name, len) };
	return s->all[s->n].name ? &s->all[s->n++] : NULL;
}

static void sums_free(struct sums *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->all[i].name);
	free(s->all);
}

static int add_page(struct sums *s, const char *prefix, const json_t *page)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(page, "objects"), i, row) {
		const char *key = js_text(row, "key", ""), *rest;
		uint64_t size = (uint64_t)js_num(row, "size");
		struct sum *sum;
		size_t len;

		if (strncmp(key, prefix, strlen(prefix)) != 0 || json_is_true(json_object_get(row, "marker")))
			continue;
		rest = key + strlen(prefix);
		len = strcspn(rest, "/");
		len += rest[len] == '/';
		sum = sum_of(s, rest, len);
		if (!sum)
			return cmd_fail("out of memory");
		sum->objects++;
		sum->bytes += size;
		s->total.objects++;
		s->total.bytes += size;
	}
	return CMD_OK;
}

/* All pages of a bucket below a prefix. */
static int walk(struct web *w, const char *bucket, const char *prefix, bool versions, struct sums *s)
{
	char *after = strdup(""), *after_version = strdup("");
	int rc = after && after_version ? CMD_OK : cmd_fail("out of memory");

	while (!rc && after) {
		char path[4096 + 3 * 1024];
		json_t *page = NULL;

		snprintf(path, sizeof(path), "/_/buckets/%s/objects?prefix=%s&after=%s%s%s", web_part(bucket, false),
			 web_part(prefix, false), web_part(after, false), versions ? "&versions=1&after_version=" : "",
			 versions ? web_part(after_version, false) : "");
		rc = web_json(w, &(struct web_call){ .doing = "list the bucket", .path = path }, &page);
		if (!rc)
			rc = add_page(s, prefix, page);
		free(after);
		free(after_version);
		after = json_is_string(json_object_get(page, "next")) ? strdup(js_text(page, "next", "")) : NULL;
		after_version = strdup(js_text(page, "next_version", ""));
		json_decref(page);
	}
	free(after);
	free(after_version);
	return rc;
}

static void sum_row(struct table *table, const char *name, const struct sum *sum)
{
	char objects[24], bytes[16];

	snprintf(objects, sizeof(objects), "%llu", (unsigned long long)sum->objects);
	table_row(table, name, objects, cmd_bytes(sum->bytes, bytes), NULL);
}

static int du_bucket(struct web *w, const char *bucket, const char *prefix, bool versions, bool as_json)
{
	struct sums s = { 0 };
	json_t *rows = json_array();
	struct table *table;
	int rc = walk(w, bucket, prefix, versions, &s);

	for (size_t i = 0; !rc && as_json && i < s.n; i++)
		json_array_append_new(rows, json_pack("{s:s, s:I, s:I}", "name", s.all[i].name, "objects",
						      (json_int_t)s.all[i].objects, "bytes", (json_int_t)s.all[i].bytes));
	if (!rc && as_json) {
		rc = cmd_print_json(json_pack("{s:s, s:s, s:O, s:I, s:I}", "bucket", bucket, "prefix", prefix, "below", rows,
					      "objects", (json_int_t)s.total.objects, "bytes", (json_int_t)s.total.bytes));
	} else if (!rc) {
		table = table_new(versions ? "NAME|VERSIONS>|SIZE>" : "NAME|OBJECTS>|SIZE>");
		for (size_t i = 0; i < s.n; i++)
			sum_row(table, *s.all[i].name ? web_safe(s.all[i].name) : "(the prefix itself)", &s.all[i]);
		sum_row(table, "all", &s.total);
		table_print(table);
	}
	json_decref(rows);
	sums_free(&s);
	return rc;
}

static const char *counted(const json_t *row, const char *name, char out[24])
{
	if (!json_is_integer(json_object_get(row, name)))
		return "?";
	snprintf(out, 24, "%lld", (long long)json_integer_value(json_object_get(row, name)));
	return out;
}

static void print_buckets(const json_t *rows)
{
	struct table *table = table_new("BUCKET|VERSIONS>|SIZE>|UPLOADS>|QUOTA>|VERSIONING|OWNER");
	json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		double quota = js_num(json_object_get(row, "quota"), "bytes");
		char objects[24], uploads[24], size[16], limit[16];
		bool known = json_is_integer(json_object_get(row, "bytes"));

		table_row(table, web_safe(js_text(row, "name", "?")), counted(row, "objects", objects),
			  known ? cmd_bytes((uint64_t)js_num(row, "bytes"), size) : "?", counted(row, "uploads", uploads),
			  quota > 0 ? cmd_bytes((uint64_t)quota, limit) : "-", js_text(row, "versioning", "off"),
			  web_safe(js_text(row, "owner", "-")), NULL);
	}
	table_print(table);
}

static int du_all(struct web *w, bool as_json)
{
	json_t *got = NULL;
	int rc = web_json(w, &(struct web_call){ .doing = "list the buckets", .path = "/_/buckets" }, &got);

	if (!rc && as_json)
		return cmd_print_json(got);
	if (!rc)
		print_buckets(json_object_get(got, "buckets"));
	json_decref(got);
	return rc;
}

int cmd_du(const struct cmd *cmd, int argc, char **argv)
{
	struct web_flags flags = { 0 };
	bool versions = false;
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { "--versions", NULL, &versions }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	struct web *w;
	char *slash;

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 1)
		return cmd_usage(cmd, "wants nothing, BUCKET or BUCKET/PREFIX");
	rc = web_open(&w, &opt, &flags, false);
	if (rc)
		return rc;
	if (!n) {
		rc = du_all(w, opt.json);
	} else {
		slash = strchr(argv[0], '/');
		if (slash)
			*slash = '\0';
		rc = du_bucket(w, argv[0], slash ? slash + 1 : "", versions, opt.json);
	}
	web_close(w);
	return rc;
}
