/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c, nursery.c: foreign bytes are read by processes that can do next to nothing; one that dies is an answer, and
 * the program that started it goes on.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "http/upload/worker.h"
#include "lib/priv_filter.h"

static struct nursery *nursery;

/* What one worker said, and whether it ended. */
struct heard {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int findings, progress, columns, types;
	unsigned int checked; /* bytes */
	bool done;
	json_t *result;
	char why[160];
};

static void heard_init(struct heard *h)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
}

static void heard_free(struct heard *h)
{
	json_decref(h->result);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
}

static void on_event(void *arg, const char *name, const json_t *value)
{
	struct heard *h = arg;

	(void)value;
	pthread_mutex_lock(&h->lock);
	h->findings += !strcmp(name, "finding");
	h->progress += !strcmp(name, "progress");
	h->columns += !strcmp(name, "columns");
	h->types += !strcmp(name, "type");
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void on_checked(void *arg, uint64_t bytes)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->lock);
	h->checked = (unsigned int)bytes;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void on_done(void *arg, json_t *result, const char *why)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->lock);
	h->done = true;
	h->result = json_incref(result);
	snprintf(h->why, sizeof(h->why), "%s", why ? why : "");
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

/* Waits until *counter is at least n; the run ends when that takes 20 s. */
static void await(struct heard *h, const unsigned int *counter, unsigned int n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&h->lock);
	while (*counter < n)
		assert_int_equal(pthread_cond_timedwait(&h->changed, &h->lock, &until), 0);
	pthread_mutex_unlock(&h->lock);
}

static int memory_file(const char *text, size_t len)
{
	int fd = memfd_create("upload", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	return fd;
}

static struct worker *start(struct heard *h, int fd)
{
	struct worker_job job = { .file_fd = fd, .on_event = on_event, .on_done = on_done, .arg = h };
	struct worker *w = NULL;

	heard_init(h);
	assert_int_equal(worker_start(&w, nursery, &job), 0);
	return w;
}

static json_int_t number(const json_t *result, const char *name)
{
	return json_integer_value(json_object_get(result, name));
}

/* The whole way of a file that grows: told at once what is there, and a result at its end. */
static void checks_a_file_that_grows(void **state)
{
	static const char text[] = "a,b\n1,2\n3,4\n";
	int fd = memory_file(text, 12);
	struct heard h;
	struct worker *w = start(&h, fd);

	(void)state;
	worker_available(w, 1, false);
	worker_available(w, 5, false);
	worker_available(w, 12, false);
	worker_available(w, 12, true);
	await(&h, &h.types, 1);
	worker_free(w);
	assert_string_equal(h.why, "");
	assert_int_equal(number(h.result, "rows"), 2);
	assert_string_equal(json_string_value(json_object_get(h.result, "verdict")), "accepted");
	assert_int_equal(h.columns, 1);
	assert_int_equal(h.types, 1);
	heard_free(&h);
	close(fd);
}

static void says_that_it_was_cancelled(void **state)
{
	int fd = memory_file("a\n", 2);
	struct heard h;
	struct worker *w = start(&h, fd);

	(void)state;
	worker_cancel(w);
	worker_free(w);
	assert_null(h.result);
	assert_string_equal(h.why, "cancelled");
	heard_free(&h);
	close(fd);
}

/* The only child of a process; waits until it is forked. */
static pid_t only_child(pid_t parent)
{
	const struct timespec pause = { 0, 1000000 };
	char path[64];
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	for (unsigned int tries = 0; tries < 10000; tries++) {
		FILE *file = fopen(path, "re");
		int got;

		assert_non_null(file);
		got = fscanf(file, "%d", &pid);
		fclose(file);
		if (got == 1)
			return pid;
		nanosleep(&pause, NULL);
	}
	fail();
	return 0;
}

/* The process that forks workers, and the one of the one worker that runs. */
static pid_t forking(const struct nursery *n)
{
	return only_child(nursery_pid(n));
}

static pid_t only_worker(const struct nursery *n)
{
	return only_child(forking(n));
}

/* The value of a line of /proc/PID/status. */
static long status_of(pid_t pid, const char *name)
{
	char path[64], line[256];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = strtol(line + strlen(name) + 1, NULL, strcmp(name, "CapEff") ? 10 : 16);
	}
	fclose(file);
	return value;
}

static unsigned int count_fds(pid_t pid)
{
	unsigned int n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	for (struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n - (pid == getpid());
}

/* A worker that has begun and waits: it has read its file's first bytes, so its walls are up. */
static struct worker *start_waiting(struct heard *h, const struct nursery *n, int *fd)
{
	struct worker_job job = { .on_event = on_event, .on_checked = on_checked, .on_done = on_done, .arg = h };
	struct worker *w = NULL;

	heard_init(h);
	*fd = memory_file("a,b\n1,2\n", 8);
	job.file_fd = *fd;
	assert_int_equal(worker_start(&w, (struct nursery *)n, &job), 0);
	worker_available(w, 8, false);
	await(h, &h->checked, 8);
	return w;
}

/* Its walls, as the kernel says them. */
static void has_next_to_nothing(void **state)
{
	struct heard h;
	int fd;
	struct worker *w = start_waiting(&h, nursery, &fd);
	pid_t pid = only_worker(nursery);

	(void)state;
	assert_int_equal(status_of(pid, "NoNewPrivs"), 1);
	assert_int_equal(status_of(pid, "CapEff"), 0);
	assert_int_equal(status_of(pid, "Threads"), 1);
	if (!priv_filter_sanitized())
		assert_int_equal(status_of(pid, "Seccomp"), 2);
	/* 0 to 2, the socket and the file. */
	assert_int_equal(count_fds(pid), 5);
	worker_cancel(w);
	worker_free(w);
	heard_free(&h);
	close(fd);
}

/* Whatever kills a worker is a sentence, and the next one works. */
static void a_death_is_an_answer(void **state)
{
	static const struct {
		int sig;
		const char *why;
	} deaths[] = {
		{ SIGKILL, "was killed" }, { SIGSYS, "what it may not" }, { SIGSEGV, "crashed" }, { SIGABRT, "crashed" },
	};

	for (size_t i = 0; i < sizeof(deaths) / sizeof(*deaths); i++) {
		struct heard h;
		int fd;
		struct worker *w = start_waiting(&h, nursery, &fd);

		assert_int_equal(kill(only_worker(nursery), deaths[i].sig), 0);
		worker_free(w);
		assert_null(h.result);
		/* A sanitizer takes these signals and ends in its own way. */
		if (!priv_filter_sanitized())
			assert_non_null(strstr(h.why, deaths[i].why));
		assert_true(h.why[0]);
		heard_free(&h);
		close(fd);
		checks_a_file_that_grows(state);
	}
}

static void run_under(const struct nursery_limits *limits, uint64_t size, char why[160])
{
	struct nursery *n = NULL;
	struct heard h;
	struct worker_job job = { .file_fd = memory_file("", 0), .on_event = on_event, .on_done = on_done, .arg = &h };
	struct worker *w;

	heard_init(&h);
	assert_int_equal(ftruncate(job.file_fd, (off_t)size), 0);
	assert_int_equal(nursery_start(&n, limits, NULL), 0);
	assert_int_equal(worker_start(&w, n, &job), 0);
	worker_available(w, size, true);
	worker_free(w);
	assert_null(h.result);
	memcpy(why, h.why, 160);
	heard_free(&h);
	nursery_stop(n);
	close(job.file_fd);
}

static void computing_has_a_limit(void **state)
{
	const struct nursery_limits limits = { .cpu_s = 1 };
	char why[160];

	(void)state;
	/* A hole of 256 GiB: read and digested at some GB/s. */
	run_under(&limits, 256ull << 30, why);
	assert_non_null(strstr(why, "more than the 1 seconds"));
}

static void memory_has_a_limit(void **state)
{
	const struct nursery_limits limits = { .memory = 1 << 20 };
	char why[160];

	(void)state;
	if (priv_filter_sanitized())
		skip();
	/* Less than its program has already: it gets nothing more. */
	run_under(&limits, 100, why);
	assert_string_equal(why, "it needs more than the 1 MiB of memory that a check may use");
}

static void many_run_at_once(void **state)
{
	const struct nursery_limits limits = { .workers = 8 };
	struct nursery *n = NULL;
	struct heard h[8], more;
	struct worker *w[8], *one = NULL;
	int fd = memory_file("a,b\n1,2\n", 8);
	struct worker_job job = { .file_fd = fd, .on_event = on_event, .on_done = on_done };
	unsigned int before;

	(void)state;
	assert_int_equal(nursery_start(&n, &limits, NULL), 0);
	before = count_fds(getpid());
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 8; i++) {
			heard_init(&h[i]);
			job.arg = &h[i];
			assert_int_equal(worker_start(&w[i], n, &job), 0);
		}
		job.arg = &more;
		assert_int_equal(worker_start(&one, n, &job), -EAGAIN);
		for (int i = 0; i < 8; i++)
			worker_available(w[i], 8, true);
		for (int i = 0; i < 8; i++) {
			worker_free(w[i]);
			assert_int_equal(number(h[i].result, "rows"), 1);
			heard_free(&h[i]);
		}
		/* Its place is free when its thread is over, a moment after. */
		while (count_fds(getpid()) > before)
			sched_yield();
	}
	assert_int_equal(count_fds(getpid()), before);
	nursery_stop(n);
	close(fd);
}

/* A stop with workers at work ends them, and each is told of. */
static void stop_ends_workers(void **state)
{
	struct nursery *n = NULL;
	struct heard h;
	struct worker *w;
	pid_t pid;
	int fd;

	(void)state;
	assert_int_equal(nursery_start(&n, NULL, NULL), 0);
	w = start_waiting(&h, n, &fd);
	pid = only_worker(n);
	nursery_stop(n);
	assert_true(h.done);
	assert_true(h.why[0]);
	assert_int_equal(kill(pid, 0), -1);
	worker_free(w);
	heard_free(&h);
	close(fd);
}

/* A nursery that is gone takes its workers along; the program is told and goes on. */
static void lives_without_its_nursery(void **state)
{
	struct worker_job job = { .on_event = on_event, .on_done = on_done };
	struct nursery *n = NULL;
	struct heard h;
	struct worker *w;
	int fd;

	(void)state;
	assert_int_equal(nursery_start(&n, NULL, NULL), 0);
	w = start_waiting(&h, n, &fd);
	assert_int_equal(kill(nursery_pid(n), SIGKILL), 0);
	worker_free(w);
	assert_non_null(strstr(h.why, "stopped"));
	while (!nursery_gone(n))
		sched_yield();
	job.file_fd = fd;
	assert_int_equal(worker_start(&w, n, &job), -EPIPE);
	nursery_stop(n);
	heard_free(&h);
	close(fd);
}

/* The process that forks workers dies (short of memory): its workers are no file's fault, and another takes its place. */
static void forks_on_after_a_death(void **state)
{
	struct nursery *n = NULL;

	(void)state;
	assert_int_equal(nursery_start(&n, NULL, NULL), 0);
	for (int i = 0; i < 2; i++) {
		struct heard h;
		struct worker_job job = { .file_fd = -1 };
		struct worker *w = start_waiting(&h, n, &job.file_fd);
		pid_t pid = only_worker(n), house = forking(n);

		assert_int_equal(kill(house, SIGKILL), 0);
		while (!h.done)
			sched_yield();
		assert_int_equal(worker_fault(w), -EPIPE);
		worker_free(w);
		heard_free(&h);
		while (!kill(pid, 0))
			sched_yield();
		assert_false(nursery_gone(n));
		close(job.file_fd);
		w = start_waiting(&h, n, &job.file_fd);
		assert_int_not_equal(forking(n), house);
		worker_cancel(w);
		worker_free(w);
		assert_string_equal(h.why, "cancelled");
		heard_free(&h);
		close(job.file_fd);
	}
	nursery_stop(n);
}

/* The whole file at once, for previews; and where its rows stand. */
static void answers_that_are_waited_for(void **state)
{
	int fd = memory_file("a,b\n1,2\n33,4\n5,6\n", 17);
	uint64_t offset = 0, length = 0;
	json_t *out = NULL;
	char why[160];

	(void)state;
	assert_int_equal(worker_check(nursery, NULL, fd, &out, why), 0);
	assert_int_equal(json_array_size(json_object_get(out, "columns")), 2);
	assert_int_equal(number(json_object_get(out, "result"), "rows"), 3);
	json_decref(out);
	assert_int_equal(worker_locate(nursery, NULL, fd, 2, 3, &offset, &length), 0);
	assert_int_equal(offset, 8);
	assert_int_equal(length, 9);
	assert_int_equal(worker_locate(nursery, NULL, fd, 1, 1, &offset, &length), 0);
	assert_int_equal(offset, 4);
	assert_int_equal(length, 4);
	assert_int_equal(worker_locate(nursery, NULL, fd, 4, 9, &offset, &length), -ENOENT);
	close(fd);
	fd = memory_file("\x1f\x8b\x08\0\0\0\0\0\0\0", 10);
	assert_int_equal(worker_locate(nursery, NULL, fd, 1, 1, &offset, &length), -ENOTSUP);
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	return nursery_start(&nursery, NULL, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	nursery_stop(nursery);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checks_a_file_that_grows),
		cmocka_unit_test(says_that_it_was_cancelled),
		cmocka_unit_test(has_next_to_nothing),
		cmocka_unit_test(a_death_is_an_answer),
		cmocka_unit_test(computing_has_a_limit),
		cmocka_unit_test(memory_has_a_limit),
		cmocka_unit_test(many_run_at_once),
		cmocka_unit_test(stop_ends_workers),
		cmocka_unit_test(lives_without_its_nursery),
		cmocka_unit_test(forks_on_after_a_death),
		cmocka_unit_test(answers_that_are_waited_for),
	};
	int code = worker_modes(argc, argv);

	return code >= 0 ? code : cmocka_run_group_tests(tests, set_up, tear_down);
}
