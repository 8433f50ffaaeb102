/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdstore.c -- see fdstore.h.
 */
#include "tools/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* The value of NAME= in the lines of text into out; false when there is none or it does not fit. */
static bool line_of(const char *text, const char *name, char *out, size_t len)
{
	size_t n = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, n) && line[n] == '=') {
			size_t value = strcspn(line + n + 1, "\n");

			if (value >= len)
				return false;
			memcpy(out, line + n + 1, value);
			out[value] = '\0';
			return true;
		}
	}
	return false;
}

static bool says(const char *text, const char *name)
{
	char value[4];

	return line_of(text, name, value, sizeof(value)) && !strcmp(value, "1");
}

/* Printable ASCII without ':', which separates them (sd_pid_notify_with_fds(3)). */
static bool name_valid(const char *name)
{
	if (!*name)
		return false;
	for (; *name; name++)
		if (*name <= ' ' || *name > '~' || *name == ':')
			return false;
	return true;
}

static bool is_stored(const struct fdstore *store, int fd)
{
	struct stat a, b;

	if (fstat(fd, &a))
		return true; /* not to be kept */
	for (size_t i = 0; i < store->n; i++)
		if (!fstat(store->fds[i], &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return true;
	return false;
}

static void remove_named(struct fdstore *store, const char *name)
{
	size_t left = 0;

	for (size_t i = 0; i < store->n; i++) {
		if (!strcmp(store->names[i], name)) {
			close(store->fds[i]);
			continue;
		}
		store->fds[left] = store->fds[i];
		memmove(store->names[left++], store->names[i], FDSTORE_NAME);
	}
	store->n = left;
}

size_t fdstore_message(struct fdstore *store, const char *text, const int *fds, size_t n)
{
	bool keep = says(text, "FDSTORE");
	char name[FDSTORE_NAME] = "";
	size_t stored = 0;

	if (!line_of(text, "FDNAME", name, sizeof(name)) || !name_valid(name))
		snprintf(name, sizeof(name), "stored");
	if (says(text, "FDSTOREREMOVE"))
		remove_named(store, name);
	for (size_t i = 0; i < n; i++) {
		if (!keep || store->n == FDSTORE_MAX || is_stored(store, fds[i])) {
			close(fds[i]);
			continue;
		}
		store->fds[store->n] = fds[i];
		memcpy(store->names[store->n++], name, sizeof(name));
		stored++;
	}
	return stored;
}

void fdstore_clear(struct fdstore *store)
{
	for (size_t i = 0; i < store->n; i++)
		close(store->fds[i]);
	store->n = 0;
}

/* Copies above all places that are wanted, then each to its own: none is overwritten on the way. */
static int place(const struct fdstore *store)
{
	int above[FDSTORE_MAX];

	for (size_t i = 0; i < store->n; i++) {
		above[i] = fcntl(store->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + (int)store->n);
		if (above[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < store->n; i++)
		if (dup2(above[i], FIRST_FD + (int)i) < 0)
			return -errno;
	return 0;
}

int fdstore_hand_over(const struct fdstore *store)
{
	char names[FDSTORE_MAX * FDSTORE_NAME] = "", number[24];
	size_t at = 0;
	int rc;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!store->n)
		return 0;
	rc = place(store);
	if (rc)
		return rc;
	for (size_t i = 0; i < store->n; i++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i ? ":" : "",
				       store->names[i]);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%zu", store->n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	return 0;
}
