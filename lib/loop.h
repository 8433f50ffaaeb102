/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h -- the event loop of a daemon's main thread: sd-event with the few things that every
 * daemon does with it.
 *
 * One loop per program, owned by the main thread. SIGTERM, SIGINT and SIGUSR2 end loop_run() (or
 * call the stop function first); SIGHUP calls the reload function. loop_post() is the one way by
 * which another thread hands work to the main thread. Everything else of sd-event is used directly
 * through loop_event().
 */
#ifndef WEIR_LOOP_H
#define WEIR_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct loop;
typedef void loop_fn(void *arg);

/* Blocks SIGTERM, SIGINT, SIGUSR2, SIGHUP in the calling thread (call before making threads) and
 * ignores SIGPIPE. 0 or -errno. */
int loop_new(struct loop **out);
void loop_free(struct loop *loop); /* accepts NULL */
sd_event *loop_event(struct loop *loop);

void loop_on_reload(struct loop *loop, loop_fn *fn, void *arg);
/* fn is called by the first SIGTERM, SIGINT or SIGUSR2, and ends the loop by loop_quit(), then or
 * when what runs has ended. A second signal ends the loop at once. */
void loop_on_stop(struct loop *loop, loop_fn *fn, void *arg);
/* SIGUSR2 ended it: a restart, another process of the same takes over soon. */
bool loop_is_restart(const struct loop *loop);

/* Runs until loop_quit() or a signal; returns the exit code for main(). */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop, int code); /* from the main thread */

/* Thread-safe: fn(arg) runs soon on the main thread, in the order of the calls. 0 or -errno. */
int loop_post(struct loop *loop, loop_fn *fn, void *arg);

/* Calls fn every interval, each time with up to `jitter_us` added; the timer belongs to the loop
 * and lives as long, or until loop_timer_stop(). The first call comes after one interval. */
struct loop_timer;
int loop_every(struct loop *loop, struct loop_timer **out, uint64_t interval_us, uint64_t jitter_us,
	       loop_fn *fn, void *arg);
void loop_timer_stop(struct loop_timer *timer); /* accepts NULL */

/* Calls fn when fd has the epoll events asked for; removed with loop_fd_stop(), which does not
 * close fd. */
struct loop_fd;
typedef void loop_fd_fn(int fd, uint32_t revents, void *arg);
int loop_fd_add(struct loop *loop, struct loop_fd **out, int fd, uint32_t events, loop_fd_fn *fn,
		void *arg);
void loop_fd_stop(struct loop_fd *lf); /* accepts NULL */

/* Tells the service manager (or `weir up`) that this program serves. No effect without one. */
void loop_notify_ready(const char *status);

#endif
