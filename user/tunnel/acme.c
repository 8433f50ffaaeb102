// SPDX-License-Identifier: Apache-2.0
/* acme.c -- files of ACME's HTTP-01 (see acme.h). A stranger names the file, so the name is strict.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/tunnel/acme.h"

#define PREFIX	  "/.well-known/acme-challenge/"
#define TOKEN_MAX 128 /* of authorities: 43 */

static bool is_token(const char *text)
{
	size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

	return n && n <= TOKEN_MAX && !text[n];
}

static char *read_file(int fd)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > ACME_FILE_MAX)
		return NULL;
	text = malloc(ACME_FILE_MAX + 1);
	n = text ? read(fd, text, ACME_FILE_MAX) : -1;
	if (n <= 0) {
		free(text);
		return NULL;
	}
	text[n] = 0;
	return text;
}

char *acme_text(const char *folder, const char *path)
{
	char *file, *text = NULL;
	int fd;

	if (!folder || !path || strncmp(path, PREFIX, strlen(PREFIX)) != 0 ||
	    !is_token(path + strlen(PREFIX)) || asprintf(&file, "%s%s", folder, path) < 0)
		return NULL;
	/* Neither a link to elsewhere nor a pipe that would hold everybody up. */
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	free(file);
	if (fd >= 0) {
		text = read_file(fd);
		close(fd);
	}
	return text;
}
