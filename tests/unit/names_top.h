/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_top.h -- a folder for a group of tests, and copies of names in it.
 */
#ifndef WEIR_TESTS_NAMES_TOP_H
#define WEIR_TESTS_NAMES_TOP_H

#include "http/store/names_db.h"

extern char top[64];

/* The group's setup and teardown. */
int top_make(void **state);
int top_remove(void **state);

/* The copy in that folder of the top, made when it is not there; names_db_close() frees it. */
struct names_db *open_at(const char *name);

#define BUCKET "photos"
extern char targets[3][CONF_NAME_MAX]; /* the endpoints that must forget */

/* For names_db_write(): applies a struct names_op as BUCKET's next. seq, order where none is given,
 * and of a put or a deletion id are filled in; what is written is a null version. */
int top_apply(struct names_txn *t, void *arg);
/* For names_db_read(): BUCKET's struct names_meta. */
int top_position(struct names_txn *t, void *arg);

#endif
