/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_ignore.h -- which files of a folder are not synchronised: patterns as gitignore(5) has them, one a line of
 * the folder's .weirignore, and names that editors and browsers use while they write. Pure but for reading the file.
 */
#ifndef WEIR_TOOLS_SYNC_IGNORE_H
#define WEIR_TOOLS_SYNC_IGNORE_H

#include <stdbool.h>

#define IGNORE_FILE ".weirignore"

struct ignore;

/* The built-in patterns, then those of text (may be NULL). NULL without memory. */
struct ignore *ignore_new(const char *text);
/* text from a folder's .weirignore, when it is there. */
struct ignore *ignore_read(int folder);
void ignore_free(struct ignore *ig); /* accepts NULL */

/* One path below the folder, by itself: "a/b.csv". The last pattern that matches decides. */
bool ignore_one(const struct ignore *ig, const char *path, bool is_folder);
/* A file's path, with the folders that it is in. */
bool ignore_path(const struct ignore *ig, const char *path);

#endif
