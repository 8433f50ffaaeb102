/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_shim.c -- LD_PRELOAD: a disk that fails, and one that forgets what was not synced.
 *
 *	FAULT_DIR   the folder it is about
 *	FAULT_CTL   a file whose text says what fails now: words of
 *	            write=ERRNO, sync=ERRNO, create=ERRNO, after=N (the first N calls succeed)
 *	FAULT_LOG   a folder in which it notes how to undo what has not been synced; after a kill,
 *	            fault_undo.py does it: then the folder is as a power loss may leave it
 *	FAULT_BOOT  the file that is read as the kernel's boot_id
 *
 * Names are durable once their folder was synced, bytes once their file was: no more than POSIX
 * promises. One log record: struct note, the path, a second path or the old bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC, CREATE, RENAME, UNLINK };

struct note {
	uint32_t kind, path_len;
	uint64_t inode, offset, len, size, seq;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1, calls;
static uint64_t seq;
static char dir[PATH_MAX], log_dir[PATH_MAX];
static size_t dir_len;

__attribute__((constructor)) static void begin(void)
{
	const char *d = getenv("FAULT_DIR"), *l = getenv("FAULT_LOG");
	char path[PATH_MAX + 8];

	snprintf(dir, sizeof(dir), "%s", d ? d : "/nowhere");
	dir_len = strlen(dir);
	if (!l)
		return;
	snprintf(log_dir, sizeof(log_dir), "%s", l);
	snprintf(path, sizeof(path), "%s/log", l);
	log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* ---- faults ---- */

static int number_of(const char *name)
{
	return !strcmp(name, "EIO") ? EIO : !strcmp(name, "ENOSPC") ? ENOSPC : !strcmp(name, "EROFS") ? EROFS : atoi(name);
}

/* The errno that the call is to fail with, or 0. */
static int fault(const char *what)
{
	const char *ctl = getenv("FAULT_CTL");
	char text[200], *word, *rest = text;
	int fd, result = 0, after = 0;
	ssize_t n;

	fd = ctl ? (int)syscall(SYS_openat, AT_FDCWD, ctl, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	n = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	if (n <= 1)
		calls = 0;
	while ((word = strsep(&rest, " \n"))) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = 0;
		if (!strcmp(word, what))
			result = number_of(value);
		if (!strcmp(word, "after"))
			after = atoi(value);
	}
	if (result && __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) <= after)
		return 0;
	return result;
}

/* ---- what is below the folder ---- */

static bool path_of(int fd, char out[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out, PATH_MAX - 1);
	if (n <= 0)
		return false;
	out[n] = 0;
	return !strncmp(out, dir, dir_len) && (out[dir_len] == '/' || !out[dir_len]);
}

static bool path_at(int at, const char *name, char out[PATH_MAX])
{
	char base[PATH_MAX];

	if (*name == '/')
		snprintf(out, PATH_MAX, "%s", name);
	else if (at == AT_FDCWD || !path_of(at, base))
		return false;
	else
		snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, name);
	return !strncmp(out, dir, dir_len) && out[dir_len] == '/';
}

/* ---- the log; lock held ---- */

static void note(struct note *n, const char *path, const void *more, size_t len)
{
	struct iovec iov[3] = { { n, sizeof(*n) }, { (void *)path, strlen(path) }, { (void *)more, len } };

	n->path_len = (uint32_t)strlen(path);
	n->len = len;
	n->seq = ++seq;
	syscall(SYS_writev, log_fd, iov, len ? 3 : 2);
}

/* A hard link that keeps what a name stood for. */
static void keep(const char *path, char kept[PATH_MAX])
{
	snprintf(kept, PATH_MAX, "%.2000s/kept.%d.%llu", log_dir, (int)getpid(), (unsigned long long)seq);
	if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0))
		kept[0] = 0;
}

static void note_write(int fd, uint64_t offset, uint64_t len)
{
	char path[PATH_MAX];
	struct note n = { .kind = WRITE, .offset = offset };
	struct stat st;
	uint8_t *old;
	ssize_t got;

	/* What is written through O_DSYNC is durable at once (LMDB's page of what is current). */
	if (log_fd < 0 || !path_of(fd, path) || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    syscall(SYS_fcntl, fd, F_GETFL) & O_DSYNC)
		return;
	n.inode = st.st_ino;
	n.size = (uint64_t)st.st_size;
	old = malloc(len + 1);
	got = old ? syscall(SYS_pread64, fd, old, len, offset) : -1;
	if (got < 0) { /* opened for writing alone */
		int other = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

		got = syscall(SYS_pread64, other, old, len, offset);
		syscall(SYS_close, other);
	}
	note(&n, path, old, got > 0 ? (size_t)got : 0);
	free(old);
}

static uint64_t total(const struct iovec *iov, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* ---- calls ---- */

static int fails(int fd, const char *what)
{
	char path[PATH_MAX];
	int rc = path_of(fd, path) ? fault(what) : 0;

	if (rc)
		errno = rc;
	return rc;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
	ssize_t n;

	if (fails(fd, "write"))
		return -1;
	pthread_mutex_lock(&lock);
	note_write(fd, (uint64_t)at, len);
	n = syscall(SYS_pwrite64, fd, buf, len, at);
	pthread_mutex_unlock(&lock);
	return n;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at) __attribute__((alias("pwrite")));

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	ssize_t n;

	if (fails(fd, "write"))
		return -1;
	pthread_mutex_lock(&lock);
	note_write(fd, (uint64_t)at, total(iov, count));
	n = syscall(SYS_pwritev, fd, iov, count, at, 0);
	pthread_mutex_unlock(&lock);
	return n;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t at) __attribute__((alias("pwritev")));

static uint64_t place(int fd)
{
	struct stat st;

	if (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND)
		return fstat(fd, &st) ? 0 : (uint64_t)st.st_size;
	return (uint64_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	char path[PATH_MAX];
	ssize_t n;

	if (!path_of(fd, path))
		return syscall(SYS_write, fd, buf, len);
	if (fails(fd, "write"))
		return -1;
	pthread_mutex_lock(&lock);
	note_write(fd, place(fd), len);
	n = syscall(SYS_write, fd, buf, len);
	pthread_mutex_unlock(&lock);
	return n;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	char path[PATH_MAX];
	ssize_t n;

	if (!path_of(fd, path))
		return syscall(SYS_writev, fd, iov, count);
	if (fails(fd, "write"))
		return -1;
	pthread_mutex_lock(&lock);
	note_write(fd, place(fd), total(iov, count));
	n = syscall(SYS_writev, fd, iov, count);
	pthread_mutex_unlock(&lock);
	return n;
}

int ftruncate(int fd, off_t size)
{
	struct stat st;
	int rc;

	pthread_mutex_lock(&lock);
	if (!fstat(fd, &st))
		note_write(fd, (uint64_t)size, st.st_size > size ? (uint64_t)(st.st_size - size) : 0);
	rc = (int)syscall(SYS_ftruncate, fd, size);
	pthread_mutex_unlock(&lock);
	return rc;
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

static int sync_with(int fd, long call)
{
	char path[PATH_MAX];
	struct note n = { .kind = SYNC };
	struct stat st;
	uint64_t before;
	int rc;

	if (fails(fd, "sync"))
		return -1;
	before = __atomic_load_n(&seq, __ATOMIC_SEQ_CST);
	rc = (int)syscall(call, fd);
	if (rc || log_fd < 0 || !path_of(fd, path) || fstat(fd, &st))
		return rc;
	n.inode = st.st_ino;
	n.offset = before; /* what was noted by then is durable */
	pthread_mutex_lock(&lock);
	note(&n, path, NULL, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

int fsync(int fd)
{
	return sync_with(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_with(fd, SYS_fdatasync);
}

static int open_with(int at, const char *name, int flags, mode_t mode)
{
	const char *boot = getenv("FAULT_BOOT");
	char path[PATH_MAX];
	struct note n = { .kind = CREATE };
	bool creates;
	int fd, rc;

	if (boot && !strcmp(name, "/proc/sys/kernel/random/boot_id"))
		name = boot;
	creates = flags & O_CREAT && (flags & O_TMPFILE) != O_TMPFILE && path_at(at, name, path);
	if (!creates)
		return (int)syscall(SYS_openat, at, name, flags, mode);
	rc = fault("create");
	if (rc) {
		errno = rc;
		return -1;
	}
	pthread_mutex_lock(&lock);
	creates = syscall(SYS_faccessat, AT_FDCWD, path, F_OK, 0) != 0;
	/* Emptying is a change like others: it is done by ftruncate(), which notes it. */
	fd = (int)syscall(SYS_openat, at, name, flags & ~O_TRUNC, mode);
	if (fd >= 0 && creates && log_fd >= 0)
		note(&n, path, NULL, 0);
	pthread_mutex_unlock(&lock);
	if (fd >= 0 && flags & O_TRUNC && !creates && ftruncate(fd, 0)) {
		syscall(SYS_close, fd);
		return -1;
	}
	return fd;
}

int openat(int at, const char *name, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_with(at, name, flags, flags & (O_CREAT | __O_TMPFILE) ? mode : 0);
}

int open(const char *name, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_with(AT_FDCWD, name, flags, flags & (O_CREAT | __O_TMPFILE) ? mode : 0);
}

int openat64(int at, const char *name, int flags, ...) __attribute__((alias("openat")));
int open64(const char *name, int flags, ...) __attribute__((alias("open")));

static int rename_with(int a, const char *from, int b, const char *to)
{
	char path[PATH_MAX], new[PATH_MAX], kept[PATH_MAX] = "", both[2 * PATH_MAX];
	struct note n = { .kind = RENAME };
	int rc, len;

	if (log_fd < 0 || !path_at(a, from, path) || !path_at(b, to, new))
		return (int)syscall(SYS_renameat, a, from, b, to);
	pthread_mutex_lock(&lock);
	keep(new, kept);
	rc = (int)syscall(SYS_renameat, a, from, b, to);
	len = snprintf(both, sizeof(both), "%s%c%s", new, 0, kept);
	if (!rc)
		note(&n, path, both, (size_t)len);
	pthread_mutex_unlock(&lock);
	return rc;
}

int renameat(int a, const char *from, int b, const char *to)
{
	return rename_with(a, from, b, to);
}

int rename(const char *from, const char *to)
{
	return rename_with(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int at, const char *name, int flags)
{
	char path[PATH_MAX], kept[PATH_MAX];
	struct note n = { .kind = UNLINK };
	int rc;

	if (log_fd < 0 || flags || !path_at(at, name, path))
		return (int)syscall(SYS_unlinkat, at, name, flags);
	pthread_mutex_lock(&lock);
	keep(path, kept);
	rc = (int)syscall(SYS_unlinkat, at, name, flags);
	if (!rc)
		note(&n, path, kept, strlen(kept));
	pthread_mutex_unlock(&lock);
	return rc;
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}
