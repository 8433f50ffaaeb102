/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h -- what every daemon's main() does the same way: options, configuration, log, loop,
 * folders, control socket, privileges, readiness.
 *
 *	int main(int argc, char **argv)
 *	{
 *		static const struct daemon_program program = { "weir-endpoint", "endpoint", … };
 *		return daemon_main(&program, argc, argv);
 *	}
 */
#ifndef WEIR_DAEMON_H
#define WEIR_DAEMON_H

#include <stdbool.h>

#include "lib/conf.h"
#include "lib/ctl.h"
#include "lib/loop.h"
#include "lib/metrics.h"
#include "lib/priv.h"
#include "lib/registry.h"

#define WEIR_VERSION "0.1.0"

struct daemon {
	const char *role;
	struct conf *conf; /* replaced by a reload, on the main thread, before `reload` is called */
	struct loop *loop;
	struct metrics *metrics;
	/* Opened (files read) before privileges are dropped; NULL for weir-registry and origins. */
	struct registry *registry;
	struct priv_user user;
	void *state; /* the program's own */
	/* daemon.c's own: */
	const struct daemon_program *program;
	struct ctl *ctl;
	struct ctl_command *commands; /* status, reload and the program's */
	uint64_t started_us;	      /* CLOCK_MONOTONIC */
	bool began;		      /* start was called: threads may run */
	bool draining;		      /* drain was called */
	bool verbose;		      /* -v: the configured level of the log does not count */
};

#define DAEMON_ACTIONS 4

struct daemon_program {
	const char *name, *role, *summary;	  /* summary: one line for -h */
	bool (*enabled)(const struct conf *conf); /* is there a section for this role */
	enum priv_profile profile;
	const char *keep; /* capabilities kept, or NULL */
	/* In order: prepare (still privileged: bind sockets, read keys, fork helpers), drop, start
	 * (unprivileged; the loop runs after it), then on the way out stop. Each logs its own
	 * failure and returns 0 or -errno. start calls loop_notify_ready() when it serves, at once
	 * or later. */
	int (*prepare)(struct daemon *d);
	int (*start)(struct daemon *d);
	void (*stop)(struct daemon *d);
	/* The first SIGTERM or SIGINT: take no new work, and loop_quit() when what runs has ended or its
	 * time is over. A second signal ends the loop at once. NULL: the first one does. */
	void (*drain)(struct daemon *d);
	/* The new configuration is in d->conf, the old one in old until it returns. Non-zero: keep
	 * old. */
	int (*reload)(struct daemon *d, const struct conf *old);
	/* Adds the role's members to `status`. */
	void (*status)(struct daemon *d, json_t *answer);
	/* More than status and reload; may be NULL; arg is the daemon. */
	const struct ctl_command *commands;
	/* -n: more than weir.yaml itself to check (zone files); says the faults and returns 0 or
	 * -errno. May be NULL. */
	int (*check)(const struct conf *conf);
	/* Long options that each do one thing instead of running the daemon ("detach"), at most
	 * DAEMON_ACTIONS; an entry without a name ends them. run returns the exit code; as_json: JSON
	 * on standard output, what --json asks for where has_json. */
	struct {
		const char *name, *help;
		int (*run)(const struct conf *conf, bool as_json);
		bool has_json;
	} actions[DAEMON_ACTIONS + 1];
	/* What main() does before daemon_main(), as whole lines of the help; may be NULL. */
	const char *also;
};

/* The answer of `status` as the control socket gives it, a new reference or NULL without memory. On
 * the main thread only. */
json_t *daemon_status_now(struct daemon *d);

/* What SIGHUP and `reload` do: loads the file, calls program->reload, swaps; or keeps the old one,
 * logs every fault and writes the first into err. 0 or -errno. On the main thread only. */
int daemon_reload(struct daemon *d, char *err, size_t err_len);

/* Does somebody (`weir up`) start this process's successor while it drains? Then drain gives up what
 * only one process can have, and daemon_give_way() the control socket, and says so. */
bool daemon_has_successor(void);
void daemon_give_way(struct daemon *d);

/* Options -c -n -v -V -h; exit codes 0, 1, 2. */
int daemon_main(const struct daemon_program *program, int argc, char **argv);

#endif
