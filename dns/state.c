/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c -- see state.h.
 */
#include "dns/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

json_t *state_read(const char *path, int *rc)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	json_t *state = NULL;

	*rc = 0;
	if (fd < 0) {
		*rc = -errno;
		return NULL;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)STATE_MAX)
		state = json_loadfd(fd, 0, NULL);
	close(fd);
	if (json_is_object(state))
		return state;
	json_decref(state);
	*rc = -EBADMSG;
	return NULL;
}

int state_write(const char *path, const json_t *state)
{
	char *beside = NULL;
	int fd = -1, rc = 0;

	if (asprintf(&beside, "%s.new", path) < 0)
		return -ENOMEM;
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		rc = -errno;
	else if (json_dumpfd(state, fd, JSON_COMPACT | JSON_SORT_KEYS) || fdatasync(fd))
		rc = errno ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	if (!rc && rename(beside, path))
		rc = -errno;
	if (rc)
		(void)unlink(beside);
	free(beside);
	return rc;
}
