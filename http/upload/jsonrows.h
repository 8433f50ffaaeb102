/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonrows.h -- reads JSON (an array of objects, or of arrays whose first has the names) and JSON Lines as rows,
 * by yajl, in pieces of any size, with bounded memory. Names are those of the first object, in its order; a name
 * that comes up later is a new column (told by sink->names again, longer). Nested values are cells of JSON text.
 */
#ifndef WEIR_UPLOAD_JSONROWS_H
#define WEIR_UPLOAD_JSONROWS_H

#include "http/upload/rows.h"

struct jsonrows;
int jsonrows_new(struct jsonrows **out, bool lines, const struct row_sink *sink);
int jsonrows_feed(struct jsonrows *j, const void *data, size_t len);
int jsonrows_end(struct jsonrows *j);
void jsonrows_free(struct jsonrows *j); /* accepts NULL */

#endif
