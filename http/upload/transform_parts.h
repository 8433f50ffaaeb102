/* SPDX-License-Identifier: Apache-2.0 */
/* transform_parts.h -- between the parts of transform.h: plans (what a row becomes), files (where
 * it goes). Private. */
#ifndef WEIR_UPLOAD_TRANSFORM_PARTS_H
#define WEIR_UPLOAD_TRANSFORM_PARTS_H

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <openssl/sha.h>
#include <string.h>
#include <zstd.h>

#include "http/upload/expr.h"
#include "http/upload/transform.h"

#define TRANSFORM_FILES_MAX  512u /* of all splits of an upload: descriptors and, packed by gzip, 170 KiB each */
#define TRANSFORM_VALUES_MAX 256u /* files of a split; what has none goes to "other" */
#define TRANSFORM_NAME_MAX   1024u

/* ---- masks: mask.c ---- */

/* HMAC-SHA256 with its key already taken in. OpenSSL's plain SHA256_* and not EVP: workers may open
 * no file, and EVP wants its configuration and providers; and the keyed states are copied instead
 * of made for each cell. */
struct mask {
	SHA256_CTX inner, outer;
};
#define MASK_HEX 32 /* digits of a masked value */

void mask_init(struct mask *m, const char *key, size_t len);
void mask_hash(const struct mask *m, const char *text, size_t len, char out[MASK_HEX]);
/* Bytes of the first n characters. */
size_t mask_keep(const char *text, size_t len, uint32_t n);

/* ---- text: csv_out.c, transform_json.c ---- */

int csv_out_grow(struct csv_out *out, size_t len);
static inline int csv_out_reserve(struct csv_out *out, size_t len) /* room for len more: 0 or -ENOMEM */
{
	return out->size - out->len >= len ? 0 : csv_out_grow(out, len);
}
static inline int csv_out_put(struct csv_out *out, const void *data, size_t len) /* 0 or -ENOMEM */
{
	if (csv_out_reserve(out, len) < 0)
		return -ENOMEM;
	if (len)
		memcpy(out->data + out->len, data, len);
	out->len += len;
	return 0;
}
/* A JSON string with its quotes; what is no UTF-8 becomes U+FFFD. */
int json_out_string(struct csv_out *out, const char *text, size_t len);
/* A cell as the JSON value of its type (ANY: a number or boolean when it is one and was not
 * quoted). */
int json_out_cell(struct csv_out *out, enum field_type type, const struct field *field,
		  const struct cell *cell);

/* ---- files: transform_file.c ---- */

struct out_file {
	char *name;
	uint64_t value; /* hash of the split's value */
	int handle;
	uint64_t rows, bytes;
	struct csv_out text; /* not packed yet */
	size_t limit;	     /* of text: then it is packed and written */
	struct isal_zstream *gzip;
};

struct out_packer { /* one for a transform: a frame of zstd is made whole */
	const struct transform_files *files;
	ZSTD_CCtx *zstd;
	char *buf;
	size_t size;
};
int out_file_open(struct out_file *f, struct out_packer *p, const struct output *output,
		  char *name);
int out_file_flush(struct out_file *f, struct out_packer *p, enum output_packing packing,
		   bool last);
void out_file_free(struct out_file *f);
/* The object's name for a value; a new string or NULL. mark: told apart from another value of the
 * same name. */
char *out_file_name(const struct output *output, const char *value, size_t len, uint64_t mark);

/* ---- plans: transform_plan.c ---- */

#define SOURCE_NONE UINT32_MAX

struct uses { /* columns of an expression, as indices of the row */
	uint32_t *at;
	size_t n;
};

struct plan_column {
	const struct output_column *declared; /* NULL: as it is */
	const char *name, *from;	      /* from NULL: derived */
	uint32_t source;		      /* SOURCE_NONE: not in this file, or derived */
	const struct field *field;	      /* of the source, or NULL */
	enum field_type type;		      /* of the result; ANY: as found */
	struct uses uses;
	const struct field *source_field; /* … that says how the result is written: no cast; or NULL */
	struct csv_out key; /* "name": in JSON, with a comma before it when it is not the first */
};

struct plan { /* one output */
	const struct output *output;
	struct plan_column *columns;
	size_t n;
	struct uses filter;
	uint32_t split;
	struct out_file **files;
	size_t nfiles;
	uint16_t index[2 * TRANSFORM_VALUES_MAX]; /* by the value's hash: file + 1 */
	struct out_file *other;
	uint32_t known;	 /* columns of the file that `as they are` may mean */
	uint64_t failed; /* casts and expressions that gave no value */
};

struct transform {
	const struct rules *rules;
	struct transform_files files;
	struct out_packer packer;
	struct plan *plans;
	size_t nplans, nfiles;
	bool typed; /* cells of the file have types of their own */
	struct mask mask;
	char **names; /* of the file's columns */
	uint32_t nnames;
	const struct field **fields; /* … what the rules say of them, or NULL */
	const struct value *given;   /* of the row: what others have parsed, or NULL */
	struct value *values;	     /* of the row, parsed when first asked for */
	uint64_t *parsed,
		serial;	    /* serial: counts rows; parsed[i] == serial: values[i] is this row's */
	struct cell *cells; /* of the row, missing values null */
	struct cell *out_cells;
	size_t nout, longest_missing;
	struct value *used; /* for one expression */
	struct expr_scratch expr_scratch;
	struct csv_out scratch;
	char why[256];
};

/* ---- cells: transform_cell.c ---- */

int cell_evaluate(struct transform *t, const struct expr *e, const struct uses *uses,
		  struct value *out);
int cells_make(struct transform *t, struct plan *p); /* t->out_cells of the row; 0 or -ENOMEM */

/* Columns of each output for these names. 0, -EINVAL with why, -ENOMEM. */
int plan_make(struct transform *t, struct plan *p);
void plan_forget(struct plan *p); /* its columns */

#endif
