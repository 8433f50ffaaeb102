// SPDX-License-Identifier: Apache-2.0
/*
 * loop.c -- sd-event with the few things that every daemon does with it.
 *
 * Callbacks may stop their own timer or descriptor: nothing is touched after a callback returned.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/loop.h"

struct post {
	struct post *next;
	loop_fn *fn;
	void *arg;
};

struct loop_timer {
	struct loop *loop;
	struct loop_timer *prev, *next;
	sd_event_source *source;
	uint64_t interval_us, jitter_us;
	uint64_t base_us;       /* when the call was due, without the jitter */
	loop_fn *fn;
	void *arg;
};

struct loop_fd {
	struct loop *loop;
	struct loop_fd *prev, *next;
	sd_event_source *source;
	loop_fd_fn *fn;
	void *arg;
};

struct loop {
	sd_event *event;
	sd_event_source *posted;
	int eventfd;
	pthread_mutex_t lock;           /* for first, last */
	struct post *first, **last;
	struct loop_timer *timers;
	struct loop_fd *fds;
	loop_fn *reload, *stop;
	void *reload_arg, *stop_arg;
	bool restart;
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct loop *loop = arg;
	loop_fn *stop = loop->stop;

	(void)source;
	if (info->ssi_signo == SIGHUP) {
		if (loop->reload)
			loop->reload(loop->reload_arg);
		return 0;
	}
	loop->restart = info->ssi_signo == SIGUSR2;
	if (!stop)
		return sd_event_exit(loop->event, 0);
	loop->stop = NULL; /* the second signal ends at once */
	stop(loop->stop_arg);
	return 0;
}

static int on_posted(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct loop *loop = arg;
	struct post *post, *next;
	uint64_t count;

	(void)source, (void)revents;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	/* What these calls post themselves comes in the next round: others get their turn. */
	pthread_mutex_lock(&loop->lock);
	post = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	pthread_mutex_unlock(&loop->lock);
	for (; post; post = next) {
		next = post->next;
		post->fn(post->arg);
		free(post);
	}
	return 0;
}

static int add_sources(struct loop *loop)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGUSR2, SIGHUP };
	sigset_t set;
	int err;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaddset(&set, signals[i]);
	err = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (err)
		return err;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		err = sd_event_add_signal(loop->event, NULL, signals[i], on_signal, loop);
		if (err < 0)
			return err;
	}
	loop->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->eventfd < 0)
		return -errno;
	err = sd_event_add_io(loop->event, &loop->posted, loop->eventfd, EPOLLIN, on_posted, loop);
	return err < 0 ? err : 0;
}

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	loop->eventfd = -1;
	loop->last = &loop->first;
	pthread_mutex_init(&loop->lock, NULL);
	err = sd_event_new(&loop->event);
	if (err >= 0)
		err = add_sources(loop);
	if (err < 0) {
		loop_free(loop);
		return err;
	}
	*out = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	struct post *post, *next;

	if (!loop)
		return;
	while (loop->timers)
		loop_timer_stop(loop->timers);
	while (loop->fds)
		loop_fd_stop(loop->fds);
	sd_event_source_disable_unref(loop->posted);
	sd_event_unref(loop->event);
	for (post = loop->first; post; post = next) {
		next = post->next;
		free(post);
	}
	if (loop->eventfd >= 0)
		close(loop->eventfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

sd_event *loop_event(struct loop *loop)
{
	return loop->event;
}

void loop_on_reload(struct loop *loop, loop_fn *fn, void *arg)
{
	loop->reload = fn;
	loop->reload_arg = arg;
}

bool loop_is_restart(const struct loop *loop)
{
	return loop->restart;
}

void loop_on_stop(struct loop *loop, loop_fn *fn, void *arg)
{
	loop->stop = fn;
	loop->stop_arg = arg;
}

int loop_run(struct loop *loop)
{
	int code = sd_event_loop(loop->event);

	return code < 0 ? EXIT_FAILURE : code;
}

void loop_quit(struct loop *loop, int code)
{
	sd_event_exit(loop->event, code);
}

int loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
	struct post *post = malloc(sizeof(*post));
	uint64_t one = 1;

	if (!post)
		return -ENOMEM;
	*post = (struct post){ NULL, fn, arg };
	pthread_mutex_lock(&loop->lock);
	*loop->last = post;
	loop->last = &post->next;
	pthread_mutex_unlock(&loop->lock);
	/* Full (EAGAIN) means that the loop is already being woken. */
	if (write(loop->eventfd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

static uint64_t jitter(uint64_t max_us)
{
	uint64_t r;

	if (!max_us)
		return 0;
	random_bytes(&r, sizeof(r));
	return r % (max_us + 1);
}

static int on_timer(sd_event_source *source, uint64_t due_us, void *arg)
{
	struct loop_timer *timer = arg;
	uint64_t now;

	(void)due_us;
	sd_event_now(timer->loop->event, CLOCK_MONOTONIC, &now);
	timer->base_us += timer->interval_us;
	if (timer->base_us < now) /* stopped or starved: the missed calls are not made up for */
		timer->base_us = now + timer->interval_us;
	sd_event_source_set_time(source, timer->base_us + jitter(timer->jitter_us));
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	timer->fn(timer->arg);
	return 0;
}

int loop_every(struct loop *loop, struct loop_timer **out, uint64_t interval_us,
	       uint64_t jitter_us, loop_fn *fn, void *arg)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));
	uint64_t now;
	int err;

	if (!timer)
		return -ENOMEM;
	sd_event_now(loop->event, CLOCK_MONOTONIC, &now);
	*timer = (struct loop_timer){ .loop = loop, .interval_us = interval_us,
				      .jitter_us = jitter_us, .base_us = now + interval_us,
				      .fn = fn, .arg = arg };
	/* sd-event would otherwise round by up to 250 ms to save wake-ups. */
	err = sd_event_add_time(loop->event, &timer->source, CLOCK_MONOTONIC,
				timer->base_us + jitter(jitter_us), 1000, on_timer, timer);
	if (err < 0) {
		free(timer);
		return err;
	}
	timer->next = loop->timers;
	if (timer->next)
		timer->next->prev = timer;
	loop->timers = timer;
	if (out)
		*out = timer;
	return 0;
}

void loop_timer_stop(struct loop_timer *timer)
{
	if (!timer)
		return;
	if (timer->next)
		timer->next->prev = timer->prev;
	if (timer->prev)
		timer->prev->next = timer->next;
	else
		timer->loop->timers = timer->next;
	sd_event_source_disable_unref(timer->source);
	free(timer);
}

static int on_fd(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct loop_fd *lf = arg;

	(void)source;
	lf->fn(fd, revents, lf->arg);
	return 0;
}

int loop_fd_add(struct loop *loop, struct loop_fd **out, int fd, uint32_t events,
		loop_fd_fn *fn, void *arg)
{
	struct loop_fd *lf = calloc(1, sizeof(*lf));
	int err;

	if (!lf)
		return -ENOMEM;
	*lf = (struct loop_fd){ .loop = loop, .fn = fn, .arg = arg };
	err = sd_event_add_io(loop->event, &lf->source, fd, events, on_fd, lf);
	if (err < 0) {
		free(lf);
		return err;
	}
	lf->next = loop->fds;
	if (lf->next)
		lf->next->prev = lf;
	loop->fds = lf;
	if (out)
		*out = lf;
	return 0;
}

void loop_fd_stop(struct loop_fd *lf)
{
	if (!lf)
		return;
	if (lf->next)
		lf->next->prev = lf->prev;
	if (lf->prev)
		lf->prev->next = lf->next;
	else
		lf->loop->fds = lf->next;
	sd_event_source_disable_unref(lf->source);
	free(lf);
}

void loop_notify_ready(const char *status)
{
	sd_notifyf(0, "READY=1\nSTATUS=%s", status ? status : "serving");
}
