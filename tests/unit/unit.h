/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.h -- the includes that cmocka wants before its own header, and a private folder for a test.
 */
#ifndef WEIR_TESTS_UNIT_H
#define WEIR_TESTS_UNIT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int unit_remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

/* A new folder below TMPDIR, its path in buf; the test ends when there is none. */
static inline char *unit_folder(char *buf, size_t len)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(buf, len, "%s/weir-unit.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(buf));
	return buf;
}

static inline void unit_folder_remove(const char *path)
{
	nftw(path, unit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* How many files lie below folder/sub. */
static inline unsigned int unit_files(const char *folder, const char *sub)
{
	char command[160];
	unsigned int n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "find %s/%s -type f | wc -l", folder, sub);
	f = popen(command, "r");
	assert_int_equal(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

#endif
