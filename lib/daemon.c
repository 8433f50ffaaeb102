// SPDX-License-Identifier: Apache-2.0
/*
 * daemon.c -- from main() to the loop and back, the same way for every daemon.
 *
 * Everything that needs root happens before priv_drop(): the order of run() is the order of
 * power given up.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "lib/daemon.h"
#include "lib/log.h"

#define EXIT_USAGE   2
#define ACTION	     256 /* long options without a letter */
#define DEFAULT_USER "weir" /* when started as root and the file names nobody */

struct options {
	const char *path;
	bool check, verbose, json;
	int action; /* -1: none */
};

static void print_help(const struct daemon_program *p)
{
	printf("%s: %s\n\n"
	       "usage: %s [-c FILE] [-n] [-v]\n\n"
	       "  -c, --config FILE   the configuration (default " CONF_DEFAULT_PATH ")\n"
	       "  -n, --check         check the configuration and end\n"
	       "  -v, --verbose       log everything, whatever `log:` says\n"
	       "  -V, --version       print the version and end\n"
	       "  -h, --help          print this and end\n",
	       p->name, p->summary, p->name);
	for (int i = 0; p->actions[i].name; i++)
		printf("      --%-15s %s%s\n", p->actions[i].name, p->actions[i].help,
		       p->actions[i].has_json ? "; with --json as JSON" : "");
	if (p->also)
		fputs(p->also, stdout);
	printf("\nSignals: HUP loads the configuration again, TERM and INT end.\n"
	       "Exit: 0 fine, 1 failed, 2 wrong use or configuration.\n"
	       "Example: %s -n -c examples/one-box.yaml\n",
	       p->name);
}

/* Returns -1 to go on, else the exit code. */
static int check_options(const struct daemon_program *p, int argc, char **argv, const struct options *opt)
{
	if (optind < argc)
		fprintf(stderr, "%s: \"%s\" is not an option; %s -h shows them\n", p->name, argv[optind], p->name);
	else if (opt->json && (opt->action < 0 || !p->actions[opt->action].has_json))
		fprintf(stderr, "%s: --json goes with an option that prints a table; %s -h shows which\n", p->name, p->name);
	else
		return -1;
	return EXIT_USAGE;
}

/* Returns -1 to go on, else the exit code. */
static int parse_options(const struct daemon_program *p, int argc, char **argv, struct options *opt)
{
	struct option longs[6 + DAEMON_ACTIONS + 1] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
	};
	int c;

	opt->action = -1;
	for (int i = 0; p->actions[i].name; i++)
		longs[6 + i] = (struct option){ p->actions[i].name, no_argument, NULL, ACTION + i };

	while ((c = getopt_long(argc, argv, "c:nvVh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			opt->path = optarg;
			break;
		case 'n':
			opt->check = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'j':
			opt->json = true;
			break;
		case 'V':
			printf("%s %s\n", p->name, WEIR_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			print_help(p);
			return EXIT_SUCCESS;
		default:
			if (c >= ACTION) {
				opt->action = c - ACTION;
				break;
			}
			fprintf(stderr, "%s -h shows the options\n", p->name);
			return EXIT_USAGE;
		}
	}
	return check_options(p, argc, argv, opt);
}

/* Loads, or says every fault. 0 or -errno. */
static int load(const struct daemon_program *p, const char *path, struct conf **out)
{
	int err = conf_load(out, path, stderr);

	if (err || p->enabled(*out))
		return err;
	fprintf(stderr,
		"%s:1: %s: there is no section for %s; add it, or do not start this program\n",
		path, strcmp(p->role, "registry") ? p->role : "registry_server", p->name);
	conf_free(*out);
	return -EINVAL;
}

static int find_user(struct daemon *d)
{
	const char *name = d->conf->user ? d->conf->user : DEFAULT_USER;
	int err;

	if (geteuid() != 0) {
		d->user = (struct priv_user){ geteuid(), getegid() };
		return 0;
	}
	err = priv_user_find(&d->user, name);
	if (err && !d->conf->user)
		log_error("%s: user is missing, and there is no user %s; add \"user: NAME\" (or a "
			  "number) for the user "
			  "to become after the start as root",
			  d->conf->path, DEFAULT_USER);
	else if (err)
		log_error("%s: user: there is no user %s (%s); make it with `adduser --system`, or "
			  "name another",
			  d->conf->path, name, strerror(-err));
	return err;
}

static int make_folder(const struct daemon *d, const char *path, mode_t mode)
{
	int err = priv_folder(path, &d->user, mode);

	if (err)
		log_error("cannot make the folder %s: %s; make it for user %u, or set `state:` and "
			  "`run:`",
			  path, strerror(-err), d->user.uid);
	return err;
}

static int make_folders(const struct daemon *d)
{
	char own[PATH_MAX];
	int err;

	err = make_folder(d, d->conf->run, 0755);
	if (!err)
		err = make_folder(d, d->conf->state, 0750);
	if (!err)
		err = make_folder(d, conf_state_path(d->conf, d->role, own, sizeof(own)), 0700);
	return err;
}

/* A socket that answers belongs to a daemon that runs: it must not be taken away from it. */
static bool runs_already(const char *path)
{
	json_t *request = json_pack("{s:s}", "do", "status"), *answer = NULL;
	int err = ctl_call(path, request, &answer, 500);

	json_decref(request);
	json_decref(answer);
	return err != -ENOENT && err != -ECONNREFUSED && err != -ENOTSOCK;
}

static int bind_ctl(struct daemon *d)
{
	char path[PATH_MAX];
	int err;

	conf_ctl_path(d->conf, d->role, path, sizeof(path));
	if (runs_already(path)) {
		log_error("%s runs already: %s is in use; stop it first, or give this node its own "
			  "`run:`",
			  d->program->name, path);
		return -EADDRINUSE;
	}
	err = ctl_bind(&d->ctl, path, d->user.uid);
	if (err == -EACCES || err == -EPERM)
		log_error("cannot listen on %s: %s; start %s as root, or give that folder to user %u", path,
			  strerror(-err), d->program->name, geteuid());
	else if (err)
		log_error(
			"cannot listen on %s: %s; check the folder's owner%s", path, strerror(-err),
			err == -ENAMETOOLONG ? " and use a shorter `run:` (107 bytes in all)" : "");
	return err;
}

static json_t *command_status(void *arg, const json_t *request, char *err, size_t err_len)
{
	json_t *answer = daemon_status_now(arg);

	(void)request;
	if (!answer)
		snprintf(err, err_len, "out of memory");
	return answer;
}

static json_t *command_reload(void *arg, const json_t *request, char *err, size_t err_len)
{
	(void)request;
	return daemon_reload(arg, err, err_len) ? NULL : json_object();
}

static int gather_commands(struct daemon *d)
{
	const struct ctl_command *own = d->program->commands;
	size_t n = 0;

	while (own && own[n].name)
		n++;
	d->commands = calloc(n + 3, sizeof(*d->commands));
	if (!d->commands)
		return -ENOMEM;
	d->commands[0] = (struct ctl_command){ "status", command_status };
	d->commands[1] = (struct ctl_command){ "reload", command_reload };
	if (n)
		memcpy(d->commands + 2, own, n * sizeof(*own));
	return 0;
}

static void on_reload(void *arg)
{
	struct daemon *d = arg;
	char err[512];

	if (d->draining)
		return;
	sd_notify(0, "RELOADING=1");
	daemon_reload(d, err, sizeof(err));
	sd_notify(0, "READY=1");
}

bool daemon_has_successor(void)
{
	const char *value = getenv("WEIR_SUCCESSOR");

	return value && !strcmp(value, "1");
}

void daemon_give_way(struct daemon *d)
{
	ctl_free(d->ctl);
	d->ctl = NULL;
	sd_notify(0, "X_WEIR_GIVES_WAY=1");
}

static void on_stop(void *arg)
{
	struct daemon *d = arg;

	d->draining = true;
	sd_notify(0, "STOPPING=1");
	log_info("ends when what runs has ended; a second signal ends it at once");
	d->program->drain(d);
}

/* All that needs no configured rights: tables, loop, metrics. */
static int make_parts(struct daemon *d)
{
	int err = loop_new(&d->loop);

	if (!err)
		err = metrics_new(&d->metrics);
	if (!err)
		err = metrics_add_process(d->metrics, d->program->name);
	if (!err)
		err = gather_commands(d);
	if (err)
		log_error("cannot start: %s", strerror(-err));
	return err;
}

static int open_registry(struct daemon *d)
{
	int err;

	/* An origin knows its edges alone: no registry is in its reach. */
	if (!strcmp(d->role, "registry") || !strcmp(d->role, "origin"))
		return 0;
	err = registry_open(&d->registry, &d->conf->registry);
	if (err)
		log_error("registry: %s", registry_error());
	return err;
}

static int drop(struct daemon *d)
{
	int err = priv_drop(&d->user, d->program->keep, d->program->profile);

	if (err)
		log_error("cannot give up privileges for user %u: %s", d->user.uid, strerror(-err));
	return err;
}

/* From the loaded configuration to the running loop. 0 or -errno; what fails says why. */
static int prepare_and_start(struct daemon *d)
{
	int err = make_parts(d);

	if (!err)
		err = find_user(d);
	if (!err)
		err = make_folders(d);
	if (!err)
		err = bind_ctl(d);
	if (!err)
		err = open_registry(d);
	if (!err && d->program->prepare)
		err = d->program->prepare(d);
	if (!err)
		err = drop(d);
	if (!err)
		d->began = true;
	if (!err && d->program->start)
		err = d->program->start(d);
	if (err)
		return err;
	err = ctl_serve(d->ctl, d->loop, d->commands, d);
	if (err)
		log_error("control socket: %s", strerror(-err));
	return err;
}

static void release(struct daemon *d)
{
	ctl_free(d->ctl);
	registry_close(d->registry);
	metrics_free(d->metrics);
	loop_free(d->loop);
	free(d->commands);
	conf_free(d->conf);
}

static int run(const struct daemon_program *program, struct conf *conf, bool verbose)
{
	struct daemon d = {
		.role = program->role, .conf = conf, .program = program, .verbose = verbose
	};
	struct timespec ts;
	int code, err;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	d.started_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	err = prepare_and_start(&d);
	if (err && d.began) {
		/* Threads of the program may run and hold what release() frees: only the socket is
		 * removed. */
		ctl_free(d.ctl);
	} else if (err) {
		release(&d);
	}
	if (err)
		return err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	loop_on_reload(d.loop, on_reload, &d);
	if (program->drain)
		loop_on_stop(d.loop, on_stop, &d);
	log_info("%s runs as node %s of site %s", WEIR_VERSION, conf->node, conf->site);
	code = loop_run(d.loop);
	sd_notify(0, "STOPPING=1");
	if (program->stop)
		program->stop(&d);
	release(&d);
	log_info("ended");
	return code;
}

int daemon_main(const struct daemon_program *program, int argc, char **argv)
{
	struct options opt = { .path = CONF_DEFAULT_PATH };
	struct conf *conf = NULL;
	int code;

	code = parse_options(program, argc, argv, &opt);
	if (code >= 0)
		return code;
	log_open(program->name, LOG_LEVEL_INFO);
	if (load(program, opt.path, &conf))
		return EXIT_USAGE;
	if (opt.check) {
		code = program->check && program->check(conf) ? EXIT_USAGE : EXIT_SUCCESS;
		if (code == EXIT_SUCCESS)
			printf("%s: fine\n", opt.path);
		conf_free(conf);
		return code;
	}
	log_level_set(opt.verbose ? LOG_LEVEL_DEBUG : conf->log_level);
	if (opt.action >= 0) {
		code = program->actions[opt.action].run(conf, opt.json);
		conf_free(conf);
		return code;
	}
	return run(program, conf, opt.verbose);
}
