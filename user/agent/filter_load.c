/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_load.c -- reads lists and resolves them, on a thread of its own; reads and writes what was made by
 * hand (see filter.h). Nothing here touches the agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/agent/filter_int.h"

#define FILE_MAX (256u << 20) /* four million of the longest lines */

/* ---- names --------------------------------------------------------------------------------------- */

static int take(struct filter_names *names, char *const *from, size_t n, enum weir_verdict verdict)
{
	for (size_t i = 0; i < n; i++) {
		if (names->n == FILTER_SOURCES)
			return -E2BIG;
		names->name[names->n] = strdup(from[i]);
		if (!names->name[names->n])
			return -ENOMEM;
		names->verdict[names->n++] = verdict;
	}
	return 0;
}

int filter_names_take(struct filter_names *names, const struct conf_agent *conf)
{
	int rc;

	names->n = 0;
	rc = take(names, conf->filter.block, conf->filter.nblock, WEIR_VERDICT_BLOCK);
	return rc ? rc : take(names, conf->filter.allow, conf->filter.nallow, WEIR_VERDICT_ALLOW);
}

void filter_names_free(struct filter_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	names->n = 0;
}

/* ---- reading -------------------------------------------------------------------------------------- */

static int read_file(const char *path, char **text, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0; /* a FIFO shall not wait for its writer */
	struct stat st;
	ssize_t got = 1;

	*text = NULL;
	*len = 0;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size > FILE_MAX)
		rc = -EFBIG;
	if (!rc)
		*text = malloc((size_t)st.st_size + 1);
	if (!rc && !*text)
		rc = -ENOMEM;
	while (!rc && got && *len < (size_t)st.st_size) {
		got = read(fd, *text + *len, (size_t)st.st_size - *len);
		if (got < 0 && errno != EINTR)
			rc = -errno;
		*len += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return rc;
}

struct reading {
	struct filter_base *base;
	const char *path;
};

static void on_fault(void *arg, uint32_t line, const char *sentence)
{
	struct reading *r = arg;
	struct filter_base *base = r->base;

	base->wrong++;
	if (base->nfaults == FILTER_FAULTS)
		return;
	if (line ? asprintf(&base->fault[base->nfaults], "%s:%u: %s", r->path, line, sentence) < 0
		 : asprintf(&base->fault[base->nfaults], "%s: %s", r->path, sentence) < 0)
		return;
	base->nfaults++;
}

static int read_source(struct filter_base *base, const char *name, enum weir_verdict verdict)
{
	unsigned int number = (unsigned int)base->nsources;
	struct filter_source *s = &base->source[number];
	struct reading r = { base, name };
	struct filterlist_entry e;
	struct addr_prefix prefix;
	size_t before = base->list.n, len;
	char *text;
	int rc;

	base->nsources++;
	s->verdict = verdict;
	s->name = strdup(name);
	if (!s->name)
		return -ENOMEM;
	if (!addr_prefix_parse(&prefix, name)) {
		filterlist_make(&e, &prefix, verdict, number, 0);
		s->entries = 1;
		return filterlist_add(&base->list, &e);
	}
	rc = read_file(name, &text, &len);
	if (rc) {
		base->unread++;
		on_fault(&r, 0, rc == -EACCES  ? "cannot be read; the daemon's user must be allowed to"
				: rc == -EFBIG ? "is larger than 256 MiB"
				: rc == -EINVAL ? "is not a file"
						: strerror(-rc));
		rc = rc == -ENOMEM ? rc : 1;
	} else {
		rc = filterlist_parse(&base->list, text, len, verdict, number, on_fault, &r);
	}
	free(text);
	if (rc < 0)
		return rc;
	s->wrong = (unsigned int)rc;
	s->entries = base->list.n - before;
	return 0;
}

struct filter_base *filter_base_read(const struct filter_names *names)
{
	struct filter_base *base = calloc(1, sizeof(*base));

	for (size_t i = 0; base && i < names->n; i++) {
		if (read_source(base, names->name[i], names->verdict[i]) == 0)
			continue;
		filter_base_free(base);
		base = NULL;
	}
	return base;
}

void filter_base_free(struct filter_base *base)
{
	if (!base)
		return;
	for (size_t i = 0; i < base->nsources; i++)
		free(base->source[i].name);
	for (size_t i = 0; i < base->nfaults; i++)
		free(base->fault[i]);
	filterlist_free(&base->list);
	free(base);
}

/* ---- the job ---------------------------------------------------------------------------------------- */

void filter_job_run(struct filter_job *job)
{
	const struct filter_base *base = job->base;
	struct filterlist all = { 0 };

	if (job->reread) {
		job->fresh = filter_base_read(&job->names);
		if (!job->fresh) {
			job->rc = -ENOMEM;
			return;
		}
		/* A typo in a reload must not open what the old lists close. */
		job->refused = job->fresh->wrong && base;
		if (!job->refused)
			base = job->fresh;
	}
	all.n = all.room = (base ? base->list.n : 0) + job->hand.n;
	all.entry = malloc((all.n ? all.n : 1) * sizeof(*all.entry));
	if (!all.entry) {
		job->rc = -ENOMEM;
		return;
	}
	if (base && base->list.n)
		memcpy(all.entry, base->list.entry, base->list.n * sizeof(*all.entry));
	if (job->hand.n)
		memcpy(all.entry + all.n - job->hand.n, job->hand.entry, job->hand.n * sizeof(*all.entry));
	job->rc = filterlist_resolve(&all, &job->result);
	filterlist_free(&all);
}

void filter_job_free(struct filter_job *job)
{
	if (!job)
		return;
	filter_names_free(&job->names);
	filter_base_free(job->fresh);
	filterlist_free(&job->hand);
	filterlist_free(&job->result);
	free(job);
}

/* ---- by hand ---------------------------------------------------------------------------------------- */

static char *hand_path(const struct filter *f, const char *suffix, char *buf, size_t len)
{
	char folder[3072];

	conf_state_path(f->agent->d->conf, "agent", folder, sizeof(folder));
	snprintf(buf, len, "%s/filter%s", folder, suffix);
	return buf;
}

int filter_hand_write(const struct filter *f)
{
	char path[4096], fresh[4096], text[ADDR_STRLEN + 8];
	FILE *file = fopen(hand_path(f, ".new", fresh, sizeof(fresh)), "we");
	int rc = file ? 0 : -errno;

	if (!file)
		return rc;
	for (size_t i = 0; i < f->nhand; i++)
		if (fprintf(file, "%s %s %" PRIu64 "\n",
			    f->hand[i].e.verdict == WEIR_VERDICT_ALLOW ? "allow" : "block",
			    filterlist_format(&f->hand[i].e, text, sizeof(text)), f->hand[i].until_s) < 0)
			rc = -EIO;
	if (fflush(file) || fsync(fileno(file)))
		rc = rc ? rc : -errno;
	if (fclose(file) == EOF && !rc)
		rc = -errno;
	if (!rc && rename(fresh, hand_path(f, "", path, sizeof(path))))
		rc = -errno;
	return rc;
}

int filter_hand_read(struct filter *f)
{
	char path[4096], line[256], verdict[8], network[ADDR_STRLEN + 8];
	FILE *file = fopen(hand_path(f, "", path, sizeof(path)), "re");
	uint64_t until;
	int wrong = 0;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	f->hand = calloc(FILTER_HAND_MAX, sizeof(*f->hand));
	while (f->hand && f->nhand < FILTER_HAND_MAX && fgets(line, sizeof(line), file)) {
		struct addr_prefix prefix;

		if (sscanf(line, "%7s %53s %" SCNu64, verdict, network, &until) != 3 ||
		    addr_prefix_parse(&prefix, network)) {
			wrong++;
			continue;
		}
		filterlist_make(&f->hand[f->nhand].e, &prefix,
				strcmp(verdict, "allow") ? WEIR_VERDICT_BLOCK : WEIR_VERDICT_ALLOW, FILTER_HAND, 0);
		f->hand[f->nhand++].until_s = until;
	}
	fclose(file);
	return !f->hand ? -ENOMEM : wrong;
}
