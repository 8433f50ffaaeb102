// SPDX-License-Identifier: Apache-2.0
/* loop: posts from other threads in order, timers, descriptors, signals, stopping from inside. */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "lib/loop.h"
#include "tests/unit/unit.h"

static struct loop *loop;
static int seen[1000];
static unsigned int nseen;

static int make_loop(void **state)
{
	(void)state;
	nseen = 0;
	return loop_new(&loop);
}

static int drop_loop(void **state)
{
	(void)state;
	loop_free(loop);
	loop = NULL;
	return 0;
}

static void note(void *arg)
{
	seen[nseen++] = (int)(intptr_t)arg;
	if (nseen == 1000)
		loop_quit(loop, 7);
}

static void *post_all(void *arg)
{
	for (intptr_t i = 0; i < 1000; i++)
		if (loop_post(loop, note, (void *)i))
			return arg;
	return NULL;
}

static void posts_arrive_in_order(void **state)
{
	pthread_t thread;
	void *failed;

	(void)state;
	pthread_create(&thread, NULL, post_all, loop);
	assert_int_equal(loop_run(loop), 7);
	pthread_join(thread, &failed);
	assert_null(failed);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(seen[i], i);
}

static void posts_that_never_ran_are_freed(void **state)
{
	(void)state;
	assert_int_equal(loop_post(loop, note, NULL), 0);
}

static struct loop_timer *timer;
static struct timespec began;

static double elapsed_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - began.tv_sec) * 1e3 + (double)(now.tv_nsec - began.tv_nsec) / 1e6;
}

static void tick(void *arg)
{
	(void)arg;
	if (++nseen < 3)
		return;
	loop_timer_stop(timer); /* inside its own call */
	loop_quit(loop, 0);
}

static void a_timer_keeps_its_interval(void **state)
{
	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(loop_every(loop, &timer, 20000, 2000, tick, NULL), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(nseen, 3);
	assert_true(elapsed_ms() >= 60);
}

static struct loop_fd *watch;

static void readable(int fd, uint32_t revents, void *arg)
{
	char c;

	assert_true(revents & EPOLLIN);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_ptr_equal(arg, &watch);
	loop_fd_stop(watch);
	loop_quit(loop, c);
}

static void descriptors(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(loop_fd_add(loop, &watch, fds[0], EPOLLIN, readable, &watch), 0);
	assert_int_equal(write(fds[1], "*", 1), 1);
	assert_int_equal(loop_run(loop), '*');
	assert_int_equal(close(fds[0]), 0); /* was left open */
	close(fds[1]);
}

static void reload(void *arg)
{
	++*(int *)arg;
	kill(getpid(), SIGTERM);
}

static void signals(void **state)
{
	int reloads = 0;

	(void)state;
	loop_on_reload(loop, reload, &reloads);
	kill(getpid(), SIGHUP);
	assert_int_equal(loop_run(loop), 0); /* ended by SIGTERM */
	assert_int_equal(reloads, 1);
}

static void stop_later(void *arg)
{
	++*(int *)arg;
}

static void stop_now(void *arg)
{
	++*(int *)arg;
	loop_quit(loop, 3);
}

/* The stop function decides when, but a second signal does not wait for it. */
static void a_stop_may_wait(void **state)
{
	int stops = 0;

	(void)state;
	loop_on_stop(loop, stop_now, &stops);
	kill(getpid(), SIGTERM);
	assert_int_equal(loop_run(loop), 3);
	assert_int_equal(stops, 1);
	loop_free(loop);
	assert_int_equal(loop_new(&loop), 0);
	loop_on_stop(loop, stop_later, &stops);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGINT);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(stops, 2);
}

static void what_is_left_is_freed_with_the_loop(void **state)
{
	struct loop_timer *t;
	struct loop_fd *f;
	int fds[2];

	(void)state;
	assert_int_equal(loop_every(loop, &t, 1000000, 0, tick, NULL), 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(loop_fd_add(loop, &f, fds[0], EPOLLIN, readable, NULL), 0);
	loop_timer_stop(NULL);
	loop_fd_stop(NULL);
	loop_free(NULL);
	loop_free(loop);
	loop = NULL;
	close(fds[0]);
	close(fds[1]);
}

static void readiness_is_told(void **state)
{
	char folder[200], text[256] = "";
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.90s/notify", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
	loop_notify_ready("two zones");
	unsetenv("NOTIFY_SOCKET");
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_string_equal(text, "READY=1\nSTATUS=two zones");
	close(fd);
	unit_folder_remove(folder);
	loop_notify_ready(NULL); /* nobody listens: no effect */
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, make_loop, drop_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(posts_arrive_in_order), T(posts_that_never_ran_are_freed),
		T(a_timer_keeps_its_interval), T(descriptors), T(signals), T(a_stop_may_wait),
		T(what_is_left_is_freed_with_the_loop), T(readiness_is_told),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
