/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zones.c -- see zones.h.
 */
#include "dns/zones.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/hash.h"
#include "lib/log.h"

static void log_faults(const char *text, bool fatal)
{
	char *copy = strdup(text), *save = NULL;

	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		log_at(LOG_LEVEL_ERROR, "%s%s", line,
		       fatal ? "" : " (the zone's old records stay)");
	free(copy);
}

/* NULL, with the faults logged, when the file has any. */
static struct dns_zone *load_zone(const struct conf_zone *conf, bool fatal)
{
	struct dns_zone *zone = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *faults = open_memstream(&text, &len);

	if (!faults)
		return NULL;
	if (dns_zone_load(&zone, conf->name, conf->file, faults))
		zone = NULL;
	fclose(faults);
	if (!zone)
		log_faults(text, fatal);
	free(text);
	return zone;
}

static const struct zone_source *source_of(const struct zones *zones, const char *name)
{
	for (size_t i = 0; zones && i < zones->n; i++)
		if (strcasecmp(zones->list[i].conf->name, name) == 0)
			return &zones->list[i];
	return NULL;
}

int zones_load(struct zones *out, const struct zones *old, const struct conf_ns *conf)
{
	struct zones new = { .list = calloc(conf->nzones + 1, sizeof(*new.list)) };
	int rc = new.list ? 0 : -ENOMEM;

	for (; new.n < conf->nzones && !rc; new.n++) {
		const struct conf_zone *c = &conf->zones[new.n];
		const struct zone_source *before = source_of(old, c->name);
		struct zone_source *source = &new.list[new.n];

		if (before)
			*source = *before;
		source->conf = c;
		source->zone = load_zone(c, !before);
		if (!source->zone && before)
			source->zone = dns_zone_copy(before->zone);
		if (!source->zone)
			rc = -EINVAL;
	}
	if (rc)
		zones_free(&new);
	else
		*out = new;
	return rc;
}

void zones_free(struct zones *zones)
{
	for (size_t i = 0; i < zones->n; i++)
		dns_zone_free(zones->list[i].zone);
	free(zones->list);
	*zones = (struct zones){ 0 };
}

bool zones_hold(const struct zones *zones, const uint8_t *name, size_t len)
{
	for (size_t i = 0; i < zones->n; i++)
		if (dns_name_under(name, len, zones->list[i].zone->name,
				   zones->list[i].zone->name_len))
			return true;
	return false;
}

static uint64_t zone_digest(const struct dns_zone *zone)
{
	uint64_t digest = 0;

	for (size_t i = 0; i < zone->n; i++) {
		const struct dns_rr *rr = zone->rr[i];
		size_t len = rr->rdata_len;
		uint32_t head[2] = { rr->type, rr->ttl };

		digest = hash64(rr->name, rr->name_len, digest);
		digest = hash64(head, sizeof(head), digest);
		/* The serial is what the digest is to move. */
		digest = hash64(rr->rdata, rr->type == DNS_SOA ? len - 20 : len, digest);
		if (rr->type == DNS_SOA)
			digest = hash64(rr->rdata + len - 16, 16, digest);
	}
	return digest;
}

static bool serial_newer(uint32_t a, uint32_t b) /* RFC 1982 section 3.2 */
{
	return (int32_t)(a - b) > 0;
}

/* The serial grows when the content changes, and follows the file when that is ahead. */
static void follow_serial(struct zone_source *source, struct dns_zone *zone,
			  const json_t *remembered)
{
	uint64_t digest = zone_digest(zone);
	uint32_t file = source->zone->serial;
	const json_t *old = source->digest ? NULL : json_object_get(remembered, source->conf->name);

	if (old) {
		source->digest = (uint64_t)json_integer_value(json_object_get(old, "digest"));
		source->serial = (uint32_t)json_integer_value(json_object_get(old, "serial"));
	}
	if (!source->digest || serial_newer(file, source->serial))
		source->serial = file;
	else if (source->digest != digest)
		source->serial++;
	source->digest = digest;
	dns_zone_set_serial(zone, source->serial);
}

static void record_refused(void *arg, const char *key, const char *why)
{
	(void)arg;
	log_limited(LOG_LEVEL_WARN, 20, "registry record %s is left out: %s", key, why);
}

int zones_compile(struct zones *zones, const struct model *model, const json_t *remembered,
		  const struct dns_steer *steers, size_t nsteers, struct dns_table **out)
{
	struct dns_zone **merged = calloc(zones->n + 1, sizeof(*merged));
	uint64_t seed;
	int rc = merged ? 0 : -ENOMEM;

	random_bytes(&seed, sizeof(seed));
	for (size_t i = 0; i < zones->n && !rc; i++) {
		merged[i] = dns_zone_copy(zones->list[i].zone);
		if (!merged[i]) {
			rc = -ENOMEM;
			break;
		}
		model_merge(model, merged[i], zones->list[i].conf->name, record_refused, NULL);
		follow_serial(&zones->list[i], merged[i], remembered);
	}
	if (!rc)
		rc = dns_compile(out, (const struct dns_zone *const *)merged, zones->n, steers,
				 nsteers, seed);
	for (size_t i = 0; i < zones->n && merged; i++)
		dns_zone_free(merged[i]);
	free(merged);
	return rc;
}

json_t *zones_remember(const struct zones *zones)
{
	json_t *out = json_object();

	for (size_t i = 0; i < zones->n; i++)
		(void)json_object_set_new(out, zones->list[i].conf->name,
					  json_pack("{s:I, s:I}", "digest",
						    (json_int_t)zones->list[i].digest, "serial",
						    (json_int_t)zones->list[i].serial));
	return out;
}
