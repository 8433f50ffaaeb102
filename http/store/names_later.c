/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_later.c -- calls of names.h that are not there yet.
 */
#include <errno.h>

#include "http/store/names_int.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

int names_put_with(struct names *names, const char *bucket, struct name_entry *entry,
		   const struct names_how *how, bool *replaced)
{
	bool there = false;

	return how->mode ? -ENOSYS
			 : names_put(names, bucket, entry, how->ideal, how->nideal, how->if_match,
				     how->if_none_match, replaced ? replaced : &there);
}

int names_delete_with(struct names *names, const char *bucket, const char *key, const char *version,
		      const struct names_how *how, struct names_deleted *out)
{
	return how->mode || version ? -ENOSYS : names_delete(names, bucket, key, how->if_match);
}

int names_set_meta(struct names *names, const char *bucket, const char *key, const char *version,
		   uint64_t if_seq, const char *meta, struct name_entry *entry)
{
	return -ENOSYS;
}

int names_get_version(struct names *names, const char *bucket, const char *key, const char *version,
		      struct name_entry *entry)
{
	return version ? -ENOSYS : names_get(names, bucket, key, entry);
}

int names_get_version_now(struct names *names, const char *bucket, const char *key,
			  const char *version, struct name_entry *entry)
{
	return version ? -ENOSYS : names_get_now(names, bucket, key, entry);
}

int names_find(struct names *names, const char *bucket, const char *version,
	       struct name_entry *entry)
{
	return -ENOSYS;
}

int names_list_with(struct names *names, const char *bucket, const struct names_select *select,
		    names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		    struct names_page *page)
{
	return -ENOSYS;
}

int names_versions(struct names *names, const char *bucket, const struct names_select *select,
		   names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		   struct names_page *page)
{
	return -ENOSYS;
}

int names_upload_create(struct names *names, const char *bucket, struct name_entry *entry)
{
	return -ENOSYS;
}

int names_upload_get(struct names *names, const char *bucket, const char *key, const char *id,
		     struct name_entry *entry)
{
	return -ENOSYS;
}

int names_part_put(struct names *names, const char *bucket, const char *key, const char *id,
		   unsigned int number, struct name_entry *part, const struct names_how *how)
{
	return -ENOSYS;
}

int names_parts(struct names *names, const char *bucket, const char *id, unsigned int after,
		unsigned int limit, bool meta, names_entry_fn *fn, void *arg, bool *more)
{
	return -ENOSYS;
}

int names_parts_now(struct names *names, const char *bucket, const char *id, unsigned int after,
		    unsigned int limit, bool meta, names_entry_fn *fn, void *arg, bool *more)
{
	return -ENOSYS;
}

int names_uploads(struct names *names, const char *bucket, const struct names_select *select,
		  names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		  struct names_page *page)
{
	return -ENOSYS;
}

int names_upload_complete(struct names *names, const char *bucket, const char *key, const char *id,
			  const struct names_part *list, size_t n, uint64_t part_min,
			  struct name_entry *entry, const struct names_how *how, bool *replaced)
{
	return -ENOSYS;
}

int names_upload_abort(struct names *names, const char *bucket, const char *key, const char *id)
{
	return -ENOSYS;
}

int names_bucket_open(struct names *names, const char *bucket)
{
	return 0;
}

int names_bucket_close(struct names *names, const char *bucket)
{
	return 0;
}

int names_usage(struct names *names, const char *bucket, struct names_usage *out)
{
	return -ENOSYS;
}
