/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone.c -- zone files through ldns, one record at a time so that a fault has its line; the sorted
 * array of records; the checks.
 */
#include "dns/zone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#define FAULTS_MAX 50	       /* then the rest is left out: a file of another kind has millions */
#define TTL_MAX	   0x7fffffffu /* RFC 2181 section 8 */

static int rr_compare_name(const struct dns_rr *a, const uint8_t *name, size_t len)
{
	if (a->name_len != len)
		return a->name_len < len ? -1 : 1;
	return memcmp(a->name, name, len);
}

static int rr_compare(const void *pa, const void *pb)
{
	const struct dns_rr *a = *(struct dns_rr *const *)pa, *b = *(struct dns_rr *const *)pb;
	int c = rr_compare_name(a, b->name, b->name_len);

	if (c)
		return c;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	c = memcmp(a->rdata, b->rdata, a->rdata_len < b->rdata_len ? a->rdata_len : b->rdata_len);
	return c ? c : (int)a->rdata_len - (int)b->rdata_len;
}

static int zone_append(struct dns_zone *zone, struct dns_rr *rr)
{
	if (zone->n == zone->room) {
		size_t room = zone->room ? zone->room * 2 : 64;
		struct dns_rr **bigger = reallocarray(zone->rr, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		zone->rr = bigger;
		zone->room = room;
	}
	zone->rr[zone->n++] = rr;
	return 0;
}

/* Sorts, drops duplicates (RFC 2181 section 5) and gives each RRset one TTL, the smallest. */
static void zone_settle(struct dns_zone *zone)
{
	size_t kept = 0, first = 0;

	if (zone->n)
		qsort(zone->rr, zone->n, sizeof(*zone->rr), rr_compare);
	for (size_t i = 0; i < zone->n; i++) {
		struct dns_rr *rr = zone->rr[i];

		if (kept && rr_compare(&zone->rr[kept - 1], &rr) == 0) {
			free(rr);
			continue;
		}
		zone->rr[kept] = rr;
		if (!kept || zone->rr[first]->type != rr->type ||
		    rr_compare_name(zone->rr[first], rr->name, rr->name_len))
			first = kept;
		kept++;
		if (rr->ttl < zone->rr[first]->ttl)
			for (size_t j = first; j < kept; j++)
				zone->rr[j]->ttl = rr->ttl;
		else
			rr->ttl = zone->rr[first]->ttl;
	}
	zone->n = kept;
}

struct dns_rr *const *dns_zone_find(const struct dns_zone *zone, const uint8_t *name,
				    size_t name_len, uint16_t type, size_t *count)
{
	size_t low = 0, high = zone->n, end;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = rr_compare_name(zone->rr[mid], name, name_len);

		if (c < 0 || (c == 0 && zone->rr[mid]->type < type))
			low = mid + 1;
		else
			high = mid;
	}
	for (end = low; end < zone->n && rr_compare_name(zone->rr[end], name, name_len) == 0; end++)
		if (type && zone->rr[end]->type != type)
			break;
	if (count)
		*count = end - low;
	return end > low ? &zone->rr[low] : NULL;
}

/* Types whose shape the compiler relies on; RFC 3597 notation could give them any bytes. */
static bool rdata_valid(const struct dns_rr *rr)
{
	size_t len = rr->rdata_len, first;

	switch (rr->type) {
	case DNS_A:
		return len == 4;
	case DNS_AAAA:
		return len == 16;
	case DNS_NS:
	case DNS_CNAME:
		return dns_name_len(rr->rdata, len) == len;
	case DNS_MX:
		return len > 2 && dns_name_len(rr->rdata + 2, len - 2) == len - 2;
	case DNS_SOA:
		first = dns_name_len(rr->rdata, len);
		return first && len == first + dns_name_len(rr->rdata + first, len - first) + 20 &&
		       dns_name_len(rr->rdata + first, len - first);
	}
	return len > 0;
}

/* A record of ours from one of ldns's: the rdata fields are already uncompressed wire. */
static struct dns_rr *rr_from_ldns(const ldns_rr *in)
{
	size_t len = 0, owner_len = ldns_rdf_size(ldns_rr_owner(in));
	struct dns_rr *rr;

	for (size_t i = 0; i < ldns_rr_rd_count(in); i++)
		len += ldns_rdf_size(ldns_rr_rdf(in, i));
	if (len > 0xffff || owner_len > DNS_NAME_MAX)
		return NULL;
	rr = calloc(1, sizeof(*rr) + len);
	if (!rr)
		return NULL;
	rr->type = (uint16_t)ldns_rr_get_type(in);
	rr->ttl = ldns_rr_ttl(in) <= TTL_MAX ? ldns_rr_ttl(in) : 0;
	rr->name_len = (uint8_t)owner_len;
	memcpy(rr->name, ldns_rdf_data(ldns_rr_owner(in)), owner_len);
	dns_name_lower(rr->name, owner_len);
	for (size_t i = 0; i < ldns_rr_rd_count(in); i++) {
		const ldns_rdf *rdf = ldns_rr_rdf(in, i);

		memcpy(rr->rdata + rr->rdata_len, ldns_rdf_data(rdf), ldns_rdf_size(rdf));
		rr->rdata_len = (uint16_t)(rr->rdata_len + ldns_rdf_size(rdf));
	}
	return rr;
}

/* ---- faults -------------------------------------------------------------------------- */

struct faults {
	FILE *out;
	const char *label;
	unsigned int n;
};

static void fault(struct faults *f, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void fault(struct faults *f, int line, const char *fmt, ...)
{
	va_list ap;

	if (!f->out || ++f->n > FAULTS_MAX) {
		f->n += !f->out;
		return;
	}
	if (line > 0)
		fprintf(f->out, "%s:%d: ", f->label, line);
	else
		fprintf(f->out, "%s: ", f->label);
	va_start(ap, fmt);
	vfprintf(f->out, fmt, ap);
	va_end(ap);
	fputc('\n', f->out);
}

/* ---- checks -------------------------------------------------------------------------- */

/* Is there a delegation at the name or between it and the apex? Then its records are not ours. */
static bool under_cut(const struct dns_zone *zone, const uint8_t *name, size_t len)
{
	while (len > zone->name_len) {
		if (dns_zone_find(zone, name, len, DNS_NS, NULL))
			return true;
		len -= 1u + *name;
		name += 1 + *name;
	}
	return false;
}

/* A name server named inside the zone needs an address there, or nobody reaches it. */
static void check_ns(const struct dns_zone *zone, const struct dns_rr *rr, struct faults *f)
{
	uint8_t target[DNS_NAME_MAX];
	char text[DNS_TEXT_MAX];

	memcpy(target, rr->rdata, rr->rdata_len);
	dns_name_lower(target, rr->rdata_len);
	if (!dns_name_under(target, rr->rdata_len, zone->name, zone->name_len))
		return;
	if (dns_zone_find(zone, target, rr->rdata_len, DNS_CNAME, NULL))
		fault(f, rr->line,
		      "name server %s is an alias (CNAME); name one that has A or AAAA records",
		      dns_name_format(target, text));
	else if (!dns_zone_find(zone, target, rr->rdata_len, DNS_A, NULL) &&
		 !dns_zone_find(zone, target, rr->rdata_len, DNS_AAAA, NULL) &&
		 (rr->name_len == zone->name_len ||
		  dns_name_under(target, rr->rdata_len, rr->name, rr->name_len)) &&
		 !(rr->name_len == zone->name_len && under_cut(zone, target, rr->rdata_len)))
		fault(f, rr->line,
		      "name server %s has no address in this zone; add an A or AAAA record for it",
		      dns_name_format(target, text));
}

static void check_apex(struct dns_zone *zone, struct faults *f)
{
	size_t n = 0;
	struct dns_rr *const *soa = dns_zone_find(zone, zone->name, zone->name_len, DNS_SOA, &n);
	char text[DNS_TEXT_MAX];

	dns_name_format(zone->name, text);
	if (n == 0)
		fault(f, 0,
		      "zone %s has no SOA record; add one at its top: @ SOA ns1 hostmaster 1 3600 "
		      "900 604800 60",
		      text);
	else if (n > 1)
		fault(f, soa[1]->line, "a second SOA record; a zone has exactly one");
	else
		zone->serial = dns_get32(soa[0]->rdata + soa[0]->rdata_len - 20);
	if (!dns_zone_find(zone, zone->name, zone->name_len, DNS_NS, NULL))
		fault(f, 0, "zone %s has no NS record at its apex; add one: @ NS ns1", text);
}

static void check_zone(struct dns_zone *zone, struct faults *f)
{
	check_apex(zone, f);
	for (size_t i = 0; i < zone->n; i++) {
		const struct dns_rr *rr = zone->rr[i];
		size_t beside, same;
		char text[DNS_TEXT_MAX];

		if (rr->type == DNS_SOA && rr->name_len != zone->name_len)
			fault(f, rr->line,
			      "an SOA record at %s, below the zone's apex; only the apex has one",
			      dns_name_format(rr->name, text));
		if (rr->type == DNS_NS)
			check_ns(zone, rr, f);
		if (rr->type != DNS_CNAME)
			continue;
		dns_zone_find(zone, rr->name, rr->name_len, 0, &beside);
		dns_zone_find(zone, rr->name, rr->name_len, DNS_CNAME, &same);
		if (beside > 1 && (i == 0 || zone->rr[i - 1]->type != DNS_CNAME ||
				   rr_compare_name(zone->rr[i - 1], rr->name, rr->name_len)))
			fault(f, rr->line,
			      same > 1 ? "%s has several CNAME records; an alias has one target"
				       : "%s has a CNAME beside other records; an alias may have "
					 "nothing else (RFC 2181 section 10.1)",
			      dns_name_format(rr->name, text));
	}
}

/* ---- reading ------------------------------------------------------------------------- */

static void add_parsed(struct dns_zone *zone, const ldns_rr *parsed, int line, struct faults *f)
{
	struct dns_rr *rr = rr_from_ldns(parsed);
	char text[DNS_TEXT_MAX], zone_text[DNS_TEXT_MAX], type[12];

	if (!rr) {
		fault(f, line, "the record is too large; its data may have 65535 bytes");
		return;
	}
	rr->line = line;
	if (ldns_rr_get_class(parsed) != LDNS_RR_CLASS_IN)
		fault(f, line, "the class is not IN; only Internet records are served");
	else if (!dns_name_under(rr->name, rr->name_len, zone->name, zone->name_len))
		fault(f, line,
		      "%s is outside the zone %s; a name without a final dot is relative to "
		      "$ORIGIN",
		      dns_name_format(rr->name, text), dns_name_format(zone->name, zone_text));
	else if (!rdata_valid(rr))
		fault(f, line, "the data of the %s record of %s is incomplete or malformed",
		      dns_type_format(rr->type, type), dns_name_format(rr->name, text));
	else if (rr->type == DNS_OPT || (rr->type >= DNS_TKEY && rr->type <= DNS_ANY) ||
		 rr->type == DNS_DNAME)
		fault(f, line, "records of type %s cannot be served",
		      dns_type_format(rr->type, type));
	else if (zone_append(zone, rr) == 0)
		return;
	free(rr);
}

/* ldns's own words, and for the common slips what would be right. */
static void fault_status(struct faults *f, int line, ldns_status status)
{
	const char *hint =
		"a record is NAME [TTL] [IN] TYPE DATA, for example: www 300 IN A 198.18.1.10";

	if (status == LDNS_STATUS_SYNTAX_INCLUDE ||
	    status == LDNS_STATUS_SYNTAX_INCLUDE_ERR_NOTIMPL)
		hint = "$INCLUDE is not supported: put the records into this file";
	else if (status == LDNS_STATUS_INVALID_IP4 || status == LDNS_STATUS_INVALID_IP6)
		hint = "A takes an IPv4 address such as 198.18.1.10, AAAA an IPv6 address such as "
		       "2001:db8::1";
	fault(f, line, "%s; %s", ldns_get_errorstr_by_id(status), hint);
}

/* One record or directive after the other until the end or too many faults. */
static void read_records(struct dns_zone *zone, FILE *in, ldns_rdf *origin, struct faults *f)
{
	ldns_rdf *own_origin = ldns_rdf_clone(origin), *prev = NULL;
	uint32_t ttl = LDNS_DEFAULT_TTL;
	int line = 1;

	while (own_origin && !feof(in) && f->n < FAULTS_MAX) {
		ldns_rr *rr = NULL;
		long before = ftell(in);
		ldns_status status = ldns_rr_new_frm_fp_l(&rr, in, &ttl, &own_origin, &prev, &line);

		/* A record's line is counted by ldns up to its end, which the next one starts
		 * after. */
		if (status == LDNS_STATUS_OK)
			add_parsed(zone, rr, line - 1, f);
		else if (status != LDNS_STATUS_SYNTAX_TTL && status != LDNS_STATUS_SYNTAX_ORIGIN &&
			 status != LDNS_STATUS_SYNTAX_EMPTY)
			fault_status(f, line - 1, status);
		ldns_rr_free(rr);
		if (status != LDNS_STATUS_OK && ftell(in) == before)
			break;
	}
	ldns_rdf_deep_free(own_origin);
	ldns_rdf_deep_free(prev);
}

int dns_zone_read(struct dns_zone **out, const char *name, FILE *in, const char *label,
		  FILE *faults)
{
	struct faults f = { .out = faults, .label = label };
	struct dns_zone *zone = calloc(1, sizeof(*zone));
	ldns_rdf *origin = NULL;
	int len;

	if (!zone)
		return -ENOMEM;
	len = dns_name_parse(zone->name, name);
	if (len > 0)
		origin = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, (size_t)len, zone->name);
	if (len < 0 || !origin) {
		fault(&f, 0, "'%s' is not a name; a zone's name is like edge.example", name);
	} else {
		zone->name_len = (uint8_t)len;
		read_records(zone, in, origin, &f);
		zone_settle(zone);
		/* The checks of a half-read zone would blame records that the faults swallowed. */
		if (f.n == 0)
			check_zone(zone, &f);
	}
	ldns_rdf_deep_free(origin);
	if (f.n) {
		dns_zone_free(zone);
		return -EINVAL;
	}
	*out = zone;
	return 0;
}

int dns_zone_load(struct dns_zone **out, const char *name, const char *path, FILE *faults)
{
	FILE *in = fopen(path, "re");
	int rc;

	if (!in) {
		rc = -errno;
		if (faults)
			fprintf(faults, "%s: the file of zone %s cannot be read: %s\n", path, name,
				strerror(-rc));
		return rc;
	}
	rc = dns_zone_read(out, name, in, path, faults);
	fclose(in);
	return rc;
}

void dns_zone_free(struct dns_zone *zone)
{
	if (!zone)
		return;
	for (size_t i = 0; i < zone->n; i++)
		free(zone->rr[i]);
	free(zone->rr);
	free(zone);
}

struct dns_zone *dns_zone_copy(const struct dns_zone *zone)
{
	struct dns_zone *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *zone;
	copy->n = copy->room = 0;
	copy->rr = NULL;
	for (size_t i = 0; i < zone->n; i++) {
		size_t size = sizeof(struct dns_rr) + zone->rr[i]->rdata_len;
		struct dns_rr *rr = malloc(size);

		if (!rr || zone_append(copy, memcpy(rr, zone->rr[i], size))) {
			free(rr);
			dns_zone_free(copy);
			return NULL;
		}
	}
	return copy;
}

void dns_zone_set_serial(struct dns_zone *zone, uint32_t serial)
{
	struct dns_rr *const *soa = dns_zone_find(zone, zone->name, zone->name_len, DNS_SOA, NULL);

	zone->serial = serial;
	if (soa)
		dns_put32((*soa)->rdata + (*soa)->rdata_len - 20, serial);
}

/* ---- records that come and go -------------------------------------------------------- */

/* owner, relative to the zone, as a lower wire name; its length or -EINVAL. */
static int merge_owner(const struct dns_zone *zone, const char *owner, uint8_t name[DNS_NAME_MAX])
{
	int len;

	if (strcmp(owner, "@") == 0) {
		memcpy(name, zone->name, zone->name_len);
		return zone->name_len;
	}
	len = dns_name_parse(name, owner);
	if (len <= 1 || len - 1 + zone->name_len > DNS_NAME_MAX)
		return -EINVAL;
	memcpy(name + len - 1, zone->name, zone->name_len);
	return len - 1 + zone->name_len;
}

static struct dns_rr *merge_value(const struct dns_zone *zone, const uint8_t *name, size_t name_len,
				  uint16_t type, uint32_t ttl, const char *value)
{
	struct dns_rr *out = NULL;
	char type_text[12], owner[DNS_TEXT_MAX], *line = NULL;
	ldns_rdf *origin = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, zone->name_len, zone->name);
	ldns_rr *rr = NULL;

	/* A line break would start another record. */
	if (origin && !strpbrk(value, "\r\n") &&
	    asprintf(&line, "%s. %u IN %s %s", dns_name_format(name, owner), ttl,
		     dns_type_format(type, type_text), value) > 0 &&
	    ldns_rr_new_frm_str(&rr, line, ttl, origin, NULL) == LDNS_STATUS_OK &&
	    (uint16_t)ldns_rr_get_type(rr) == type)
		out = rr_from_ldns(rr);
	if (out && (!rdata_valid(out) || out->name_len != name_len)) {
		free(out);
		out = NULL;
	}
	ldns_rr_free(rr);
	ldns_rdf_deep_free(origin);
	free(line);
	return out;
}

static bool merge_allowed(const struct dns_zone *zone, const uint8_t *name, size_t len,
			  uint16_t type, char *err, size_t err_len)
{
	bool apex = len == zone->name_len;
	size_t all, own;

	if (type == DNS_SOA || type == DNS_OPT || type == DNS_DNAME ||
	    (type >= DNS_TKEY && type <= DNS_ANY) ||
	    (apex && (type == DNS_NS || type == DNS_CNAME))) {
		snprintf(err, err_len, "this type cannot be set here by the registry");
		return false;
	}
	dns_zone_find(zone, name, len, 0, &all);
	dns_zone_find(zone, name, len, type == DNS_CNAME ? type : DNS_CNAME, &own);
	if (type == DNS_CNAME ? all != own : own > 0) {
		snprintf(err, err_len,
			 "a CNAME cannot stand beside other records of the same name");
		return false;
	}
	return true;
}

bool dns_zone_has_own(const struct dns_zone *zone, const char *owner)
{
	uint8_t name[DNS_NAME_MAX];
	int len = merge_owner(zone, owner, name);
	struct dns_rr *const *rr;
	size_t n = 0;

	rr = len < 0 ? NULL : dns_zone_find(zone, name, (size_t)len, 0, &n);
	for (size_t i = 0; rr && i < n; i++)
		if (rr[i]->line)
			return true;
	return false;
}

int dns_zone_merge(struct dns_zone *zone, const char *owner, const char *type, uint32_t ttl,
		   const char *const *values, size_t n, char *err, size_t err_len)
{
	uint8_t name[DNS_NAME_MAX];
	int len = merge_owner(zone, owner, name);
	size_t before = zone->n, kept = 0;
	uint16_t t;

	if (len < 0 || dns_type_parse(&t, type)) {
		snprintf(err, err_len, "'%s %s' is not a name and a type", owner, type);
		return -EINVAL;
	}
	if (!merge_allowed(zone, name, (size_t)len, t, err, err_len))
		return -EINVAL;
	if (n == 0 || ttl > TTL_MAX || (t == DNS_CNAME && n > 1)) {
		snprintf(err, err_len,
			 "it needs at least one value (a CNAME exactly one) and a ttl up to %u",
			 TTL_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		struct dns_rr *rr = merge_value(zone, name, (size_t)len, t, ttl, values[i]);

		if (!rr || zone_append(zone, rr)) {
			free(rr);
			while (zone->n > before)
				free(zone->rr[--zone->n]);
			snprintf(err, err_len, "'%.200s' is not a value of type %s", values[i],
				 type);
			return -EINVAL;
		}
	}
	/* Out with what the zone had there, then in order again. */
	for (size_t i = 0; i < zone->n; i++) {
		struct dns_rr *rr = zone->rr[i];

		if (i < before && rr->type == t && rr_compare_name(rr, name, (size_t)len) == 0)
			free(rr);
		else
			zone->rr[kept++] = rr;
	}
	zone->n = kept;
	zone_settle(zone);
	return 0;
}
