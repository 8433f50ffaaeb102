/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c -- see daemon.h: what every daemon's main() does the same way.
 */
#include "lib/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"

#define DEFAULT_USER "weir"
#define COMMANDS_MAX 16

/* The one daemon of this process, with what the program need not see. */
struct running {
	struct daemon d;
	const struct daemon_program *program;
	const char *path;
	bool verbose;
	struct timespec begun;
	struct ctl *ctl;
	struct ctl_command commands[COMMANDS_MAX];
};

static struct running self;

/* ---- options --------------------------------------------------------------------------------- */

struct options { const char *path; bool check, verbose, action; };

static void print_help(const struct daemon_program *p)
{
	printf("usage: %s [-c FILE] [-nvVh]\n\n%s: %s.\n\n"
	       "  -c, --config FILE  configuration (default " CONF_DEFAULT_PATH ")\n"
	       "  -n, --check        only check the configuration\n"
	       "  -v, --verbose      more messages\n"
	       "  -V, --version      print the version\n"
	       "  -h, --help         print this\n", p->name, p->name, p->summary);
	if (p->action_name)
		printf("      --%-13s %s\n", p->action_name, p->action_help);
	printf("\nsignals: HUP reloads, TERM and INT end\nexample: %s -c /etc/weir/weir.yaml\n", p->name);
}

/* 0 go on, else 1 + the exit code. */
static int parse(const struct daemon_program *p, int argc, char **argv, struct options *o)
{
	const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'n' }, { "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' }, { "help", no_argument, NULL, 'h' },
		{ p->action_name, no_argument, NULL, 'A' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:nvVh", longs, NULL)) != -1)
		switch (c) {
		case 'c': o->path = optarg; break;
		case 'n': o->check = true; break;
		case 'v': o->verbose = true; break;
		case 'A': o->action = true; break;
		case 'V': printf("%s %s\n", p->name, WEIR_VERSION); return 1;
		case 'h': print_help(p); return 1;
		default: fprintf(stderr, "%s --help says what there is\n", p->name); return 3;
		}
	if (optind < argc) {
		fprintf(stderr, "%s: %s is too much; %s --help\n", p->name, argv[optind], p->name);
		return 3;
	}
	return 0;
}

/* ---- status and reload ----------------------------------------------------------------------- */

json_t *daemon_status_now(struct daemon *d)
{
	const char *registry = !d->registry ? "none" : registry_reachable(d->registry) ? "ok" : "silent";
	struct timespec now;
	json_t *answer;

	clock_gettime(CLOCK_MONOTONIC, &now);
	answer = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:s}", "node", d->conf->node, "site", d->conf->site, "role", d->role,
			   "version", WEIR_VERSION, "pid", (int)getpid(), "uptime_s", (json_int_t)(now.tv_sec - self.begun.tv_sec),
			   "registry", registry);
	if (answer && self.program->status)
		self.program->status(d, answer);
	return answer;
}

static json_t *ask_status(void *arg, const json_t *request, char *err, size_t err_len)
{
	(void)request, (void)err, (void)err_len;
	return daemon_status_now(arg);
}

static void log_faults(char *faults)
{
	char *save = NULL;

	for (char *line = strtok_r(faults, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_error("%s", line);
}

/* The new file whole, or the old configuration stays. faults: malloc'ed text of what was wrong. */
static int reload_now(struct running *r, char **faults)
{
	struct conf *old = r->d.conf, *new = NULL;
	size_t len = 0;
	FILE *out = open_memstream(faults, &len);
	int rc = conf_load(&new, r->path, out);

	if (!rc && !r->program->enabled(new)) {
		fprintf(out, "%s: the section of %s is gone\n", r->path, r->program->role);
		rc = -EINVAL;
	} else if (!rc && (strcmp(new->node, old->node) || strcmp(new->site, old->site) || strcmp(new->run, old->run) ||
			   strcmp(new->state, old->state))) {
		fprintf(out, "%s: node, site, run or state changed: that takes a restart\n", r->path);
		rc = -EINVAL;
	}
	fclose(out);
	if (!rc) {
		r->d.conf = new;
		new = NULL;
		log_level_set(r->verbose ? LOG_LEVEL_DEBUG : r->d.conf->log_level);
		rc = r->program->reload ? r->program->reload(&r->d, old) : 0;
		if (rc) {
			new = r->d.conf;
			r->d.conf = old;
			old = NULL;
		}
	} else {
		old = NULL;
	}
	conf_free(new);
	conf_free(old);
	return rc;
}

static json_t *ask_reload(void *arg, const json_t *request, char *err, size_t err_len)
{
	char *faults = NULL;
	int rc = reload_now(&self, &faults);

	(void)arg, (void)request;
	if (rc)
		snprintf(err, err_len, "the old configuration stays: %s", faults && *faults ? faults : strerror(-rc));
	else
		log_info("configuration reloaded");
	free(faults);
	return rc ? NULL : json_object();
}

static void on_hup(void *arg)
{
	char *faults = NULL;
	int rc;

	(void)arg;
	sd_notify(0, "RELOADING=1");
	rc = reload_now(&self, &faults);
	if (rc) {
		if (faults)
			log_faults(faults);
		log_error("the old configuration stays");
	} else {
		log_info("configuration reloaded");
	}
	free(faults);
	sd_notify(0, "READY=1");
}

/* ---- start and stop -------------------------------------------------------------------------- */

/* Root gives its power to a user; without root everything runs as whoever started it. */
static int find_user(struct running *r)
{
	const char *name = r->d.conf->user ? r->d.conf->user : DEFAULT_USER;
	int rc;

	r->d.user = (struct priv_user){ geteuid(), getegid() };
	if (geteuid())
		return 0;
	rc = priv_user_find(&r->d.user, name);
	if (rc)
		log_error("%s: user: there is no user %s to run as; make it (useradd --system %s) or name another", r->path, name, name);
	return rc;
}

static int make_folders(struct running *r)
{
	char state[PATH_MAX];
	int rc = priv_folder(r->d.conf->run, &r->d.user, 0755);

	if (rc) {
		log_error("run folder %s: %s", r->d.conf->run, strerror(-rc));
		return rc;
	}
	rc = priv_folder(r->d.conf->state, &r->d.user, 0755);
	if (!rc)
		rc = priv_folder(conf_state_path(r->d.conf, r->program->role, state, sizeof(state)), &r->d.user, 0700);
	if (rc)
		log_error("state folder of %s: %s", r->d.conf->state, strerror(-rc));
	return rc;
}

static int open_ctl(struct running *r)
{
	char path[PATH_MAX];
	int rc = ctl_bind(&r->ctl, conf_ctl_path(r->d.conf, r->program->role, path, sizeof(path)), r->d.user.uid);

	if (rc == -EADDRINUSE)
		log_error("%s: another %s runs already with this run folder", path, r->program->name);
	else if (rc)
		log_error("%s: cannot make the control socket: %s", path, strerror(-rc));
	return rc;
}

/* Everything that needs power; registry_open before, as its files may be root's. */
static int prepare(struct running *r)
{
	bool is_registry = !strcmp(r->program->role, "registry");
	int rc = find_user(r);

	if (!rc)
		rc = make_folders(r);
	if (!rc)
		rc = open_ctl(r);
	if (!rc)
		rc = metrics_new(&r->d.metrics);
	if (!rc)
		rc = metrics_add_process(r->d.metrics, r->program->name);
	if (!rc && !is_registry) {
		rc = registry_open(&r->d.registry, &r->d.conf->registry);
		if (rc)
			log_error("%s: registry: %s", r->path, registry_error());
	}
	if (!rc && r->program->prepare)
		rc = r->program->prepare(&r->d);
	return rc;
}

static int serve(struct running *r)
{
	size_t n = 0;
	int rc = priv_drop(&r->d.user, r->program->keep, r->program->profile);

	if (rc) {
		log_error("cannot give up privileges: %s", strerror(-rc));
		return rc;
	}
	r->commands[n++] = (struct ctl_command){ "status", ask_status };
	r->commands[n++] = (struct ctl_command){ "reload", ask_reload };
	for (const struct ctl_command *c = r->program->commands; c && c->name && n + 1 < COMMANDS_MAX; c++)
		r->commands[n++] = *c;
	loop_on_reload(r->d.loop, on_hup, r);
	rc = r->program->start ? r->program->start(&r->d) : 0;
	if (!rc)
		rc = ctl_serve(r->ctl, r->d.loop, r->commands, &r->d);
	return rc;
}

static void close_all(struct running *r)
{
	sd_notify(0, "STOPPING=1");
	if (r->program->stop)
		r->program->stop(&r->d);
	registry_close(r->d.registry);
	ctl_free(r->ctl);
	metrics_free(r->d.metrics);
	loop_free(r->d.loop);
	conf_free(r->d.conf);
}

static int run(struct running *r)
{
	int rc = loop_new(&r->d.loop), code = 1;

	if (rc) {
		log_error("cannot make an event loop: %s", strerror(-rc));
		conf_free(r->d.conf);
		return 1;
	}
	rc = prepare(r);
	if (!rc)
		rc = serve(r);
	if (!rc)
		code = loop_run(r->d.loop);
	else if (rc == -EINVAL)
		code = 2;
	close_all(r);
	return code;
}

int daemon_main(const struct daemon_program *program, int argc, char **argv)
{
	struct options o = { .path = CONF_DEFAULT_PATH };
	char path[PATH_MAX];
	int rc = parse(program, argc, argv, &o);

	if (rc)
		return rc - 1;
	log_open(program->name, o.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	self = (struct running){ .program = program, .verbose = o.verbose };
	self.path = realpath(o.path, path) ? path : o.path;
	self.d.role = program->role;
	clock_gettime(CLOCK_MONOTONIC, &self.begun);
	if (conf_load(&self.d.conf, self.path, stderr))
		return 2;
	if (!program->enabled(self.d.conf)) {
		log_error("%s: it has no section for %s (weir check --keys says what can stand there)", self.path, program->role);
		conf_free(self.d.conf);
		return 2;
	}
	if (o.check || o.action) {
		rc = o.action ? program->action(self.d.conf) : (printf("%s: fine\n", self.path), 0);
		conf_free(self.d.conf);
		return rc;
	}
	if (!o.verbose)
		log_level_set(self.d.conf->log_level);
	return run(&self);
}
