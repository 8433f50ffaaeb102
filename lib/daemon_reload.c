// SPDX-License-Identifier: Apache-2.0
/*
 * daemon_reload.c -- what a running daemon answers and does when asked: `status` and `reload`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/daemon.h"
#include "lib/log.h"

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

json_t *daemon_status_now(struct daemon *d)
{
	const char *registry = !d->registry			 ? "none"
			       : registry_reachable(d->registry) ? "ok"
								 : "silent";
	json_t *answer;

	answer = json_pack(
		"{s:s, s:s, s:s, s:s, s:i, s:I, s:s}", "node", d->conf->node, "site", d->conf->site,
		"role", d->role, "version", WEIR_VERSION, "pid", (int)getpid(), "uptime_s",
		(json_int_t)((now_us() - d->started_us) / 1000000), "registry", registry);
	if (answer && d->program->status)
		d->program->status(d, answer);
	return answer;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* What a running process cannot change; the key, or NULL. */
static const char *fixed_key(const struct conf *old, const struct conf *new)
{
	const struct {
		const char *key;
		const char *was, *is;
	} fixed[] = {
		{ "node", old->node, new->node },
		{ "site", old->site, new->site },
		{ "domain", old->domain, new->domain },
		{ "user", old->user, new->user },
		{ "state", old->state, new->state },
		{ "run", old->run, new->run },
		{ "registry.url", old->registry.url, new->registry.url },
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
		if (!same_text(fixed[i].was, fixed[i].is))
			return fixed[i].key;
	return NULL;
}

/* Each line of the faults into the log, the first into err. */
static void tell_faults(char *faults, char *err, size_t err_len)
{
	char *rest = faults, *line;

	snprintf(err, err_len, "%.*s", (int)strcspn(faults, "\n"), faults);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_error("%s", line);
}

/* The file as it is now. 0 and *out, or -errno with the reason said. */
static int load_new(struct daemon *d, struct conf **out, char *err, size_t err_len)
{
	char *faults = NULL;
	size_t len;
	FILE *f = open_memstream(&faults, &len);
	const char *fixed;
	int result;

	if (!f)
		return -ENOMEM;
	result = conf_load(out, d->conf->path, f);
	fclose(f);
	if (result) {
		tell_faults(faults, err, err_len);
		free(faults);
		return result;
	}
	free(faults);
	fixed = fixed_key(d->conf, *out);
	if (fixed)
		snprintf(err, err_len,
			 "%s: %s changes only with a restart; restart %s, or change it back",
			 d->conf->path, fixed, d->program->name);
	else if (!d->program->enabled(*out))
		snprintf(err, err_len,
			 "%s: there is no section for this program any more; stop %s, or add it "
			 "again",
			 d->conf->path, d->program->name);
	else
		return 0;
	log_error("%s", err);
	conf_free(*out);
	return -EINVAL;
}

int daemon_reload(struct daemon *d, char *err, size_t err_len)
{
	struct conf *new = NULL, *old = d->conf;
	int result;

	snprintf(err, err_len, "out of memory");
	result = load_new(d, &new, err, err_len);
	if (result) {
		log_error("reload: the running configuration is kept");
		return result;
	}
	if (!d->verbose)
		log_level_set(new->log_level);
	if (!d->program->reload) {
		/* The program may point into the old one: it stays. */
		conf_free(new);
		log_info("reload: the file is fine; but for the log level it counts from the next "
			 "start");
		return 0;
	}
	d->conf = new;
	result = d->program->reload(d, old);
	if (result) {
		d->conf = old;
		conf_free(new);
		if (!d->verbose)
			log_level_set(old->log_level);
		snprintf(err, err_len,
			 "%s could not take the new configuration (its log says why); the old one "
			 "is "
			 "kept",
			 d->program->name);
		log_error("reload: the running configuration is kept");
		return result;
	}
	conf_free(old);
	log_info("reload: %s counts now", d->conf->path);
	return 0;
}
