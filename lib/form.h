/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form.h -- multipart/form-data (RFC 7578) read in pieces of any size with bounded memory: the files of a form
 * are told as they come. Pure.
 */
#ifndef WEIR_FORM_H
#define WEIR_FORM_H

#include <stddef.h>
#include <stdint.h>

#define FORM_BOUNDARY_MAX 70	 /* RFC 2046 section 5.1.1 */
#define FORM_HEAD_MAX	  8192	 /* of one part */
#define FORM_NAME_MAX	  512	 /* of a field's or file's name */
#define FORM_PARTS_MAX	  100

struct form_sink {
	/* A part begins; filename NULL: a plain field. Names are as sent, without control characters. */
	int (*part)(void *arg, const char *name, const char *filename);
	int (*data)(void *arg, const void *data, size_t len);
	int (*end)(void *arg); /* of the part */
	void *arg;
};

struct form;
/* content_type: the header's value. 0, -EINVAL (no multipart/form-data with a boundary), -ENOMEM. */
int form_new(struct form **out, const char *content_type, const struct form_sink *sink);
void form_free(struct form *form); /* accepts NULL */
/* 0, -EBADMSG (no such form), or what the sink returned (then it ends). What follows the last boundary is dropped. */
int form_feed(struct form *form, const void *data, size_t len);
/* -EBADMSG: the last boundary is missing. */
int form_end(struct form *form);

#endif
