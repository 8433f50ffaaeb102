/* SPDX-License-Identifier: Apache-2.0 */
/* The packet path's loop: descriptors, timers, what is deferred, work on threads. */
#include "tests/unit/tunnel_io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

/* ---- descriptors ---- */

struct watch {
	struct reactor_io io;
	unsigned int in, out, hangup;
	struct watch *remove; /* in its first event */
};

static void on_watch(struct reactor_io *io, uint32_t events)
{
	struct watch *w = (struct watch *)io;

	w->in += !!(events & EPOLLIN);
	w->out += !!(events & EPOLLOUT);
	w->hangup += !!(events & EPOLLRDHUP);
	if (w->remove)
		reactor_remove(io_reactor, &w->remove->io);
	w->remove = NULL;
}

static void edges(void **state)
{
	struct watch w = { .io.fn = on_watch };
	int fd[2];
	char c;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	w.io.fd = fd[0];
	assert_int_equal(reactor_add(io_reactor, &w.io), 0);
	assert_int_equal(reactor_add(io_reactor, &w.io), -EEXIST);
	io_until(w.out == 1); /* once at the beginning */
	assert_int_equal(w.in, 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	io_until(w.in == 1);
	io_run_for(5); /* not read, but not told again */
	assert_int_equal(w.in, 1);
	assert_int_equal(write(fd[1], "y", 1), 1);
	io_until(w.in == 2);
	assert_int_equal(read(fd[0], &c, 1), 1);
	shutdown(fd[1], SHUT_WR);
	io_until(w.hangup == 1);
	reactor_remove(io_reactor, &w.io);
	close(fd[0]);
	close(fd[1]);
}

/* Both are ready in one batch; whichever comes first removes the other, which is not told then. */
static void removed_within_the_batch(void **state)
{
	struct watch w[2] = { { .io.fn = on_watch }, { .io.fn = on_watch } };

	(void)state;
	for (int i = 0; i < 2; i++) {
		w[i].io.fd = eventfd(1, EFD_NONBLOCK);
		w[i].remove = &w[!i];
		assert_int_equal(reactor_add(io_reactor, &w[i].io), 0);
	}
	io_until(w[0].in + w[1].in == 1);
	io_run_for(5);
	assert_int_equal(w[0].in + w[1].in, 1);
	for (int i = 0; i < 2; i++)
		close(w[i].io.fd);
}

/* ---- timers ---- */

struct alarm {
	struct reactor_timer timer;
	unsigned int fired;
	uint64_t at_us;
	struct alarm *stop, *again;
	uint64_t again_ms;
};

static unsigned int fired;

static void on_alarm(struct reactor_timer *t)
{
	struct alarm *a = (struct alarm *)t;

	fired++;
	a->fired++;
	a->at_us = reactor_now_us();
	if (a->stop)
		reactor_timer_stop(io_reactor, &a->stop->timer);
	if (a->again)
		reactor_timer_set(io_reactor, &a->again->timer, a->again_ms);
	a->again = NULL;
}

static void timers_fire_once_and_not_early(void **state)
{
	static const unsigned int delays[] = { 0, 1, 31, 32, 33, 64, 100, 150, 250 };
	struct alarm a[9] = { 0 };
	uint64_t began = reactor_now_us();

	(void)state;
	fired = 0;
	for (int i = 0; i < 9; i++) {
		a[i].timer.fn = on_alarm;
		reactor_timer_set(io_reactor, &a[i].timer, delays[i]);
	}
	io_until(fired == 9);
	io_run_for(80);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(a[i].fired, 1);
		assert_true(a[i].at_us / 1000 >= began / 1000 + delays[i]);
	}
}

static void timers_move_and_stop(void **state)
{
	struct alarm moved = { .timer.fn = on_alarm }, stopped = moved, last = moved;
	uint64_t began = reactor_now_us();

	(void)state;
	fired = 0;
	reactor_timer_stop(io_reactor, &stopped.timer); /* not set: no effect */
	reactor_timer_set(io_reactor, &moved.timer, 1);
	reactor_timer_set(io_reactor, &moved.timer, 150);
	reactor_timer_set(io_reactor, &stopped.timer, 40);
	reactor_timer_set(io_reactor, &last.timer, 250);
	reactor_timer_stop(io_reactor, &stopped.timer);
	io_until(last.fired);
	assert_int_equal(fired, 2);
	assert_true(moved.at_us - began >= 150000 - 1000);
	reactor_timer_set(io_reactor, &moved.timer, 10000);
	reactor_timer_set(io_reactor, &moved.timer, 1);
	io_until(moved.fired == 2);
}

/* Due in the same tick: one stops the other and sets a third, and itself. */
static void timers_within_timers(void **state)
{
	struct alarm one = { .timer.fn = on_alarm }, two = one, three = one, self = one;

	(void)state;
	fired = 0;
	one.stop = &two;
	two.stop = &one;
	self.again = &self;
	three.again = &self;
	three.again_ms = 1;
	reactor_timer_set(io_reactor, &one.timer, 20);
	reactor_timer_set(io_reactor, &two.timer, 20);
	reactor_timer_set(io_reactor, &self.timer, 20);
	io_until(one.fired + two.fired == 1 && self.fired == 2);
	reactor_timer_set(io_reactor, &three.timer, 0);
	io_until(self.fired == 3);
	assert_int_equal(one.fired + two.fired, 1);
}

/* Longer than a turn of the wheel (32.8 s): its slot comes up many times before. */
static void a_long_timer_waits(void **state)
{
	struct alarm far = { .timer.fn = on_alarm }, near = far;
	uint64_t turn_ms = 1024 * 32;

	(void)state;
	reactor_timer_set(io_reactor, &far.timer, turn_ms + 64);
	reactor_timer_set(io_reactor, &near.timer, 200); /* past far's slot */
	io_until(near.fired);
	assert_int_equal(far.fired, 0);
	assert_true(far.timer.at != NULL);
	reactor_timer_set(io_reactor, &far.timer, 30);
	io_until(far.fired == 1);
}

/* The clock of a batch is that of its beginning; set outside of one, a timer counts from now. */
static void timers_set_after_a_pause(void **state)
{
	struct alarm a = { .timer.fn = on_alarm };
	struct timespec pause = { .tv_nsec = 120000000 };
	uint64_t began;

	(void)state;
	io_run_for(1);
	nanosleep(&pause, NULL);
	began = reactor_now_us();
	reactor_timer_set(io_reactor, &a.timer, 100);
	io_until(a.fired);
	assert_true(a.at_us - began >= 99000);
}

/* ---- deferred ---- */

struct later {
	struct reactor_defer defer;
	unsigned int runs, letter; /* its letter in order[]; endless: no more */
	struct reactor_defer *cancel;
	struct later *queue;
};

static char order[16];

static void on_later(struct reactor_defer *d)
{
	struct later *l = (struct later *)d;

	l->runs++;
	order[strlen(order)] = (char)('a' + l->letter);
	if (l->cancel)
		reactor_defer_cancel(io_reactor, l->cancel);
	if (l->queue)
		reactor_defer(io_reactor, &l->queue->defer);
}

static void deferred_in_order_once(void **state)
{
	struct later a = { .defer.fn = on_later, .letter = 0 },
		     b = { .defer.fn = on_later, .letter = 1 },
		     c = { .defer.fn = on_later, .letter = 2 },
		     d = { .defer.fn = on_later, .letter = 3 };

	(void)state;
	memset(order, 0, sizeof(order));
	a.cancel = &c.defer;
	a.queue = &d;
	reactor_defer(io_reactor, &a.defer);
	reactor_defer(io_reactor, &b.defer);
	reactor_defer(io_reactor, &a.defer); /* is queued: once */
	reactor_defer(io_reactor, &c.defer);
	assert_int_equal(a.runs, 0); /* not before the loop runs */
	io_until(d.runs);
	assert_string_equal(order, "abd");
	assert_int_equal(c.runs, 0);
	reactor_defer(io_reactor, &d.defer);
	reactor_defer(io_reactor, &c.defer);
	reactor_defer_cancel(io_reactor, &c.defer); /* the last one of the queue */
	reactor_defer(io_reactor, &b.defer);
	io_until(b.runs == 2 && d.runs == 2);
	assert_int_equal(c.runs, 0);
}

static struct later endless;

static void on_endless(struct reactor_defer *d)
{
	endless.runs++;
	if (!endless.letter)
		reactor_defer(io_reactor, d);
}

static void count_posted(void *arg)
{
	++*(unsigned int *)arg;
}

/* One that defers itself for ever starves neither sockets nor timers nor the loop's own sources. */
static void deferred_for_ever(void **state)
{
	struct watch w = { .io = { .fn = on_watch, .fd = eventfd(1, EFD_NONBLOCK) } };
	struct alarm a = { .timer.fn = on_alarm };
	unsigned int posted = 0;

	(void)state;
	endless = (struct later){ .defer.fn = on_endless };
	reactor_defer(io_reactor, &endless.defer);
	assert_int_equal(reactor_add(io_reactor, &w.io), 0);
	reactor_timer_set(io_reactor, &a.timer, 1);
	assert_int_equal(loop_post(io_loop, count_posted, &posted), 0);
	io_until(w.in && a.fired && posted);
	assert_true(endless.runs > 1);
	endless.letter = 1; /* no more */
	io_until(!endless.defer.queued);
	reactor_remove(io_reactor, &w.io);
	close(w.io.fd);
}

/* ---- what lives on without an owner ---- */

static unsigned int lasts;

static void on_last(struct reactor_last *l)
{
	(void)l;
	lasts++;
}

static void last_of_all(void **state)
{
	struct reactor_last a = { .fn = on_last }, b = a;
	struct reactor *r;

	(void)state;
	lasts = 0;
	assert_int_equal(reactor_new(&r, io_loop), 0);
	reactor_last_add(r, &a);
	reactor_last_add(r, &a);
	reactor_last_add(r, &b);
	reactor_last_remove(&b);
	reactor_last_remove(&b);
	reactor_free(r);
	assert_int_equal(lasts, 1);
}

/* ---- work on threads ---- */

static atomic_uint working;
static unsigned int worked;
static pthread_t main_thread;
static pthread_barrier_t together;

static void work(void *arg)
{
	assert_false(pthread_equal(pthread_self(), main_thread));
	atomic_fetch_add(&working, 1);
	*(int *)arg += 1;
}

static void work_done(void *arg)
{
	assert_true(pthread_equal(pthread_self(), main_thread));
	*(int *)arg += 10;
	worked++;
}

static void meet(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&together);
}

static void count(void *arg)
{
	(void)arg;
	worked++;
}

static void work_on_threads(void **state)
{
	static int n[100];

	(void)state;
	worked = 0;
	main_thread = pthread_self();
	for (int i = 0; i < 100; i++)
		assert_int_equal(reactor_work(io_reactor, work, work_done, &n[i]), 0);
	io_until(worked == 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(n[i], 11);
	/* Several at once: each waits for the others. */
	worked = 0;
	pthread_barrier_init(&together, NULL, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(reactor_work(io_reactor, meet, count, NULL), 0);
	io_until(worked == 4);
	pthread_barrier_destroy(&together);
}

/* What runs is waited for, and not told. */
static void work_at_the_end(void **state)
{
	static int n[50];
	struct reactor *r;

	(void)state;
	worked = 0;
	atomic_store(&working, 0);
	assert_int_equal(reactor_new(&r, io_loop), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(reactor_work(r, work, work_done, &n[i]), 0);
	while (!atomic_load(&working))
		sched_yield();
	reactor_free(r);
	assert_true(atomic_load(&working) >= 1);
	assert_int_equal(worked, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, io_setup, io_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(edges),
		T(removed_within_the_batch),
		T(timers_fire_once_and_not_early),
		T(timers_move_and_stop),
		T(timers_within_timers),
		T(a_long_timer_waits),
		T(timers_set_after_a_pause),
		T(deferred_in_order_once),
		T(deferred_for_ever),
		T(last_of_all),
		T(work_on_threads),
		T(work_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
