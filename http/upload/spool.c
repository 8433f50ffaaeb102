/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c -- see spool.h.
 */
#include "http/upload/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/hash.h"

#define GAP_MAX 4 /* numbers that may be missing: outputs that could not be made */
#define STATE_MAX (16u << 20) /* bytes of a state: a thousand findings are 500 KiB */

struct spool {
	int dir;
	char digits[9];
};

void spool_node_digits(const char *node, char digits[9])
{
	uint8_t digest[32];

	sha256_once(node, strlen(node), digest);
	hex_encode(digest, 4, digits);
}

int spool_open(struct spool **out, const char *folder, const char *node)
{
	struct spool *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0) {
		err = -errno;
		free(s);
		return err;
	}
	spool_node_digits(node, s->digits);
	*out = s;
	return 0;
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	close(s->dir);
	free(s);
}

void spool_id(const struct spool *s, char id[SPOOL_ID_LEN + 1])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	memcpy(id, s->digits, 8);
	hex_encode(bytes, sizeof(bytes), id + 8);
}

bool spool_id_valid(const char *id)
{
	return strspn(id, "0123456789abcdef") == SPOOL_ID_LEN && !id[SPOOL_ID_LEN];
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int spool_save(struct spool *s, const char *id, const json_t *state)
{
	char *text = json_dumps(state, JSON_COMPACT), name[64], beside[64];
	int fd, rc;

	if (!text)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s.json", id);
	snprintf(beside, sizeof(beside), "%s.new", id);
	fd = openat(s->dir, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	rc = fd < 0 ? -errno : write_all(fd, text, strlen(text));
	free(text);
	if (!rc && fdatasync(fd))
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (!rc && renameat(s->dir, beside, s->dir, name))
		rc = -errno;
	if (rc)
		unlinkat(s->dir, beside, 0);
	else if (fsync(s->dir))
		rc = -errno;
	return rc;
}

json_t *spool_load(struct spool *s, const char *id)
{
	char name[64], *text = NULL;
	json_t *state = NULL;
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "%s.json", id);
	fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && st.st_size <= STATE_MAX)
		text = malloc((size_t)st.st_size + 1);
	if (text && read(fd, text, (size_t)st.st_size) == st.st_size)
		state = json_loadb(text, (size_t)st.st_size, 0, NULL);
	free(text);
	close(fd);
	if (!json_is_object(state)) {
		json_decref(state);
		return NULL;
	}
	return state;
}

int spool_file(struct spool *s, const char *id, const char *suffix, enum spool_mode mode)
{
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "%s.%s", id, suffix);
	fd = openat(s->dir, name,
		    (mode == SPOOL_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC |
			    (mode == SPOOL_MAKE ? O_CREAT : 0),
		    0600);
	return fd < 0 ? -errno : fd;
}

int spool_temporary(struct spool *s)
{
	uint8_t bytes[16];
	char name[48] = "tmp.";
	int fd = openat(s->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd < 0 ? -errno : fd;
	random_bytes(bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), name + 4);
	fd = openat(s->dir, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(s->dir, name, 0);
	return fd;
}

/* The folder from its beginning, in a stream of its own. */
static DIR *list(struct spool *s)
{
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* The id of a file's name; false: no file of ours. */
static bool id_of(const char *name, char id[SPOOL_ID_LEN + 1])
{
	size_t len = strlen(name);

	if (len <= SPOOL_ID_LEN || name[SPOOL_ID_LEN] != '.')
		return false;
	memcpy(id, name, SPOOL_ID_LEN);
	id[SPOOL_ID_LEN] = '\0';
	return spool_id_valid(id);
}

int spool_each(struct spool *s, void (*fn)(void *arg, const char *id, json_t *state), void *arg)
{
	char id[SPOOL_ID_LEN + 1], state_name[64];
	const struct dirent *e;
	DIR *dir = list(s);

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		json_t *state;

		if (!strncmp(e->d_name, "tmp.", 4) || (id_of(e->d_name, id) && strstr(e->d_name, ".new")))
			unlinkat(s->dir, e->d_name, 0);
		if (!id_of(e->d_name, id))
			continue;
		snprintf(state_name, sizeof(state_name), "%s.json", id);
		if (strcmp(e->d_name, state_name)) {
			if (faccessat(s->dir, state_name, F_OK, 0))
				unlinkat(s->dir, e->d_name, 0);
			continue;
		}
		state = spool_load(s, id);
		if (state)
			fn(arg, id, state);
		json_decref(state);
	}
	closedir(dir);
	return 0;
}

/* ID.KIND.0, .1 …: the highest first, so that what an end in between leaves is found again. */
static void remove_numbered(struct spool *s, const char *id, const char *kind)
{
	char name[SPOOL_ID_LEN + 32];
	struct stat st;
	int top = 0;

	for (int n = 0; n < top + GAP_MAX; n++) {
		snprintf(name, sizeof(name), "%s.%s.%d", id, kind, n);
		if (!fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW))
			top = n + 1;
	}
	while (top-- > 0) {
		snprintf(name, sizeof(name), "%s.%s.%d", id, kind, top);
		unlinkat(s->dir, name, 0);
	}
}

/* By their names: reading the folder took longer the more uploads there were (8% of a gateway's time at 2,000 small
 * files). */
void spool_remove(struct spool *s, const char *id, bool state_too)
{
	char name[64];

	remove_numbered(s, id, "key");
	remove_numbered(s, id, "out");
	snprintf(name, sizeof(name), "%s.data", id);
	unlinkat(s->dir, name, 0);
	/* The state last: as long as it is there, the rest is found again. */
	snprintf(name, sizeof(name), "%s.json", id);
	if (state_too)
		unlinkat(s->dir, name, 0);
}

uint64_t spool_free_bytes(struct spool *s)
{
	struct statvfs fs;

	return fstatvfs(s->dir, &fs) ? UINT64_MAX : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Where the kernel cannot (other file systems, old kernels). */
static int copy_by_hand(int from, uint64_t at, uint64_t len, int to, uint64_t to_at)
{
	char *buf = malloc(1 << 18);
	int rc = buf ? 0 : -ENOMEM;

	while (!rc && len) {
		size_t want = len < 1 << 18 ? (size_t)len : 1 << 18;
		ssize_t n = pread(from, buf, want, (off_t)at), m;

		if (n <= 0) {
			rc = n ? -errno : -ENODATA;
			break;
		}
		m = pwrite(to, buf, (size_t)n, (off_t)to_at);
		if (m <= 0) {
			rc = m ? -errno : -EIO;
			break;
		}
		at += (uint64_t)m;
		to_at += (uint64_t)m;
		len -= (uint64_t)m;
	}
	free(buf);
	return rc;
}

int spool_copy(int from, uint64_t at, uint64_t len, int to, uint64_t to_at)
{
	while (len) {
		off_t in = (off_t)at, out = (off_t)to_at;
		size_t want = len < 1u << 30 ? (size_t)len : 1u << 30;
		ssize_t n = copy_file_range(from, &in, to, &out, want, 0);

		if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
			return copy_by_hand(from, at, len, to, to_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		at += (uint64_t)n;
		to_at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}
