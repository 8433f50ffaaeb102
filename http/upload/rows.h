/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.h -- what readers of files (CSV, JSON Lines, JSON) give and what everything behind them takes:
 * rows of cells, and faults of the file's form.
 *
 * A reader is a state machine over pieces of any size with bounded memory. It calls the sink for the
 * names, then for each row in order; cells point into the reader's buffer and are valid during the call.
 * Offsets count bytes of the *unpacked* text from 0, rows count data rows from 1 (the header is row 0).
 */
#ifndef WEIR_UPLOAD_ROWS_H
#define WEIR_UPLOAD_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROWS_COLUMNS_MAX 1024u	     /* more: a fault of the file */
#define ROWS_CELL_MAX	 (1u << 20)  /* bytes of one cell; a longer one is a fault, never memory */
#define ROWS_ROW_MAX	 (4u << 20)  /* bytes of one row */
#define ROWS_NAME_MAX	 256u	     /* bytes of a column's name */
#define ROWS_NO_COLUMN	 UINT32_MAX  /* of a fault that is no column's */

struct cell {
	const char *text; /* unquoted, not terminated; UTF-8 (the reader converts) */
	uint32_t len;
	bool null;   /* JSON null or absent; in CSV an empty cell without quotes */
	bool quoted; /* CSV quotes, or a JSON string */
	uint64_t offset;
};

struct value; /* value.h */

struct row {
	uint64_t number, offset; /* of its first byte */
	uint64_t length;	 /* with its line end */
	const struct cell *cells;
	uint32_t ncells;
	/* NULL, or what each cell is as a value of its field, of those who have parsed it (the check) for those behind
	 * them; of type ANY: not parsed, missing, or no such value. */
	const struct value *values;
};

enum row_fault {
	ROW_FAULT_QUOTE,     /* a quote where none may be, or text behind a closing one */
	ROW_FAULT_UNCLOSED,  /* the file ends inside quotes, a string, an object */
	ROW_FAULT_LONG_CELL, /* over ROWS_CELL_MAX */
	ROW_FAULT_LONG_ROW,
	ROW_FAULT_COLUMNS, /* over ROWS_COLUMNS_MAX */
	ROW_FAULT_ENCODING, /* not UTF-8 where UTF-8 was found or declared */
	ROW_FAULT_NUL,
	ROW_FAULT_JSON,	    /* not JSON here */
	ROW_FAULT_DEPTH,    /* JSON nested deeper than 64 */
	ROW_FAULT_NOT_ROWS, /* JSON, but no array of objects (or of arrays) */
};

/* Functions return 0, or a negative errno that ends the reading (-ECANCELED: the sink wants no more). */
struct row_sink {
	int (*names)(void *arg, const struct cell *names, uint32_t n);
	int (*row)(void *arg, const struct row *row);
	/* row: the number; column: from 0, or ROWS_NO_COLUMN. It comes before the row itself, which comes as well as it
	 * could be read; not at all with LONG_CELL, LONG_ROW and COLUMNS. One of a kind for each row. The reader goes on
	 * behind the fault where it can; `fatal` says that it cannot. */
	int (*fault)(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal);
	void *arg;
};

#endif
