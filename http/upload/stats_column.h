/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_column.h -- one column's statistics: what stats.c feeds cell by cell and stats_json.c
 * shows. Private to stats.
 *
 * A cell costs one XXH3 for distinct and top values together. While a column has no more different
 * values than the top list has places, that is all of it ("by value"): what else there is to know
 * is made of the list at the end, exactly. Else each cell is one try at parsing as what the column
 * has been so far (none when the check has parsed it), and a few compares. Distinct and top values
 * go by the text as it stands in the file: "1.0" and "1" are two.
 */
#ifndef WEIR_UPLOAD_STATS_COLUMN_H
#define WEIR_UPLOAD_STATS_COLUMN_H

#include "http/upload/hll.h"
#include "http/upload/kll.h"
#include "http/upload/rows.h"
#include "http/upload/rules.h"
#include "http/upload/top.h"
#include "http/upload/value.h"

/* Columns up to this one have full sketches (at most 98 KiB each), those behind it small ones (10
 * KiB): a file of 1,024 columns stays within 16 MiB. */
#define STATS_FULL_COLUMNS 64u
#define STATS_HLL_BITS	   15u
#define STATS_HLL_SMALL	   11u
#define STATS_KLL_RUN	   512u
#define STATS_KLL_SMALL	   64u
#define STATS_TOP	   256u
#define STATS_TOP_SMALL	   32u
#define STATS_TEXT	   64u /* bytes kept of the least and the greatest text */

/* Mean and squares by blocks, each around the mean so far: no cancellation, no division a value
 * (Chan 1979). */
struct moments {
	double shift, sum, squares; /* the block's, of x - shift */
	uint32_t block;
	uint64_t n;
	double mean, m2;
};
#define MOMENTS_BLOCK 256u

struct edge_text {	 /* least or greatest text */
	uint64_t prefix; /* first 8 bytes, big-endian, as a number */
	uint8_t len;
	bool cut, set;
	char text[STATS_TEXT];
};

struct column {
	enum field_type type;	       /* inferred so far (ANY: nothing came), or the field's */
	bool declared, numeric, plain; /* plain: numbers have no group or other decimal character */
	bool small, personal;
	bool by_value; /* the top list has all; numbers are made of it: column_settle() */
	bool texts;    /* edges and lengths are wanted */
	uint32_t min_length, max_length; /* characters */
	uint64_t count;			 /* cells that are not null */
	uint64_t invalid;		 /* of these, no values of the declared type */
	int64_t imin, imax;		 /* of all but NUMBER */
	double dmin, dmax;		 /* of NUMBER */
	bool some;			 /* … are set */
	struct moments moments;
	struct top top;
	struct hll hll;
	struct kll kll;
	struct edge_text least, greatest;
	const struct field *field; /* or NULL */
	char *name;
	size_t name_len;
};

int column_init(struct column *c, const char *name, size_t len, const struct field *field,
		bool small);
void column_fini(struct column *c);
/* A cell that is not null. hash: its text's by XXH3; given: what the text is as a value of the column's field, or NULL.
 * 0 or -ENOMEM. */
int column_add(struct column *c, uint64_t hash, const char *text, size_t len, const struct value *given);
/* The value of this hash will be added soon. */
static inline void column_ahead(const struct column *c, uint64_t hash)
{
	__builtin_prefetch(c->top.tags + 8 * (size_t)((uint32_t)hash & c->top.mask));
}
/* Of a column by value: its numbers out of the list; sketch: into the quantile sketch too. 0 or -ENOMEM. */
int column_settle(struct column *c, bool sketch);
int column_quantiles(struct kll_view *v, const struct column *c); /* as kll_view() */
void moments_fold(struct moments *m);
double moments_stddev(struct moments *m); /* of a sample (n - 1); NAN below 2 */
json_t *column_json(struct column *c, uint64_t rows);
/* Text for people: valid UTF-8 whatever it was, "…" at the end when cut. */
json_t *column_text(const char *text, size_t len, bool cut);
json_t *column_value(const struct column *c,
		     double x); /* a number of the column's type as people read it */

#endif
