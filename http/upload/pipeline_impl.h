/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline_impl.h -- what the parts of pipeline.c share: pipeline.c (bytes), pipeline_type.c (what the file is),
 * pipeline_rows.c (from a reader to check, statistics, outputs, quarantine).
 */
#ifndef WEIR_UPLOAD_PIPELINE_IMPL_H
#define WEIR_UPLOAD_PIPELINE_IMPL_H

#include <openssl/evp.h>

#include "http/upload/csv.h"
#include "http/upload/jsonrows.h"
#include "http/upload/pipeline.h"
#include "http/upload/sniff.h"
#include "http/upload/stats.h"
#include "http/upload/transform.h"

#define PIPELINE_PIECE (256u << 10) /* read at once: stays in the second cache */

struct pipeline {
	const struct rules *rules; /* never NULL */
	bool no_rules;
	const struct pipeline_io *io;
	int failed; /* what is no fault of the file: ends the run without a result */
	bool stop;  /* enough was seen of the file */

	/* the file as it comes */
	EVP_MD_CTX *digest;
	uint64_t bytes;
	uint64_t told_bytes, told_us; /* at the last "progress" */
	enum file_kind packing;	      /* KIND_GZIP, KIND_ZSTD, KIND_ZIP, else KIND_EMPTY */

	/* the text: unpacked; of a zip, its entries one behind the other */
	uint64_t text;
	char *head; /* SNIFF_BYTES of the entry, until it is known what it is */
	size_t head_len;
	bool known;
	struct sniffed type; /* of the first entry */
	json_t *type_json;
	unsigned int entries;
	char entry[256];
	struct csv *csv;
	struct jsonrows *json;
	bool was_read; /* by a reader: it is a table, or was meant as one */
	uint64_t entry_text, entry_rows; /* text and rows before this entry */

	/* rows */
	struct keyset **keysets;
	struct check *check;
	struct row_sink sink; /* the check's */
	struct stats *stats;
	struct transform *transform;
	uint64_t rows;
	struct cell *names; /* of the first entry; owned */
	uint32_t nnames;
	struct cell *cells; /* ROWS_COLUMNS_MAX + 2, for rows that are made here */
	struct csv_out line;
	int quarantine; /* handle; -1: none yet */
	uint64_t quarantined;
	char faults[512]; /* rules that the row of this number broke */
	uint64_t faults_row;

	/* findings that are not the check's */
	uint64_t findings;
	bool rejected;
	json_t *summary;
};

/* A finding about the whole file, which it rejects. rule: static. */
void pipeline_reject(struct pipeline *p, const char *rule, const char *mend, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Tells; notes a failure in p->failed. */
int pipeline_tell(struct pipeline *p, const char *name, json_t *value);

/* pipeline_type.c. What the first bytes of the file are: 0, or -ECANCELED when it is not wanted. */
int type_of_file(struct pipeline *p, const struct sniffed *sniffed);
/* The same of an entry's first bytes; sets p->type and tells it; makes the reader. */
int type_of_text(struct pipeline *p, const void *data, size_t len, bool whole);
void *type_magic(void); /* libmagic's cookie, or NULL */
int type_prepare(void);
/* How a reader of this text is made: what was sniffed, and what the rules say. */
void type_dialect(struct csv_dialect *out, const struct sniffed *sniffed, const struct rules *rules);

/* pipeline_image.c: members "width", "height" of images that it knows. */
void image_describe(json_t *type, const void *data, size_t len);

/* pipeline_rows.c */
int rows_open(struct pipeline *p);
/* The sink that a reader gets. */
void rows_sink(struct pipeline *p, struct row_sink *out);
int rows_end(struct pipeline *p);
void rows_result(struct pipeline *p, json_t *result);
void rows_close(struct pipeline *p);

#endif
