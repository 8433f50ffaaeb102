// SPDX-License-Identifier: Apache-2.0
/*
 * worker.c -- the daemon's side of a worker: a thread that hands the job over, answers what the worker asks, and tells
 * what it says. Nothing that comes from a worker is believed beyond its form: foreign bytes may have taken it over.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/upload/nursery.h"
#include "http/upload/worker_wire.h"

#define FILES_MAX 600 /* that one worker may ask for */

struct worker {
	struct nursery *nursery;
	struct worker_job job; /* its functions; what it points to is not kept */
	char *text;	       /* the job as the worker gets it */
	int fds[WIRE_FDS];
	size_t nfds;
	int sock;
	pthread_t thread;
	atomic_int references; /* the thread and the owner */
	/* the thread's own */
	json_t *result;
	int32_t failed, status;
	bool has_status, lost; /* lost: its socket ended without a word of how it died */
	unsigned int files;

	pthread_mutex_t lock; /* of what follows, and of what is sent but for the job */
	uint64_t available, position;
	bool whole, waiting, cancelled, closed;
};

static int copy_fd(struct worker *w, int fd)
{
	int copy;

	if (w->nfds == WIRE_FDS)
		return -E2BIG;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, WIRE_FD + 1);
	if (copy < 0)
		return -errno;
	w->fds[w->nfds++] = copy;
	return 0;
}

static void close_fds(struct worker *w)
{
	for (size_t i = 0; i < w->nfds; i++)
		close(w->fds[i]);
	w->nfds = 0;
}

static int copy_fds(struct worker *w, const struct worker_job *job)
{
	int rc = copy_fd(w, job->file_fd);

	for (size_t i = 0; i < job->nspill && !rc; i++)
		rc = copy_fd(w, job->spill_fds[i]);
	for (size_t i = 0; i < job->nkeysets && !rc; i++) {
		if (job->keyset_fds[i] >= 0)
			rc = copy_fd(w, job->keyset_fds[i]);
	}
	for (size_t i = 0; i < job->nkeys && !rc; i++)
		rc = copy_fd(w, job->key_fds[i]);
	return rc;
}

static char *job_text(const struct worker_job *job)
{
	json_t *keysets = json_array(), *keys = json_array(), *all;
	char *text;

	for (size_t i = 0; i < job->nkeysets; i++)
		json_array_append_new(keysets, json_boolean(job->keyset_fds[i] >= 0));
	for (size_t i = 0; i < job->nkeys; i++)
		json_array_append_new(keys, json_string(job->key_columns[i]));
	all = json_pack("{s:O?, s:I, s:o, s:o, s:b, s:I, s:I}", "rules", job->rules, "spills", (json_int_t)job->nspill,
			"keysets", keysets, "keys", keys, "outputs", job->on_open != NULL, "first",
			(json_int_t)job->locate_first, "last", (json_int_t)job->locate_last);
	text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	return text;
}

/* With the lock: says how much there is to a worker that waits for more than it had. One such word is under way at most,
 * so that this never blocks. */
static void say_available(struct worker *w)
{
	uint64_t said[2] = { w->available, w->whole };

	if (!w->waiting || w->closed || (w->available <= w->position && !w->whole))
		return;
	w->waiting = false;
	wire_send(w->sock, WIRE_AVAILABLE, said, sizeof(said), NULL, 0, MSG_DONTWAIT);
}

/* How far the worker has come, of both its words. */
static int on_read(struct worker *w, const struct wire *wire)
{
	uint64_t position;

	if (wire->len != sizeof(position))
		return -EBADMSG;
	memcpy(&position, wire->data, sizeof(position));
	if (w->job.on_checked)
		w->job.on_checked(w->job.arg, position);
	return 0;
}

static int on_want(struct worker *w, const struct wire *wire)
{
	int rc = on_read(w, wire);

	if (rc)
		return rc;
	pthread_mutex_lock(&w->lock);
	memcpy(&w->position, wire->data, sizeof(w->position));
	w->waiting = true;
	say_available(w);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

static int on_event(struct worker *w, const struct wire *wire)
{
	/* Longer than any that we say: kept by the daemon, a thousand of them, they would fill its memory. */
	static const struct {
		const char *name;
		size_t max;
	} events[] = { { "finding", 64u << 10 }, { "progress", 4u << 10 }, { "type", 64u << 10 }, { "columns", 8u << 20 } };
	size_t head = strnlen(wire->data, wire->len) + 1;
	json_t *value = head < wire->len ? json_loadb(wire->data + head, wire->len - head, JSON_DECODE_ANY, NULL) : NULL;
	int rc = -EBADMSG;

	for (size_t i = 0; value && i < sizeof(events) / sizeof(*events); i++) {
		if (strcmp(events[i].name, wire->data) || wire->len > events[i].max)
			continue;
		if (w->job.on_event)
			w->job.on_event(w->job.arg, events[i].name, value);
		rc = 0;
	}
	json_decref(value);
	return rc;
}

/* A name for people and tables: UTF-8 (jansson's judgement), no control characters, one segment. */
static bool name_is_fine(const struct wire *wire)
{
	json_t *text = wire->len <= 255 ? json_stringn(wire->data, wire->len) : NULL;
	bool fine = text && wire->len;

	json_decref(text);
	for (size_t i = 0; i < wire->len; i++)
		fine = fine && (unsigned char)wire->data[i] >= ' ' && wire->data[i] != 0x7f && wire->data[i] != '/';
	return fine;
}

static int on_open(struct worker *w, const struct wire *wire)
{
	int fd = w->job.on_open && name_is_fine(wire) ? 0 : -EINVAL;
	int32_t err;
	int rc;

	if (++w->files > FILES_MAX)
		return -EBADMSG;
	if (!fd)
		fd = w->job.on_open(w->job.arg, wire->data);
	err = fd < 0 ? fd : 0;
	rc = wire_send(w->sock, WIRE_FILE, &err, sizeof(err), &fd, fd >= 0, MSG_DONTWAIT);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int take_int(const struct wire *wire, int32_t *out)
{
	if (wire->len != sizeof(*out))
		return -EBADMSG;
	memcpy(out, wire->data, sizeof(*out));
	return 0;
}

/* 0 to go on, else no more is wanted of this worker. */
static int take(struct worker *w, const struct wire *wire)
{
	switch (wire->type) {
	case WIRE_WANT:
		return on_want(w, wire);
	case WIRE_READ:
		return on_read(w, wire);
	case WIRE_EVENT:
		return on_event(w, wire);
	case WIRE_OPEN:
		return on_open(w, wire);
	case WIRE_RESULT:
		json_decref(w->result);
		w->result = json_loadb(wire->data, wire->len, 0, NULL);
		return json_is_object(w->result) ? 0 : -EBADMSG;
	case WIRE_FAILED:
		return take_int(wire, &w->failed);
	case WIRE_EXIT:
		w->has_status = !take_int(wire, &w->status);
		return -ESRCH;
	default:
		return -EBADMSG;
	}
}

/* A sentence's end: "The file could not be checked: …". */
static void why_failed(const struct worker *w, char why[160])
{
	const struct nursery_limits *l = &w->nursery->limits;
	unsigned long long mib = (l->memory ? l->memory : 256u << 20) >> 20;

	switch (w->failed) {
	case -ENOMEM:
		snprintf(why, 160, "it needs more than the %llu MiB of memory that a check may use", mib);
		break;
	case -ENOSPC:
	case -EDQUOT:
		snprintf(why, 160, "the gateway's disk is full");
		break;
	case -EFBIG:
		snprintf(why, 160, "a file made from it grows over the limit");
		break;
	case -EINVAL:
		snprintf(why, 160, "the dataset's rules are not valid for this version");
		break;
	default:
		snprintf(why, 160, "%s", strerror(-w->failed));
	}
}

static void why_died(const struct worker *w, char why[160])
{
	unsigned int cpu = w->nursery->limits.cpu_s;
	int sig = WIFSIGNALED(w->status) ? WTERMSIG(w->status) : 0;

	if (!w->has_status)
		snprintf(why, 160, "the process that checked it was stopped");
	else if (sig == SIGSYS)
		snprintf(why, 160, "the process that checked it tried what it may not (SIGSYS)");
	else if (sig == SIGXCPU)
		snprintf(why, 160, "it takes more than the %u seconds of computing that a check may use", cpu ? cpu : 3600);
	else if (sig == SIGKILL)
		snprintf(why, 160, "the process that checked it was killed (out of memory?)");
	else if (sig)
		snprintf(why, 160, "the process that checked it crashed (signal %d, %s)", sig, strsignal(sig));
	else
		snprintf(why, 160, "the process that checked it ended early (code %d)", WEXITSTATUS(w->status));
}

static void say_done(struct worker *w, bool cancelled)
{
	char why[160] = "cancelled";
	bool good = w->result && w->has_status && w->status == 0 && !cancelled;

	if (!good && !cancelled && w->failed)
		why_failed(w, why);
	else if (!good && !cancelled)
		why_died(w, why);
	w->job.on_done(w->job.arg, good ? w->result : NULL, good ? NULL : why);
	json_decref(w->result);
	w->result = NULL;
}

static void release(struct worker *w)
{
	if (atomic_fetch_sub(&w->references, 1) != 1)
		return;
	close_fds(w);
	if (w->sock >= 0)
		close(w->sock);
	pthread_mutex_destroy(&w->lock);
	free(w->text);
	free(w);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct nursery *nursery = w->nursery;
	struct wire wire = { 0 };
	bool cancelled;
	int rc;

	/* May block until the worker is there; EPIPE when it never comes. */
	rc = wire_send(w->sock, WIRE_JOB, w->text, strlen(w->text), w->fds, w->nfds, 0);
	close_fds(w);
	if (rc == -EPIPE)
		rc = 0; /* its end is said all the same */
	while (!rc) {
		rc = wire_recv(w->sock, &wire, false);
		w->lost = rc == 0;
		rc = rc > 0 ? take(w, &wire) : -ESRCH;
	}
	wire_free(&wire);
	pthread_mutex_lock(&w->lock);
	/* A worker that talks nonsense loses its socket, and by this its life. */
	shutdown(w->sock, SHUT_RDWR);
	w->closed = true;
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	say_done(w, cancelled);
	release(w);
	nursery_give(nursery);
	return NULL;
}

static int launch(struct worker *w)
{
	pthread_attr_t attr;
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	w->sock = pair[0];
	rc = nursery_fork(w->nursery, pair[1]);
	close(pair[1]);
	if (rc)
		return rc;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 2 << 20);
	rc = -pthread_create(&w->thread, &attr, run, w);
	pthread_attr_destroy(&attr);
	return rc;
}

int worker_start(struct worker **out, struct nursery *n, const struct worker_job *job)
{
	struct worker *w;
	int rc;

	if (job->nspill > 64 || job->nkeysets > 64 || job->nkeys > 64)
		return -E2BIG;
	rc = nursery_take(n);
	if (rc)
		return rc;
	w = calloc(1, sizeof(*w));
	if (!w) {
		nursery_give(n);
		return -ENOMEM;
	}
	w->nursery = n;
	w->sock = -1;
	w->job = *job;
	pthread_mutex_init(&w->lock, NULL);
	w->text = job_text(job);
	rc = w->text ? copy_fds(w, job) : -ENOMEM;
	atomic_store(&w->references, 2);
	/* Set before the thread runs: its functions may ask for it. */
	*out = w;
	if (!rc)
		rc = launch(w);
	if (rc) {
		*out = NULL;
		atomic_store(&w->references, 1);
		release(w);
		nursery_give(n);
	}
	return rc;
}

void worker_available(struct worker *w, uint64_t bytes, bool whole)
{
	pthread_mutex_lock(&w->lock);
	if (bytes > w->available)
		w->available = bytes;
	w->whole = w->whole || whole;
	say_available(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_cancel(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->cancelled = true;
	/* The nursery sees it and kills; its word still comes the other way. */
	if (!w->closed)
		shutdown(w->sock, SHUT_WR);
	pthread_mutex_unlock(&w->lock);
}

int worker_fault(const struct worker *w)
{
	if (w->failed == -ENOSPC || w->failed == -EDQUOT)
		return -ENOSPC;
	if (w->lost || (w->has_status && WIFSIGNALED(w->status) && WTERMSIG(w->status) == SIGKILL))
		return -EPIPE;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	if (pthread_equal(w->thread, pthread_self()))
		pthread_detach(w->thread);
	else
		pthread_join(w->thread, NULL);
	release(w);
}
