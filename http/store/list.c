/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c -- see list.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/dataset.h"
#include "http/store/list.h"
#include "lib/bucket.h"
#include "lib/hash.h"
#include "lib/json_text.h"

struct listing {
	struct json_text text, prefixes;
	unsigned int objects, nprefixes;
	bool hides, versions;
};

static bool hidden(const struct listing *listing, const char *key)
{
	return listing->hides && !strncmp(key, DATASET_KEPT, strlen(DATASET_KEPT));
}

#define RAW(json, text) json_text_raw(json, text, sizeof(text) - 1)

/* By hand: jansson takes five times as long for a page, and most of the page's time. */
static int take_entry(void *arg, const char *bucket, const struct name_entry *entry)
{
	static const uint8_t unknown[32];
	struct listing *listing = arg;
	struct json_text *text = &listing->text;
	char etag[NAMES_ETAG_MAX + 3], sha[65];

	(void)bucket;
	if (hidden(listing, entry->key))
		return 0;
	if (listing->objects++)
		RAW(text, ",");
	RAW(text, "{\"key\":");
	json_text_string(text, entry->key);
	RAW(text, ",\"size\":");
	json_text_int(text, (int64_t)entry->size);
	RAW(text, ",\"version\":");
	json_text_string(text, listing->versions && entry->null_version ? "null" : entry->version);
	RAW(text, ",\"modified\":");
	json_text_int(text, entry->modified);
	if (!entry->marker) {
		RAW(text, ",\"etag\":");
		json_text_string(text, names_entry_etag(entry, etag));
	}
	if (!entry->marker && memcmp(entry->sha256, unknown, sizeof(unknown)) != 0) {
		RAW(text, ",\"sha256\":");
		json_text_string(text, hex_encode(entry->sha256, 32, sha));
	}
	if (listing->versions) {
		RAW(text, ",\"current\":");
		json_text_bool(text, entry->current);
		RAW(text, ",\"marker\":");
		json_text_bool(text, entry->marker);
	}
	RAW(text, "}");
	return text->failed ? -ENOMEM : 0;
}

static int take_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct listing *listing = arg;

	(void)bucket;
	if (hidden(listing, prefix))
		return 0;
	if (listing->nprefixes++)
		RAW(&listing->prefixes, ",");
	json_text_string(&listing->prefixes, prefix);
	return listing->prefixes.failed ? -ENOMEM : 0;
}

/* What stands behind the objects. */
static void page_end(struct listing *listing, const struct names_page *page, bool delimited)
{
	struct json_text *text = &listing->text;

	RAW(text, "],\"next\":");
	if (page->more)
		json_text_string(text, page->next);
	else
		RAW(text, "null");
	if (delimited) {
		RAW(text, ",\"prefixes\":[");
		json_text_raw(text, listing->prefixes.text, listing->prefixes.len);
		RAW(text, "]");
	}
	if (page->more && listing->versions) {
		RAW(text, ",\"next_version\":");
		json_text_string(text, page->next_version);
	}
	RAW(text, "}");
}

static bool wants_versions(struct http_req *req)
{
	const char *versions = http_query(req, "versions");

	return versions && !strcmp(versions, "1");
}

bool list_check(struct endpoint *ep, struct http_req *req, const struct token_scope *who)
{
	const char *bucket = http_param(req, "bucket"), *prefix = http_query(req, "prefix");

	if (!wants_versions(req) || access_check_action(req, ep->users, "s3:ListBucketVersions", bucket, prefix, who))
		return true;
	dataset_audit(ep, req, who, &(struct audit_object){ "object.list", bucket, prefix, "denied", "no right", 0 });
	return false;
}

int list_reply(struct endpoint *ep, struct http_req *req, bool hides)
{
	const char *bucket = http_param(req, "bucket"), *limit = http_query(req, "limit");
	unsigned long n = limit ? strtoul(limit, NULL, 10) : NAMES_LIST_MAX;
	struct names_select select = { .prefix = http_query(req, "prefix"),
				       .delimiter = http_query(req, "delimiter"),
				       .after = http_query(req, "after"),
				       .after_version = http_query(req, "after_version"),
				       .limit = (unsigned int)(n < 1 || n > NAMES_LIST_MAX ? NAMES_LIST_MAX : n) };
	struct listing listing = { .hides = hides, .versions = wants_versions(req) };
	const struct bucket *record = NULL;
	struct names_page page = { 0 };
	size_t len;
	char *text;
	int rc;

	RAW(&listing.text, "{\"bucket\":");
	json_text_string(&listing.text, bucket);
	RAW(&listing.text, ",\"objects\":[");
	rc = (listing.versions ? names_versions : names_list_with)(
		ep->names, bucket, &select, take_entry, take_prefix, &listing, &page);
	if (rc == -ENOENT && (record = users_bucket(ep->users, bucket))) /* made, and nobody has written to it: empty */
		rc = 0;
	bucket_put(record);
	if (rc == -ENOENT) {
		http_reply_error(req, 404, "not-found", "There is no bucket %.63s.", bucket);
		rc = 0;
	} else if (!rc) {
		page_end(&listing, &page, select.delimiter && *select.delimiter);
		text = json_text_take(&listing.text, &len);
		if (text)
			http_reply_owned(req, 200, "application/json", text, len);
		else
			rc = -ENOMEM;
	}
	json_text_drop(&listing.text);
	json_text_drop(&listing.prefixes);
	return rc;
}
