/* SPDX-License-Identifier: Apache-2.0 */
/*
 * durable_shim.c -- LD_PRELOAD: rename() returns when file and name are on stable storage.
 *
 * For nginx's dav module, which writes a body to a temporary file and renames it: with this it promises as
 * much as a 201 of ours does (bench-http). The least that POSIX lets one do: the file's data before, the
 * folder that has the new name after.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sync_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : fdatasync(fd);

	if (fd >= 0)
		close(fd);
	return rc;
}

static int sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	int len = slash ? (int)(slash - path) : 0, fd, rc;
	char folder[PATH_MAX];

	if (len >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	snprintf(folder, sizeof(folder), "%.*s/", len, path);
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	return rc;
}

int rename(const char *from, const char *to)
{
	if (sync_file(from) || syscall(SYS_rename, from, to))
		return -1;
	return sync_folder_of(to);
}
