/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_plan.c -- see publish_plan.h.
 */
#include <stdio.h>
#include <string.h>

#include "user/tunnel/publish_plan.h"

static bool named(const json_t *list, const char *node)
{
	const json_t *one;
	size_t i;

	json_array_foreach (list, i, one)
		if (!strcmp(json_string_value(one), node))
			return true;
	return false;
}

bool publish_may(int64_t revision, const struct publish_live *live, size_t n, int64_t waited_ms,
		 int64_t timeout_ms, json_t **silent)
{
	json_t *list = json_array();
	bool may;

	for (size_t i = 0; i < n; i++)
		if (live[i].acked < revision && !named(list, live[i].node))
			json_array_append_new(list, json_string(live[i].node));
	may = !json_array_size(list) || waited_ms >= timeout_ms;
	if (!may)
		json_array_clear(list);
	*silent = list;
	return may;
}

bool publish_relative(const char *hostname, const char *zone, char *out, size_t len)
{
	size_t host_len = strlen(hostname), zone_len = strlen(zone), n;

	while (zone_len && zone[zone_len - 1] == '.')
		zone_len--;
	if (host_len < zone_len || strncasecmp(hostname + host_len - zone_len, zone, zone_len))
		return false;
	n = host_len - zone_len;
	if (n < 2 || hostname[n - 1] != '.' || n > len)
		return false;
	memcpy(out, hostname, n - 1);
	out[n - 1] = '\0';
	return true;
}

static void add_record(json_t *records, const char *zone, const char *name, const char *type,
		       const json_t *values)
{
	char key[sizeof(REG_RECORDS) + 2 * TUNNEL_HOSTNAME_MAX + 8];

	if (!json_array_size(values))
		return;
	snprintf(key, sizeof(key), "%s/%s/%s", zone, name, type);
	json_object_set_new(records, key, json_deep_copy(values));
}

json_t *publish_records(const struct tunnel *t, const char *zone, const json_t *v4,
			const json_t *v6)
{
	json_t *records = json_object();
	char name[TUNNEL_HOSTNAME_MAX], bare[TUNNEL_HOSTNAME_MAX];
	size_t len = zone ? strlen(zone) : 0;

	while (len && zone[len - 1] == '.')
		len--;
	if (!records || !len || len >= sizeof(bare))
		return records;
	memcpy(bare, zone, len);
	bare[len] = '\0';
	for (size_t i = 0; i < t->nhostnames; i++) {
		if (!publish_relative(t->hostnames[i], bare, name, sizeof(name)))
			continue;
		add_record(records, bare, name, "A", v4);
		add_record(records, bare, name, "AAAA", v6);
	}
	return records;
}

void published_read(struct published *out, const json_t *value)
{
	out->revision = json_integer_value(json_object_get(value, "revision"));
	out->records = json_object_get(value, "records");
	out->silent = json_object_get(value, "silent");
	out->taken = json_object_get(value, "taken");
}

json_t *published_make(int64_t revision, int64_t at, json_t *records, json_t *silent, json_t *taken)
{
	json_t *o = json_pack("{s:I,s:I,s:O,s:O}", "revision", (json_int_t)revision, "at",
			      (json_int_t)at, "silent", silent, "records", records);

	if (json_array_size(taken))
		json_object_set(o, "taken", taken);
	return o;
}
