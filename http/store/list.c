/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c -- see list.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/dataset.h"
#include "http/store/list.h"
#include "lib/hash.h"

struct listing {
	json_t *objects, *prefixes;
	bool hides, versions;
};

static bool hidden(const struct listing *listing, const char *key)
{
	return listing->hides && !strncmp(key, DATASET_KEPT, strlen(DATASET_KEPT));
}

static int take_entry(void *arg, const char *bucket, const struct name_entry *entry)
{
	static const uint8_t unknown[32];
	struct listing *listing = arg;
	char etag[NAMES_ETAG_MAX + 3], sha[65];
	json_t *row;

	(void)bucket;
	if (hidden(listing, entry->key))
		return 0;
	row = json_pack("{s:s, s:I, s:s, s:I}", "key", entry->key, "size", (json_int_t)entry->size, "version",
			listing->versions && entry->null_version ? "null" : entry->version, "modified",
			(json_int_t)entry->modified);
	if (!entry->marker)
		json_object_set_new(row, "etag", json_string(names_entry_etag(entry, etag)));
	if (!entry->marker && memcmp(entry->sha256, unknown, sizeof(unknown)) != 0)
		json_object_set_new(row, "sha256", json_string(hex_encode(entry->sha256, 32, sha)));
	if (listing->versions) {
		json_object_set_new(row, "current", json_boolean(entry->current));
		json_object_set_new(row, "marker", json_boolean(entry->marker));
	}
	return json_array_append_new(listing->objects, row) ? -ENOMEM : 0;
}

static int take_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct listing *listing = arg;

	(void)bucket;
	if (hidden(listing, prefix))
		return 0;
	return json_array_append_new(listing->prefixes, json_string(prefix)) ? -ENOMEM : 0;
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
	struct listing listing = { .objects = json_array(),
				   .prefixes = json_array(),
				   .hides = hides,
				   .versions = wants_versions(req) };
	struct names_page page = { 0 };
	json_t *answer;
	int rc = (listing.versions ? names_versions : names_list_with)(ep->names, bucket, &select, take_entry, take_prefix,
									&listing, &page);

	if (rc) {
		json_decref(listing.objects);
		json_decref(listing.prefixes);
		return rc;
	}
	answer = json_pack("{s:s, s:o, s:s?}", "bucket", bucket, "objects", listing.objects, "next",
			   page.more ? page.next : NULL);
	if (select.delimiter && *select.delimiter)
		json_object_set(answer, "prefixes", listing.prefixes);
	json_decref(listing.prefixes);
	if (page.more && listing.versions)
		json_object_set_new(answer, "next_version", json_string(page.next_version));
	http_reply_json(req, 200, answer);
	return 0;
}
