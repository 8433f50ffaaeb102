// SPDX-License-Identifier: Apache-2.0
/*
 * worker_main.c -- a worker's process behind its walls: takes its job from the socket, gives the pipeline a file that
 * grows, and says what comes of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/nursery.h"
#include "http/upload/pipeline.h"
#include "http/upload/worker_wire.h"

#define SAY_BYTES (1u << 20) /* between two words of how far it has come */
#define SAY_MS	  50

struct job {
	struct wire wire;
	json_t *json;
	struct rules *rules;
	struct pipeline_io io;
	int file;
	uint64_t position, available;
	uint64_t said; /* the position that the daemon knows */
	int64_t said_ms;
	bool whole;
	const char *key_columns[64];
	int key_fds[64];
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* All before the position was checked, as more is asked for: who sends may be held until then. */
static int say_read(struct job *job)
{
	int64_t now = now_ms();

	if (job->position == job->said || (job->position - job->said < SAY_BYTES && now - job->said_ms < SAY_MS))
		return 0;
	job->said = job->position;
	job->said_ms = now;
	return wire_send(WIRE_FD, WIRE_READ, &job->said, sizeof(job->said), NULL, 0, 0) ? -ECANCELED : 0;
}

/* Says how far it has read and waits until there is more. 0, -ECANCELED when the daemon's end is shut. */
static int await_more(struct job *job)
{
	uint64_t said[2];
	int rc = wire_send(WIRE_FD, WIRE_WANT, &job->position, sizeof(job->position), NULL, 0, 0);

	if (rc)
		return -ECANCELED;
	job->said = job->position;
	job->said_ms = now_ms();
	rc = wire_recv(WIRE_FD, &job->wire, true);
	if (rc == -ENOMEM)
		return rc;
	if (rc <= 0 || job->wire.type != WIRE_AVAILABLE || job->wire.len != sizeof(said))
		return -ECANCELED;
	memcpy(said, job->wire.data, sizeof(said));
	job->available = said[0];
	job->whole = said[1] != 0;
	return 0;
}

static ssize_t io_read(void *arg, void *buf, size_t max)
{
	struct job *job = arg;
	uint64_t left;
	ssize_t got;

	if (job->position < job->available && say_read(job))
		return -ECANCELED;
	while (job->position >= job->available) {
		int rc = job->whole ? 0 : await_more(job);

		if (rc || (job->whole && job->position >= job->available))
			return rc;
	}
	left = job->available - job->position;
	do {
		got = pread(job->file, buf, left < max ? (size_t)left : max, (off_t)job->position);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : -EIO; /* shorter than was said: somebody cut it */
	job->position += (uint64_t)got;
	return got;
}

static int io_tell(void *arg, const char *name, json_t *value)
{
	size_t head = strlen(name) + 1, len = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
	char *text = malloc(head + len);
	int rc;

	(void)arg;
	if (!text)
		return -ENOMEM;
	memcpy(text, name, head);
	json_dumpb(value, text + head, len, JSON_COMPACT | JSON_ENCODE_ANY);
	rc = wire_send(WIRE_FD, WIRE_EVENT, text, head + len, NULL, 0, 0);
	free(text);
	return rc ? -ECANCELED : 0;
}

static int io_open(void *arg, const char *name)
{
	struct job *job = arg;
	int32_t err;

	if (wire_send(WIRE_FD, WIRE_OPEN, name, strlen(name), NULL, 0, 0) || wire_recv(WIRE_FD, &job->wire, true) <= 0 ||
	    job->wire.type != WIRE_FILE || job->wire.len != sizeof(err))
		return -ECANCELED;
	memcpy(&err, job->wire.data, sizeof(err));
	if (err)
		return err;
	return job->wire.nfds ? job->wire.fds[0] : -EMFILE;
}

static int io_write(void *arg, int handle, const void *data, size_t len)
{
	const char *at = data;

	(void)arg;
	while (len) {
		ssize_t put = write(handle, at, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

/* Descriptors come in the order file, spills, key sets that there are, files for keys. */
static int take_files(struct job *job)
{
	const json_t *keysets = json_object_get(job->json, "keysets"), *keys = json_object_get(job->json, "keys");
	size_t next = 0, n = job->wire.nfds;
	const int *fds = job->wire.fds;
	struct pipeline_io *io = &job->io;

	io->nspill = (size_t)json_integer_value(json_object_get(job->json, "spills"));
	io->nkeysets = json_array_size(keysets);
	io->nkeys = json_array_size(keys);
	io->key_columns = job->key_columns;
	io->key_fds = job->key_fds;
	if (!n || io->nspill > 64 || io->nkeysets > 64 || io->nkeys > 64)
		return -EBADMSG;
	job->file = fds[next++];
	for (size_t i = 0; i < io->nspill && next < n; i++)
		io->spill_fds[i] = fds[next++];
	for (size_t i = 0; i < io->nkeysets; i++) {
		bool there = json_is_true(json_array_get(keysets, i)) && next < n;

		io->keyset_fds[i] = there ? fds[next++] : -1;
	}
	for (size_t i = 0; i < io->nkeys && next < n; i++) {
		job->key_columns[i] = json_string_value(json_array_get(keys, i));
		job->key_fds[i] = fds[next++];
	}
	return next == n ? 0 : -EBADMSG;
}

static int take_rules(struct job *job)
{
	const json_t *rules = json_object_get(job->json, "rules");
	char *text;
	int rc;

	if (!json_is_object(rules))
		return 0;
	text = json_dumps(rules, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	rc = rules_parse(&job->rules, text, strlen(text), NULL, NULL);
	free(text);
	return rc;
}

static int take_job(struct job *job)
{
	int rc = wire_recv(WIRE_FD, &job->wire, true);

	if (rc <= 0)
		return rc ? rc : -ECANCELED;
	if (job->wire.type != WIRE_JOB)
		return -EBADMSG;
	job->json = json_loadb(job->wire.data, job->wire.len, 0, NULL);
	if (!job->json)
		return -EBADMSG;
	job->io.read = io_read;
	job->io.tell = io_tell;
	job->io.open = json_is_true(json_object_get(job->json, "outputs")) ? io_open : NULL;
	job->io.write = io_write;
	job->io.arg = job;
	rc = take_files(job);
	return rc ? rc : take_rules(job);
}

static json_t *locate(struct job *job, uint64_t first, int *error)
{
	uint64_t last = (uint64_t)json_integer_value(json_object_get(job->json, "last")), offset, length;

	*error = pipeline_locate(job->rules, &job->io, first, last, &offset, &length);
	/* Answers, too: the caller tells them from a worker that failed. */
	if (*error == -ENOENT || *error == -ENOTSUP)
		return json_pack("{s:i}", "error", *error);
	return *error ? NULL : json_pack("{s:I, s:I}", "offset", (json_int_t)offset, "length", (json_int_t)length);
}

int worker_main(void)
{
	static struct job job;
	json_t *result = NULL;
	uint64_t first;
	char *text;
	int error = take_job(&job);
	int32_t failed;

	if (!error) {
		first = (uint64_t)json_integer_value(json_object_get(job.json, "first"));
		result = first ? locate(&job, first, &error) : pipeline_run(job.rules, &job.io, &error);
	}
	text = result ? json_dumps(result, JSON_COMPACT) : NULL;
	if (text)
		return wire_send(WIRE_FD, WIRE_RESULT, text, strlen(text), NULL, 0, 0) ? 1 : 0;
	failed = error ? error : -ENOMEM;
	wire_send(WIRE_FD, WIRE_FAILED, &failed, sizeof(failed), NULL, 0, 0);
	return 1;
}
