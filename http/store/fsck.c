/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.c -- see fsck.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/store/fsck.h"
#include "http/store/fsck_read.h"
#include "http/store/names_db.h"
#include "lib/conf.h"

struct fsck {
	int root;
	char dir[4096];
	const char *node;
	bool repair, json;
	json_t *findings;
	unsigned long faults; /* findings but those that the next start puts right by itself */
	unsigned long versions, names, bytes, unnamed_bytes;
	struct fsck_version *v; /* sorted by version */
	size_t n;
	struct names_db *db;
};

static void __attribute__((format(printf, 4, 5)))
finding(struct fsck *f, const char *what, const char *where, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->faults += strcmp(what, "unfinished") != 0;
	json_array_append_new(f->findings,
			      json_pack("{s:s, s:s, s:s}", "what", what, "where", where, "text", text));
	if (!f->json)
		printf("%-10s %s: %s\n", what, where, text);
}

/* ---- unfinished uploads ---- */

static int check_temporaries(struct fsck *f)
{
	int fd = openat(f->root, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	unsigned int n = 0;

	if (!dir)
		return fd < 0 && errno == ENOENT ? 0 : -errno;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		if (f->repair && unlinkat(fd, e->d_name, 0))
			finding(f, "tmp", e->d_name, "cannot be removed: %s", strerror(errno));
	}
	closedir(dir);
	if (n)
		finding(f, "unfinished", "tmp", "%u uploads were cut by the end of the last run; nobody was told "
			"that they are stored. %s", n, f->repair ? "Removed." : "The next start removes them.");
	return 0;
}

/* ---- versions ---- */

static int by_version(const void *a, const void *b)
{
	return memcmp(((const struct fsck_version *)a)->version.id,
		      ((const struct fsck_version *)b)->version.id, VERSION_BYTES);
}

/* What was not finished will not be there. */
static const struct fsck_version *find(const struct fsck *f, const struct version *v)
{
	struct fsck_version key = { .version = *v }, *found;

	found = f->n ? bsearch(&key, f->v, f->n, sizeof(*f->v), by_version) : NULL;
	return found && !found->unfinished ? found : NULL;
}

/* Does its name still need it? */
static int check_named(struct names_txn *t, void *arg)
{
	struct fsck *f = arg;
	struct name_entry *entry = malloc(sizeof(*entry));
	char hex[VERSION_STRLEN];

	for (size_t i = 0; entry && i < f->n; i++) {
		const struct fsck_version *v = &f->v[i];
		struct names_meta meta;
		enum names_space space;

		if (v->rc)
			continue;
		version_format(&v->version, hex);
		/* Buckets whose names are kept by others: nothing can be said here. */
		if (names_meta_get(t, v->bucket, &meta) || meta.state != NAMES_STATE_COMPLETE)
			continue;
		if (names_row_data(t, meta.id, hex, &space, entry) != -ENOENT)
			continue;
		f->unnamed_bytes += v->size;
		finding(f, "unnamed", hex, "its data are whole (bucket %s, %llu bytes), and no name "
			"stands for it: left by an upload that was not acknowledged, or its removal has "
			"not come yet, or written after the backup of the names that is in use. The scrubber removes "
			"it when its key has a newer version, or with orphans: remove (weir.yaml) when nothing can need it.",
			v->bucket, (unsigned long long)v->size);
	}
	free(entry);
	return entry ? 0 : -ENOMEM;
}

static int check_versions(struct fsck *f)
{
	char hex[VERSION_STRLEN];

	qsort(f->v, f->n, sizeof(*f->v), by_version);
	for (size_t i = 0; i < f->n; i++) {
		const struct fsck_version *v = &f->v[i];

		f->versions += !v->unfinished;
		f->bytes += v->unfinished ? 0 : v->size;
		version_format(&v->version, hex);
		if (v->unfinished)
			finding(f, "unfinished", hex, "a small upload was cut by the end of the last run (%s); nobody "
				"was told that it is stored. The next start cuts it off.", v->place);
		else if (v->rc)
			finding(f, "damaged", hex, "%s (%s). Start the endpoint: it is fetched from another copy "
				"when it is read or scrubbed (weir scrub); without one it is lost.",
				v->why, v->place);
		if (i && version_equal(&v->version, &v[-1].version))
			finding(f, "twice", hex, "it is stored twice (%s, %s); harmless, both go together.",
				v[-1].place, v->place);
	}
	return f->db ? names_db_read(f->db, check_named, f) : 0;
}

/* ---- names ---- */

static bool holds(const struct fsck *f, const struct name_entry *e)
{
	for (unsigned int i = 0; i < e->nholders; i++)
		if (!strcmp(e->holders[i], f->node))
			return true;
	return false;
}

static int check_entry(void *arg, const char *bucket, const struct name_entry *e)
{
	struct fsck *f = arg;
	const struct fsck_version *found;
	char where[BUCKET_MAX + NAMES_KEY_MAX + 2];
	struct version v;

	f->names++;
	if (e->deleted || e->marker || e->nparts || !holds(f, e) || version_parse(&v, e->version))
		return 0;
	snprintf(where, sizeof(where), "%s/%s", bucket, e->key);
	found = find(f, &v);
	if (!found)
		finding(f, "missing", where, "version %s should be on this disk and is not. Start the endpoint: "
			"the scrubber fetches it from another copy%s.", e->version,
			e->nholders > 1 ? "" : ", but no other is recorded: it is lost");
	else if (!found->rc && (found->size != e->size || memcmp(found->sha256, e->sha256, 32)))
		finding(f, "differs", where, "version %s is stored with %llu bytes, and its name says %llu%s.",
			e->version, (unsigned long long)found->size, (unsigned long long)e->size,
			found->size == e->size ? " with another SHA-256" : "");
	return 0;
}

struct bucket_check {
	struct fsck *f;
	struct names_txn *t;
};

static int check_space(struct bucket_check *b, const char *bucket, uint32_t id, enum names_space space,
		       struct names_page *page)
{
	char after[NAMES_KEY_MAX + 1] = "", after_version[NAMES_MARKER_MAX + 1] = "";
	struct names_scan scan = { .space = space,
				   .versions = true,
				   .select = { .after = after,
					       .after_version = after_version,
					       .limit = NAMES_LIST_MAX },
				   .fn = check_entry,
				   .arg = b->f };
	int rc;

	do {
		memset(page, 0, sizeof(*page));
		rc = names_scan(b->t, id, bucket, &scan, page);
		strcpy(after, page->next);
		strcpy(after_version, page->next_version);
	} while (!rc && page->more);
	return rc;
}

/* Every version of every key, and the parts. */
static int check_bucket(void *arg, const char *bucket, const struct names_meta *meta)
{
	struct bucket_check *b = arg;
	struct names_page *page = malloc(sizeof(*page));
	int rc = page ? 0 : -ENOMEM;

	if (meta->state != NAMES_STATE_COMPLETE) {
		finding(b->f, "partial", bucket, "the copy of this bucket's names here was not finished; it is "
			"made anew when the endpoint runs.");
	} else if (!rc) {
		rc = check_space(b, bucket, meta->id, NAMES_OBJECTS, page);
		if (!rc)
			rc = check_space(b, bucket, meta->id, NAMES_PARTS, page);
	}
	free(page);
	return rc;
}

static int check_names(struct names_txn *t, void *arg)
{
	struct bucket_check b = { .f = arg, .t = t };

	return names_meta_each(t, check_bucket, &b);
}

/* ---- the whole ---- */

static int fsck_run(struct fsck *f)
{
	uint64_t unreadable = 0;
	char path[4200];
	int rc;

	f->root = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->root < 0) {
		fprintf(stderr, "weir-endpoint fsck: %s: %s\n", f->dir, strerror(errno));
		return -errno;
	}
	if (flock(f->root, LOCK_EX | LOCK_NB)) {
		fprintf(stderr, "weir-endpoint fsck: %s: the endpoint runs; stop it first\n", f->dir);
		return -EBUSY;
	}
	rc = check_temporaries(f);
	if (!rc)
		rc = fsck_read(f->root, f->dir, &f->v, &f->n, &unreadable);
	if (unreadable)
		finding(f, "unreadable", "s", "the disk does not give %llu bytes of the segments. Start the endpoint: "
			"what lay there is fetched from another copy; and replace the disk.",
			(unsigned long long)unreadable);
	snprintf(path, sizeof(path), "%s/names", f->dir);
	if (!rc && !access(path, F_OK)) {
		rc = names_db_look(&f->db, path);
		if (rc == -ENOENT) {
			finding(f, "names", path, "of an older layout: the next start of the endpoint brings them to "
				"the present one. They were not checked.");
			rc = 0;
		} else if (rc) {
			finding(f, "names", path, "cannot be opened: %s. Restore them from a backup, or let the "
				"endpoint get them from the other copy: move the folder away.", strerror(-rc));
			rc = 0;
		}
	}
	if (!rc)
		rc = check_versions(f);
	if (!rc && f->db)
		rc = names_db_read(f->db, check_names, f);
	if (!rc && fsck_index(f->root, f->dir, f->v, f->n) == -EBADMSG) {
		finding(f, "index", "index", "it does not say of all small versions where they lie. %s",
			f->repair ? "It is made anew at the next start." : "--repair has it made anew.");
		if (f->repair && unlinkat(f->root, "s/state", 0) && errno != ENOENT)
			rc = -errno;
	}
	if (rc)
		fprintf(stderr, "weir-endpoint fsck: %s: %s\n", f->dir, strerror(-rc));
	return rc;
}

static int usage(int code)
{
	fprintf(code ? stderr : stdout,
		"usage: weir-endpoint fsck [-c FILE] [--repair] [--json]\n"
		"Checks all that the endpoint of this node has stored, while it does not run: data, names, "
		"index.\n"
		"  -c FILE    the configuration (" CONF_DEFAULT_PATH ")\n"
		"  --repair   removes unfinished uploads, has a wrong index made anew; never removes data\n"
		"  --json     one JSON text\n"
		"exit: 0 nothing found, but for uploads that the end of the last run cut; 1 something was found,\n"
		"2 wrong use, 3 it could not look\n");
	return code;
}

static void report(struct fsck *f)
{
	if (f->json) {
		json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:O}", "versions", (json_int_t)f->versions, "bytes",
					 (json_int_t)f->bytes, "names", (json_int_t)f->names, "unnamed_bytes",
					 (json_int_t)f->unnamed_bytes, "findings", f->findings);

		json_dumpf(root, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(root);
		return;
	}
	printf("%lu versions (%lu bytes) and %lu names: ", f->versions, f->bytes, f->names);
	if (f->unnamed_bytes)
		printf("%zu findings; %lu bytes have no name\n", json_array_size(f->findings), f->unnamed_bytes);
	else if (f->faults)
		printf("%zu findings\n", json_array_size(f->findings));
	else
		printf("all is well%s\n", json_array_size(f->findings) ? "; the next start removes what was not finished" : "");
}

int fsck_main(int argc, char **argv)
{
	static const struct option longs[] = { { "config", 1, NULL, 'c' }, { "repair", 0, NULL, 'r' },
					       { "json", 0, NULL, 'j' }, { "help", 0, NULL, 'h' },
					       { NULL, 0, NULL, 0 } };
	const char *path = CONF_DEFAULT_PATH;
	struct fsck f = { .root = -1 };
	struct conf *conf;
	int c, rc;

	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'r':
			f.repair = true;
			break;
		case 'j':
			f.json = true;
			break;
		default:
			return usage(c == 'h' ? 0 : 2);
		}
	}
	if (optind < argc)
		return usage(2);
	if (conf_load(&conf, path, stderr))
		return 3;
	conf_state_path(conf, "endpoint", f.dir, sizeof(f.dir));
	f.node = conf->node;
	f.findings = json_array();
	rc = fsck_run(&f);
	if (!rc)
		report(&f);
	rc = rc ? 3 : f.faults ? 1 : 0;
	names_db_close(f.db);
	json_decref(f.findings);
	free(f.v);
	if (f.root >= 0)
		close(f.root);
	conf_free(conf);
	return rc;
}
