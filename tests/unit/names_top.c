/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_top.c -- makes, opens, removes.
 */
#include "tests/unit/names_top.h"

#include "tests/unit/unit.h"

char top[64];

int top_make(void **state)
{
	(void)state;
	unit_folder(top, sizeof(top));
	return 0;
}

int top_remove(void **state)
{
	(void)state;
	unit_folder_remove(top);
	return 0;
}

struct names_db *open_at(const char *name)
{
	struct names_db *db;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	assert_int_equal(names_db_open(&db, path), 0);
	return db;
}
