/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_fetch.c -- one file comes from the dataset (sync.h): to a name of its own below FOLDER/.weir-sync, as far as it
 * came before, its SHA-256 is checked, then it is renamed into place.
 *
 * A file that was changed here is kept as NAME.local-COPY. Names are of the dataset's making: no link is followed
 * below the folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "tools/sync.h"

#define COPIES_MAX 1000

struct fetch {
	struct sync *s;
	struct entry *e;
	char sha256[65], part[96];
	int folder; /* that the file is in */
	const char *base;
	struct tus_why why;
};

/* The folder of the path, made when it is missing. -1 with errno. */
static int open_folders(int root, const char *path)
{
	char segment[256];
	int at = dup(root);

	for (const char *slash; at >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
		int below;

		snprintf(segment, sizeof(segment), "%.*s", (int)(slash - path), path);
		if (mkdirat(at, segment, 0777) && errno != EEXIST)
			below = -1;
		else
			below = openat(at, segment, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(at);
		at = below;
	}
	return at;
}

/* Is what is here as the dataset gave it, or by chance what it has now? conflict: neither, and it is there. */
static bool is_equal(struct fetch *f, struct stat *st, bool *conflict)
{
	int fd = openat(f->folder, f->base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	char sha[65] = "";
	bool here = !fstatat(f->folder, f->base, st, AT_SYMLINK_NOFOLLOW);

	*conflict = false;
	if (here && f->e->known == KNOWN_EQUAL && entry_same(f->e, st)) {
		if (fd >= 0)
			close(fd);
		return !strcmp(f->e->sha256, f->sha256);
	}
	if (fd >= 0 && here && S_ISREG(st->st_mode))
		sync_digest(f->s, fd, sha);
	if (fd >= 0)
		close(fd);
	*conflict = here && strcmp(sha, f->sha256) &&
		    !(f->e->known == KNOWN_EQUAL && !strcmp(sha, f->e->sha256)); /* only touched */
	return here && !strcmp(sha, f->sha256);
}

static enum outcome keep_copy(struct fetch *f)
{
	char copy[300];
	int rc = -1;

	for (int i = 1; i < COPIES_MAX && rc; i++) {
		if (i == 1)
			snprintf(copy, sizeof(copy), "%.240s.local-COPY", f->base);
		else
			snprintf(copy, sizeof(copy), "%.240s.local-COPY-%d", f->base, i);
		rc = renameat2(f->folder, f->base, f->folder, copy, RENAME_NOREPLACE);
		if (rc && errno != EEXIST)
			break;
	}
	if (rc) {
		snprintf(f->why.text, sizeof(f->why.text), "what was changed here cannot be kept: %s", strerror(errno));
		return OUT_LATER;
	}
	pthread_mutex_lock(&f->s->lock);
	f->s->conflicts++;
	pthread_mutex_unlock(&f->s->lock);
	sync_say(f->s, "conflict", f->e->path, json_pack("{s:s}", "copy", copy),
		 "conflict  %s was changed here and there: yours is kept as %s", web_safe(f->e->path), web_safe(copy));
	return OUT_DONE;
}

static enum outcome note(struct fetch *f, const struct stat *st)
{
	entry_note(f->e, st);
	f->e->known = KNOWN_EQUAL;
	memcpy(f->e->sha256, f->sha256, sizeof(f->e->sha256));
	sync_save(f->s, f->e);
	return OUT_DONE;
}

/* All of it into the part; OUT_DONE when its digest is right. */
static enum outcome download(struct fetch *f, int fd)
{
	char sha[65];
	struct stat st;
	uint64_t from;

	if (fstat(fd, &st))
		return OUT_LATER;
	from = (uint64_t)st.st_size;
	if (!from || sync_digest(f->s, fd, sha) || strcmp(sha, f->sha256)) {
		sync_get(f->s, f->e->path, f->sha256, fd, from, &f->why);
		if (fstat(fd, &st))
			return OUT_LATER;
		pthread_mutex_lock(&f->s->lock);
		f->s->bytes += (uint64_t)st.st_size > from ? (uint64_t)st.st_size - from : 0;
		pthread_mutex_unlock(&f->s->lock);
		if (f->why.rc == -EAGAIN || f->why.rc == -ECANCELED)
			return f->s->stop ? OUT_STOPPED : OUT_AWAY;
		if (f->why.rc == -ENOENT || f->why.status == 412)
			return OUT_VANISHED; /* the next listing says what there is */
		if (f->why.rc == -EACCES)
			return OUT_REFUSED;
		if (sync_digest(f->s, fd, sha))
			return f->s->stop ? OUT_STOPPED : OUT_LATER;
	}
	if (!strcmp(sha, f->sha256))
		return fdatasync(fd) ? OUT_LATER : OUT_DONE;
	snprintf(f->why.text, sizeof(f->why.text), "what came has another sha256");
	unlinkat(f->s->root, f->part, 0); /* from its beginning, then */
	return OUT_LATER;
}

static enum outcome place(struct fetch *f, int fd)
{
	char size[16];
	struct stat st;
	bool conflict;
	enum outcome out;

	if (is_equal(f, &st, &conflict)) {
		unlinkat(f->s->root, f->part, 0);
		return note(f, &st);
	}
	out = conflict ? keep_copy(f) : OUT_DONE;
	if (out != OUT_DONE)
		return out;
	if (renameat(f->s->root, f->part, f->folder, f->base) || fstat(fd, &st)) {
		snprintf(f->why.text, sizeof(f->why.text), "%s", strerror(errno));
		return OUT_LATER;
	}
	fsync(f->folder);
	note(f, &st);
	pthread_mutex_lock(&f->s->lock);
	f->s->files++;
	pthread_mutex_unlock(&f->s->lock);
	sync_say(f->s, "sent", f->e->path, json_pack("{s:I}", "size", (json_int_t)st.st_size), "came      %s  %s",
		 web_safe(f->e->path), cmd_bytes((uint64_t)st.st_size, size));
	return OUT_DONE;
}

static void name_part(struct fetch *f)
{
	char text[512], hex[33];
	uint8_t sum[32];
	int n = snprintf(text, sizeof(text), "%s\n%.240s", f->sha256, f->e->path);

	sha256_once(text, (size_t)n, sum);
	snprintf(f->part, sizeof(f->part), SYNC_FOLDER "/%s", hex_encode(sum, 16, hex));
}

static enum outcome fetch(struct fetch *f)
{
	enum outcome out;
	bool conflict;
	struct stat st;
	int fd;

	if (is_equal(f, &st, &conflict)) {
		pthread_mutex_lock(&f->s->lock);
		f->s->equal++;
		pthread_mutex_unlock(&f->s->lock);
		return note(f, &st);
	}
	name_part(f);
	mkdirat(f->s->root, SYNC_FOLDER, 0700);
	fd = openat(f->s->root, f->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0) {
		snprintf(f->why.text, sizeof(f->why.text), "%s: %s", f->part, strerror(errno));
		return OUT_LATER;
	}
	out = download(f, fd);
	if (out == OUT_DONE)
		out = place(f, fd);
	if (out == OUT_VANISHED)
		unlinkat(f->s->root, f->part, 0);
	close(fd);
	return out;
}

enum outcome sync_fetch(struct sync *s, struct entry *e)
{
	struct fetch f = { .s = s, .e = e, .base = strrchr(e->path, '/') ? strrchr(e->path, '/') + 1 : e->path };
	enum outcome out;

	pthread_mutex_lock(&s->lock);
	snprintf(f.sha256, sizeof(f.sha256), "%s", js_text(json_object_get(s->remote, e->path), "sha256", ""));
	pthread_mutex_unlock(&s->lock);
	if (!*f.sha256)
		return OUT_VANISHED;
	f.folder = open_folders(s->root, e->path);
	if (f.folder < 0) {
		snprintf(f.why.text, sizeof(f.why.text), "its folder cannot be made: %s", strerror(errno));
		out = OUT_LATER;
	} else {
		out = fetch(&f);
		close(f.folder);
	}
	if (out == OUT_AWAY || out == OUT_LATER || out == OUT_REFUSED) {
		pthread_mutex_lock(&s->lock);
		snprintf(s->left_why, sizeof(s->left_why), "%.150s", f.why.text);
		pthread_mutex_unlock(&s->lock);
	}
	return out;
}
