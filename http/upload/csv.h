/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv.h -- reads CSV as RFC 4180 and the world write it (quotes doubled, LF, CRLF or CR, embedded line ends, BOM),
 * in pieces of any size, with bounded memory. UTF-16 and Windows-1252 are converted on the way.
 */
/*
 * What the world does not agree on, it reads as Python's csv module does, and tells it as a fault where it is one:
 *
 *	ab"c,d		a quote inside a cell without quotes is a character		ROW_FAULT_QUOTE
 *	"ab"c,d		text behind the closing quote belongs to the cell: abc		ROW_FAULT_QUOTE
 *	"ab EOF		the cell ends with the file					ROW_FAULT_UNCLOSED
 *	empty lines	are passed over and not counted (a row of one empty cell is "")
 *	\r alone		ends a row, as \n and \r\n do
 *
 * Bytes that are not UTF-8 become '?' (ROW_FAULT_ENCODING), so that cells are valid UTF-8 always; NUL bytes stay
 * (ROW_FAULT_NUL). Rows with other numbers of cells than the header are told as they are.
 */
#ifndef WEIR_UPLOAD_CSV_H
#define WEIR_UPLOAD_CSV_H

#include "http/upload/rows.h"
#include "http/upload/sniff.h"

struct csv_dialect {
	char delimiter, quote; /* quote '\0': none */
	char comment;	       /* lines that begin with it are passed over; '\0': none */
	bool header;	       /* the first row are names; else "column1", "column2" … */
	enum text_encoding encoding;
};

struct csv;
int csv_new(struct csv **out, const struct csv_dialect *dialect, const struct row_sink *sink);
/* 0 or what the sink returned, or -EBADMSG after a fatal fault. */
int csv_feed(struct csv *csv, const void *data, size_t len);
int csv_end(struct csv *csv);
void csv_free(struct csv *csv); /* accepts NULL */

#endif
