/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_way_bench.c -- the whole way of a file, as a worker does it but in this process: `upload_way_bench RULES FILE
 * [DIR [ROUNDS]]`. RULES "-": none. With DIR outputs, quarantine and statistics (result.json) are written there, to be
 * compared with those of another build. Prints "way MB/s" by this process's CPU time, the best of ROUNDS (1).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/pipeline.h"

struct run {
	int file, dir;
	uint64_t bytes;
};

static ssize_t io_read(void *arg, void *buf, size_t max)
{
	struct run *r = arg;
	ssize_t got = read(r->file, buf, max);

	r->bytes += got > 0 ? (uint64_t)got : 0;
	return got < 0 ? -errno : got;
}

static int io_open(void *arg, const char *name)
{
	struct run *r = arg;
	int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int io_write(void *arg, int handle, const void *data, size_t len)
{
	(void)arg;
	return write(handle, data, len) == (ssize_t)len ? 0 : -EIO;
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct rules *rules_of(const char *path)
{
	static char text[1 << 20];
	struct rules *rules;
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof(text), f) : 0;

	if (!n || rules_parse(&rules, text, n, "dataset", stderr))
		exit(1);
	fclose(f);
	return rules;
}

/* MB of CPU second. */
static double run(const struct rules *rules, const char *path, const char *dir)
{
	struct run r = { .file = open(path, O_RDONLY | O_CLOEXEC), .dir = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1 };
	struct pipeline_io io = { .read = io_read, .open = dir ? io_open : NULL, .write = io_write, .arg = &r };
	char *text = NULL;
	json_t *result;
	double from, spent;
	int error;

	if (r.file < 0 || (dir && r.dir < 0))
		exit(1);
	io.nspill = rules ? check_spills(rules) : 0;
	for (size_t i = 0; i < io.nspill; i++)
		io.spill_fds[i] = memfd_create("spill", MFD_CLOEXEC);
	from = cpu();
	result = pipeline_run(rules, &io, &error);
	spent = cpu() - from;
	if (!result)
		exit(1);
	if (dir) {
		int fd = io_open(&r, "result.json");

		text = json_dumps(result, JSON_INDENT(1) | JSON_SORT_KEYS);
		if (!text || fd < 0 || io_write(NULL, fd, text, strlen(text)))
			exit(1);
		close(fd);
	}
	for (size_t i = 0; i < io.nspill; i++)
		close(io.spill_fds[i]);
	free(text);
	json_decref(result);
	close(r.file);
	return (double)r.bytes / 1e6 / spent;
}

int main(int argc, char **argv)
{
	struct rules *rules = argc > 1 && strcmp(argv[1], "-") ? rules_of(argv[1]) : NULL;
	long rounds = argc > 4 ? strtol(argv[4], NULL, 10) : 1;
	double best = 0;

	if (argc < 3 || pipeline_prepare())
		return 2;
	while (rounds-- > 0) {
		double figure = run(rules, argv[2], argc > 3 && *argv[3] ? argv[3] : NULL);

		best = figure > best ? figure : best;
	}
	printf("way %.1f\n", best);
	return 0;
}
