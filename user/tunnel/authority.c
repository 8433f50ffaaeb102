/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.c -- `weir-tunnel authority`, the daemon: the key is read while privileged, into this
 * process alone; it has no listener but its control socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "lib/log.h"
#include "user/tunnel/authority.h"

#define LEASE_S 10

struct part {
	struct signer signer;
	struct authority *work;
	struct reg_lease *lease;
	struct metric *answers;
};

static bool enabled(const struct conf *conf)
{
	return conf->authority.enabled;
}

static int prepare(struct daemon *d)
{
	struct part *p = calloc(1, sizeof(*p));
	char why[512];
	int rc;

	if (!p)
		return -ENOMEM;
	d->state = p;
	prctl(PR_SET_DUMPABLE, 0); /* neither a core file nor ptrace(2) shows the key */
	rc = signer_read(&p->signer, d->conf->authority.folder, why, sizeof(why));
	if (rc)
		log_error("authority.folder: %s", why);
	return rc;
}

static int check(const struct conf *conf)
{
	struct signer s;
	char why[512];
	int rc = signer_read(&s, conf->authority.folder, why, sizeof(why));

	if (rc)
		fprintf(stderr, "%s: authority.folder: %s\n", conf->path, why);
	else
		signer_clear(&s);
	return rc;
}

static void collect(void *arg)
{
	struct part *p = arg;

	for (int i = 0; i < AUTHORITY_OUTCOMES; i++)
		metric_set(metric_series(p->answers, authority_outcome_words[i], NULL),
			   (double)authority_count(p->work, (enum authority_outcome)i));
}

static int start(struct daemon *d)
{
	struct part *p = d->state;
	int rc = authority_open(&p->work, d->registry, &p->signer, d->conf->authority.lifetime_us);

	if (!rc)
		rc = registry_lease(d->registry, &p->lease, LEASE_S, NULL, NULL);
	if (rc) {
		log_error("cannot watch the registry: %s", registry_error());
		return rc;
	}
	registry_announce(p->lease, d->conf, d->role, NULL);
	p->answers = metric_add(d->metrics, METRIC_COUNTER, "authority_answers_total",
				"What origins that asked for a certificate were told.", "answer");
	if (p->answers)
		metrics_on_collect(d->metrics, collect, p);
	loop_notify_ready("signs origins' certificates");
	return 0;
}

static int reload(struct daemon *d, const struct conf *old)
{
	struct part *p = d->state;

	if (strcmp(d->conf->authority.folder, old->authority.folder))
		log_warn(
			"authority.folder changes with a restart only: the key is not readable any "
			"more");
	authority_set_lifetime(p->work, d->conf->authority.lifetime_us);
	return 0;
}

static void status(struct daemon *d, json_t *answer)
{
	struct part *p = d->state;
	json_t *answers = json_object();
	uint64_t refused = 0;

	for (int i = 0; i < AUTHORITY_OUTCOMES; i++) {
		uint64_t n = authority_count(p->work, (enum authority_outcome)i);

		json_object_set_new(answers, authority_outcome_words[i],
				    json_integer((json_int_t)n));
		refused += i == AUTHORITY_SIGNED ? 0 : n;
	}
	json_object_set_new(answer, "signed",
			    json_integer((json_int_t)authority_count(p->work, AUTHORITY_SIGNED)));
	json_object_set_new(answer, "refused", json_integer((json_int_t)refused));
	json_object_set_new(answer, "waiting",
			    json_integer((json_int_t)authority_pending(p->work)));
	json_object_set_new(answer, "answers", answers);
}

static void stop(struct daemon *d)
{
	struct part *p = d->state;

	metrics_off_collect(d->metrics, collect, p);
	authority_close(p->work);
	registry_lease_end(p->lease, true);
	signer_clear(&p->signer);
	free(p);
}

const struct daemon_program authority_program = {
	.name = "weir-tunnel authority",
	.role = "authority",
	.summary = "signs the certificates of tunnels' origins, whom a token lets in once",
	.enabled = enabled,
	.profile = PRIV_NET,
	.prepare = prepare,
	.start = start,
	.stop = stop,
	.reload = reload,
	.status = status,
	.check = check,
};
