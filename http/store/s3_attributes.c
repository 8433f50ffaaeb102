/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_attributes.c -- GetObjectAttributes.
 */
#include <stdlib.h>
#include <string.h>

#include "http/s3/range.h"
#include "http/store/s3_ops.h"

/* A page of an object's parts. Their texts are kept by metas. */
struct parts {
	struct s3_part_text *parts;
	json_t **metas;
	unsigned int n;
	bool more;
};

static int take_part(void *arg, const char *bucket, const struct name_entry *entry)
{
	struct parts *p = arg;
	struct s3_part_text *part = &p->parts[p->n];

	(void)bucket;
	p->metas[p->n] = s3_meta_of_entry(entry);
	if (!p->metas[p->n])
		return -1;
	*part = (struct s3_part_text){ .number = entry->part, .size = entry->size, .modified = entry->modified };
	part->checksum = s3_meta_checksum_text(p->metas[p->n]);
	part->etag = "";
	p->n++;
	return 0;
}

static enum s3_error parts_page(struct s3 *s3, struct s3_attributes *a)
{
	const char *after = s3_header(s3, "x-amz-part-number-marker"), *max = s3_header(s3, "x-amz-max-parts");
	enum s3_error error = S3_OK;

	a->parts_max = 1000;
	if (after)
		error = s3_number_parse(&a->part_after, after, 0, S3_PARTS_MAX, "part-number-marker", &s3->fault);
	if (!error && max)
		error = s3_number_parse(&a->parts_max, max, 0, INT32_MAX, "max-parts", &s3->fault);
	if (a->parts_max > 1000)
		a->parts_max = 1000;
	return error;
}

static enum s3_error find_parts(struct s3 *s3, const struct name_entry *entry, struct s3_attributes *a, struct parts *p)
{
	enum s3_error error = parts_page(s3, a);
	int rc = 0;

	a->nparts_total = entry->nparts;
	if (error || !entry->nparts || !a->parts_max)
		return error;
	p->parts = calloc(a->parts_max, sizeof(*p->parts));
	p->metas = calloc(a->parts_max, sizeof(*p->metas));
	if (!p->parts || !p->metas)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, NULL);
	p->more = true;
	while (!rc && p->more && p->n < a->parts_max)
		rc = names_parts(s3->ep->names, s3->bucket, entry->version,
				 p->n ? p->parts[p->n - 1].number : a->part_after, a->parts_max - p->n, true, take_part, p,
				 &p->more);
	if (rc)
		return s3_names_error(s3, rc, S3_NO_SUCH_KEY);
	a->more = p->more;
	/* Without a stored checksum Amazon tells the count alone. */
	if (p->n && p->parts[0].checksum.algorithm[0]) {
		a->parts = p->parts;
		a->nparts = p->n;
	}
	return S3_OK;
}

static void parts_free(struct parts *p)
{
	for (unsigned int i = 0; i < p->n; i++)
		json_decref(p->metas[i]);
	free(p->metas);
	free(p->parts);
}

static enum s3_error attributes(struct s3 *s3, const struct name_entry *entry, const json_t *meta)
{
	const char *asked = s3_header(s3, "x-amz-object-attributes");
	struct s3_attributes a = { .size = entry->size };
	struct parts parts = { .parts = NULL };
	char etag[S3_ETAG_MAX], date[30];
	enum s3_error error = S3_OK;
	size_t len;
	char *text;

	if (!asked || !*asked)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"The x-amz-object-attributes header specifying the attributes to "
				"be retrieved is either missing or empty");
	a.asked = s3_attributes_parse(asked);
	if (!a.asked)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid attribute name specified.");
	s3_etag(entry, etag);
	etag[strlen(etag) - 1] = '\0';
	a.etag = etag + 1;
	a.checksum = s3_meta_checksum_text(meta);
	if (a.asked & S3_ATTR_PARTS)
		error = find_parts(s3, entry, &a, &parts);
	if (!error) {
		text = s3_out_attributes(&a, &len);
		s3_date_format(date, entry->modified);
		http_add_header(s3->req, "Last-Modified", date);
		s3_add_version(s3, entry);
		s3_reply_xml(s3, 200, text, len);
	}
	parts_free(&parts);
	return error;
}

void s3_attributes_run(struct s3 *s3)
{
	struct name_entry *entry = malloc(sizeof(*entry));
	enum s3_error error = entry ? S3_OK : S3_SERVICE_UNAVAILABLE;
	json_t *meta = NULL;

	if (!error)
		error = s3_find(s3, s3->bucket, s3->key, s3->version, entry);
	if (!error) {
		meta = s3_meta_of_entry(entry);
		error = meta ? S3_OK : s3_fault(&s3->fault, S3_INTERNAL, NULL);
	}
	if (!error && s3->denied)
		error = s3_may_object(s3, NULL, s3->bucket, s3->key, s3->version, meta);
	else if (s3->denied) /* who may not is not told what is there */
		error = s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	if (!error)
		error = attributes(s3, entry, meta);
	if (error)
		s3_reply_error(s3, error);
	json_decref(meta);
	free(entry);
}
