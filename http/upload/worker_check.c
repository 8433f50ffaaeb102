// SPDX-License-Identifier: Apache-2.0
/*
 * worker_check.c -- a worker's answer waited for: previews, rows looked for, and `--check-file` on the command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/upload/check.h"
#include "http/upload/nursery.h"

#define RULES_MAX (1u << 20)

struct waiting {
	json_t *told;	/* worker_check(): what it gives */
	FILE *lines;	/* or where each event goes at once */
	json_t *result;
	char why[160];
};

static void on_event(void *arg, const char *name, const json_t *value)
{
	struct waiting *w = arg;
	json_t *list = json_object_get(w->told, "findings");

	if (w->lines) {
		json_t *line = json_pack("{s:O}", name, value);

		json_dumpf(line, w->lines, JSON_COMPACT);
		fputc('\n', w->lines);
		fflush(w->lines);
		json_decref(line);
	} else if (!strcmp(name, "finding") && json_array_size(list) < 10000) {
		json_array_append_new(list, json_deep_copy(value));
	} else if (!strcmp(name, "type") || !strcmp(name, "columns")) {
		json_object_set_new(w->told, name, json_deep_copy(value));
	}
}

static void on_done(void *arg, json_t *result, const char *why)
{
	struct waiting *w = arg;

	w->result = json_incref(result);
	snprintf(w->why, sizeof(w->why), "%s", why ? why : "");
}

static void close_spills(struct worker_job *job)
{
	while (job->nspill)
		close(job->spill_fds[--job->nspill]);
}

/* In memory for what a daemon looks at, which is small; a file without a name for the command line. */
static int open_spill(bool in_memory)
{
	const char *tmp = getenv("TMPDIR");
	int fd = in_memory ? -1 : open(tmp ? tmp : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("spill", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_spills(struct worker_job *job, const json_t *json, bool in_memory)
{
	struct rules *rules = NULL;
	char *text = json_is_object(json) ? json_dumps(json, JSON_COMPACT) : NULL;
	size_t n = 0;
	int rc = text ? rules_parse(&rules, text, strlen(text), NULL, NULL) : 0;

	free(text);
	if (rc)
		return rc;
	if (rules) {
		n = check_spills(rules);
		/* Other datasets are not asked: each reference is one without a file. */
		for (size_t i = 0; i < rules->nfields; i++)
			job->nkeysets += rules->fields[i].reference_dataset != NULL;
		memset(job->keyset_fds, 0xff, sizeof(job->keyset_fds));
	}
	rules_free(rules);
	if (n > 64 || job->nkeysets > 64)
		return -E2BIG;
	while (job->nspill < n) {
		int fd = open_spill(in_memory);

		if (fd < 0)
			return fd;
		job->spill_fds[job->nspill++] = fd;
	}
	return 0;
}

/* Starts, gives the whole file, waits. 0 when there is a result. */
static int run_job(struct nursery *n, struct worker_job *job, struct waiting *w)
{
	struct worker *worker;
	struct stat st;
	int rc;

	job->on_event = on_event;
	job->on_done = on_done;
	job->arg = w;
	if (fstat(job->file_fd, &st))
		return -errno;
	rc = worker_start(&worker, n, job);
	if (rc) {
		snprintf(w->why, sizeof(w->why), "%s",
			 rc == -EAGAIN ? "too many files are checked at this moment" : strerror(-rc));
		return rc;
	}
	worker_available(worker, (uint64_t)st.st_size, true);
	worker_free(worker);
	return w->result ? 0 : -EIO;
}

int worker_check(struct nursery *n, const json_t *rules, int file_fd, json_t **out, char why[160])
{
	struct worker_job job = { .rules = rules, .file_fd = file_fd };
	struct waiting w = { .told = json_pack("{s:[]}", "findings") };
	int rc = w.told ? open_spills(&job, rules, true) : -ENOMEM;

	if (!rc)
		rc = run_job(n, &job, &w);
	close_spills(&job);
	if (rc) {
		snprintf(why, 160, "%s", *w.why ? w.why : strerror(-rc));
		json_decref(w.told);
		json_decref(w.result);
		return rc;
	}
	json_object_set_new(w.told, "result", w.result);
	*out = w.told;
	return 0;
}

int worker_locate(struct nursery *n, const json_t *rules, int file_fd, uint64_t first, uint64_t last, uint64_t *offset,
		  uint64_t *length)
{
	struct worker_job job = { .rules = rules, .file_fd = file_fd, .locate_first = first, .locate_last = last };
	struct waiting w = { 0 };
	json_int_t at = -1, len = -1;
	int rc;

	if (!first || last < first || last > INT64_MAX)
		return -EINVAL;
	rc = run_job(n, &job, &w);
	if (!rc) {
		json_unpack(w.result, "{s?:I, s?:I, s?:i}", "offset", &at, "length", &len, "error", &rc);
		if (!rc && (at < 0 || len <= 0))
			rc = -EBADMSG;
	}
	if (!rc) {
		*offset = (uint64_t)at;
		*length = (uint64_t)len;
	}
	json_decref(w.result);
	return rc;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int read_rules(struct rules **out, const char *path)
{
	char *text = malloc(RULES_MAX + 1);
	FILE *file = fopen(path, "re");
	size_t len;
	int rc;

	if (!text || !file) {
		rc = -errno;
		fprintf(stderr, "%s: %s\n", path, strerror(-rc));
	} else {
		len = fread(text, 1, RULES_MAX + 1, file);
		rc = len > RULES_MAX ? -E2BIG : rules_parse(out, text, len, "dataset", stderr);
		if (rc)
			fprintf(stderr, "%s: these are no rules of a dataset: %s\n", path, strerror(-rc));
	}
	if (file)
		fclose(file);
	free(text);
	return rc;
}

static int check_file(const struct rules *rules, const char *path)
{
	struct worker_job job = { .rules = rules ? rules->json : NULL, .file_fd = open(path, O_RDONLY | O_CLOEXEC) };
	struct waiting w = { .lines = stdout };
	struct nursery *n = NULL;
	bool accepted;
	int rc;

	if (job.file_fd < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 2;
	}
	rc = nursery_start(&n, NULL, NULL);
	if (!rc)
		rc = open_spills(&job, job.rules, false);
	if (!rc)
		rc = run_job(n, &job, &w);
	nursery_stop(n);
	close_spills(&job);
	close(job.file_fd);
	if (rc) {
		fprintf(stderr, "%s: the file could not be checked: %s\n", path, *w.why ? w.why : strerror(-rc));
		return 2;
	}
	accepted = !strcmp(json_string_value(json_object_get(w.result, "verdict")) ?: "", "accepted");
	on_event(&w, "result", w.result);
	json_decref(w.result);
	return accepted ? 0 : 1;
}

int worker_modes(int argc, char **argv)
{
	struct rules *rules = NULL;
	int code = 2;

	if (argc == 2 && !strcmp(argv[1], WORKER_NURSERY_OPTION))
		return nursery_main();
	if (argc < 2 || strcmp(argv[1], "--check-file"))
		return -1;
	if (argc != 4) {
		fprintf(stderr, "usage: %s --check-file RULES FILE; RULES may be \"-\": none\n", argv[0]);
		return 2;
	}
	if (!strcmp(argv[2], "-") || !read_rules(&rules, argv[2]))
		code = check_file(rules, argv[3]);
	rules_free(rules);
	return code;
}
