/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c, nursery.c: foreign bytes are read by processes that can do next to nothing; one that dies is an answer, and
 * the program that started it goes on.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "http/upload/worker.h"

static struct nursery *nursery;

/* What one worker said, and whether it ended. */
struct heard {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int findings, progress, columns, types, opens;
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
static void __attribute__((unused)) await(struct heard *h, const unsigned int *counter, unsigned int n)
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
	};
	int code = worker_modes(argc, argv);

	return code >= 0 ? code : cmocka_run_group_tests(tests, set_up, tear_down);
}
