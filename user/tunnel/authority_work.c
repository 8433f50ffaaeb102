/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority_work.c -- what edges ask under enroll/, one after the other.
 *
 * A watch puts asks into a queue, one thread takes them out: it reads the tunnel, checks, signs,
 * and in one transaction burns the enrolment, notes the serial, answers and takes the ask away.
 * Because the ask and the tunnel are conditions of it, an ask is answered once, and a token is good
 * once, however many authorities run. While the registry is silent asks wait in the queue.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "user/tunnel/authority.h"

#define QUEUE_MAX   256
#define TRIES_MAX   16	  /* somebody changed the tunnel meanwhile */
#define RETRY_MS    250	  /* the registry did not answer */
#define ASK_LIFE_MS 30000 /* edges lease what they ask for as long */
#define PRUNE_MS    3600000

const char *const authority_outcome_words[AUTHORITY_OUTCOMES] = {
	"signed", "malformed", "tunnel", "closed", "expired", "secret", "csr",
};

struct ask {
	struct ask *next;
	char *id, *value;
	int64_t revision, lease;
	uint64_t since_ms;
};

struct authority {
	struct registry *reg;
	const struct signer *signer;
	struct reg_watch *watch;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under the lock */
	struct ask *first, **last;
	size_t n;
	uint64_t lifetime_us, counts[AUTHORITY_OUTCOMES];
	bool running, stopping;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void ask_free(struct ask *ask)
{
	if (ask && ask->value)
		explicit_bzero(ask->value, strlen(ask->value)); /* it holds the token's secret */
	if (ask) {
		free(ask->value);
		free(ask->id);
	}
	free(ask);
}

/* ---- the queue ---- */

/* Held: takes the ask with this id out, or returns NULL. */
static struct ask *unqueue(struct authority *a, const char *id)
{
	for (struct ask **at = &a->first; *at; at = &(*at)->next) {
		struct ask *ask = *at;

		if (strcmp(ask->id, id))
			continue;
		*at = ask->next;
		if (!ask->next)
			a->last = at;
		a->n--;
		return ask;
	}
	return NULL;
}

/* Held. */
static void enqueue(struct authority *a, struct ask *ask)
{
	ask->next = NULL;
	*a->last = ask;
	a->last = &ask->next;
	a->n++;
	pthread_cond_signal(&a->changed);
}

static void watched(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct authority *a = arg;
	const char *id = kv ? kv->key + strlen(REG_ENROLL) : NULL;
	struct ask *ask = NULL;
	bool full;

	if (event == REG_SYNCED)
		return;
	if (event == REG_PUT) {
		ask = calloc(1, sizeof(*ask));
		if (!ask)
			return;
		*ask = (struct ask){ .id = strdup(id),
				     .value = strdup(kv->value),
				     .revision = kv->mod_revision,
				     .lease = kv->lease,
				     .since_ms = now_ms() };
	}
	pthread_mutex_lock(&a->lock);
	ask_free(unqueue(a, id));
	full = a->n >= QUEUE_MAX;
	if (ask && ask->id && ask->value && !full) {
		enqueue(a, ask);
		ask = NULL;
	}
	pthread_mutex_unlock(&a->lock);
	if (ask && full)
		log_limited(LOG_LEVEL_WARN, 6,
			    "more than %d origins ask at once; some must ask again", QUEUE_MAX);
	ask_free(ask);
}

/* ---- one ask ---- */

/* What was decided, until it stands in the registry. */
struct verdict {
	enum authority_outcome outcome;
	char why[AUTHORITY_WHY_MAX]; /* for whoever asked */
	struct enroll_ask asked;
	struct tunnel tunnel;
	int64_t revision; /* of the tunnel */
	struct issued issued;
};

static void verdict_clear(struct verdict *v)
{
	enroll_ask_clear(&v->asked);
	tunnel_clear(&v->tunnel);
	free(v->issued.pem);
	memset(v, 0, sizeof(*v));
}

static int refuse(struct verdict *v, enum authority_outcome outcome, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct verdict *v, enum authority_outcome outcome, const char *fmt, ...)
{
	va_list ap;

	v->outcome = outcome;
	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
	return 0;
}

static int check_token(struct verdict *v)
{
	const char *name = v->tunnel.name;

	switch (tunnel_check_secret(&v->tunnel, v->asked.secret, time(NULL))) {
	case 0:
		return 0;
	case -ENOENT:
		refuse(v, AUTHORITY_CLOSED,
		       "no enrolment is open for tunnel %s: a token is good once; `weir tunnel "
		       "token "
		       "%s` makes another",
		       name, name);
		break;
	case -ETIME:
		refuse(v, AUTHORITY_EXPIRED,
		       "the token of tunnel %s has expired; `weir tunnel token %s` makes another",
		       name, name);
		break;
	default:
		refuse(v, AUTHORITY_SECRET, "this is not the token of tunnel %s that was made last",
		       name);
	}
	return -EACCES;
}

/* Fills the verdict with what the registry says now; 0, or the registry's error: not decided. */
static int judge(struct authority *a, const struct ask *ask, uint64_t lifetime_us,
		 struct verdict *v)
{
	char key[sizeof(REG_TUNNELS) + TUNNEL_NAME_MAX];
	struct reg_kv kv;
	int rc = enroll_ask_parse(&v->asked, ask->value);

	if (rc == -ENOMEM)
		return rc;
	if (rc)
		return refuse(v, AUTHORITY_MALFORMED, "the enrolment cannot be read");
	snprintf(key, sizeof(key), REG_TUNNELS "%s", v->asked.tunnel);
	rc = registry_get(a->reg, key, &kv);
	if (rc == -ENOENT)
		return refuse(v, AUTHORITY_TUNNEL, "there is no tunnel %s", v->asked.tunnel);
	if (rc)
		return rc;
	v->revision = kv.mod_revision;
	rc = tunnel_parse(&v->tunnel, kv.value);
	reg_kv_free(&kv);
	if (rc == -ENOMEM)
		return rc;
	if (rc || strcmp(v->tunnel.name, v->asked.tunnel))
		return refuse(v, AUTHORITY_TUNNEL, "what the registry holds for %s is no tunnel",
			      v->asked.tunnel);
	if (check_token(v))
		return 0;
	rc = signer_issue(a->signer, &v->tunnel, v->asked.csr, lifetime_us, &v->issued, v->why);
	if (rc)
		v->outcome = AUTHORITY_CSR;
	if (rc && rc != -EINVAL)
		log_error("tunnel %s: %s", v->tunnel.name, v->why);
	return 0;
}

/* The answer's value, the tunnel without its enrolment, the note of the serial. */
struct texts {
	char *answer, *tunnel, *issued;
};

static void texts_free(struct texts *t)
{
	free(t->answer);
	free(t->tunnel);
	free(t->issued);
}

static int texts_make(struct texts *t, struct verdict *v)
{
	json_t *o;

	if (v->outcome != AUTHORITY_SIGNED) {
		o = json_pack("{s:s, s:s}", "error", v->why, "cause",
			      authority_outcome_words[v->outcome]);
		t->answer = o ? json_dumps(o, JSON_COMPACT) : NULL;
		json_decref(o);
		return t->answer ? 0 : -ENOMEM;
	}
	o = json_pack("{s:s, s:s, s:I}", "cert", v->issued.pem, "serial", v->issued.serial, "until",
		      (json_int_t)v->issued.until);
	t->answer = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	o = json_pack("{s:I, s:I}", "at", (json_int_t)time(NULL), "until",
		      (json_int_t)v->issued.until);
	t->issued = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	v->tunnel.enroll_salt[0] = v->tunnel.enroll_hash[0] = '\0';
	v->tunnel.enroll_until = 0;
	t->tunnel = tunnel_format(&v->tunnel);
	return t->answer && t->issued && t->tunnel ? 0 : -ENOMEM;
}

/* The answer lives as long as the ask would have: an edge that died leaves nothing behind. */
static int commit(struct authority *a, const struct ask *ask, struct verdict *v)
{
	char enroll[sizeof(REG_ENROLL) + 128], enrolled[sizeof(REG_ENROLLED) + 128],
		tunnel[sizeof(REG_TUNNELS) + TUNNEL_NAME_MAX],
		issued[sizeof(REG_ISSUED) + TUNNEL_NAME_MAX + CERT_SERIAL_MAX];
	struct texts t = { NULL, NULL, NULL };
	int rc = texts_make(&t, v);
	struct reg_cond conds[] = { { enroll, ask->revision }, { tunnel, v->revision } };
	struct reg_change changes[] = { { enroll, NULL, 0 },
					{ enrolled, t.answer, ask->lease },
					{ tunnel, t.tunnel, 0 },
					{ issued, t.issued, 0 } };
	bool is_signed = v->outcome == AUTHORITY_SIGNED;

	snprintf(enroll, sizeof(enroll), REG_ENROLL "%.127s", ask->id);
	snprintf(enrolled, sizeof(enrolled), REG_ENROLLED "%.127s", ask->id);
	snprintf(tunnel, sizeof(tunnel), REG_TUNNELS "%s", v->asked.tunnel);
	snprintf(issued, sizeof(issued), REG_ISSUED "%s/%s", v->asked.tunnel, v->issued.serial);
	if (!rc)
		rc = registry_txn(a->reg, conds, is_signed ? 2 : 1, changes, is_signed ? 4 : 2,
				  NULL);
	texts_free(&t);
	return rc;
}

/* Is it still asked? An ask that another authority answered, or whose answer we did not hear of, is
 * not. */
static int still_asked(struct authority *a, const struct ask *ask)
{
	char key[sizeof(REG_ENROLL) + 128];
	struct reg_kv kv;
	int rc;

	snprintf(key, sizeof(key), REG_ENROLL "%.127s", ask->id);
	rc = registry_get(a->reg, key, &kv);
	if (rc)
		return rc;
	rc = kv.mod_revision == ask->revision ? 0 : -ENOENT;
	reg_kv_free(&kv);
	return rc;
}

static void count(struct authority *a, const struct verdict *v)
{
	pthread_mutex_lock(&a->lock);
	a->counts[v->outcome]++;
	pthread_mutex_unlock(&a->lock);
	if (v->outcome == AUTHORITY_SIGNED)
		log_info("signed certificate %s for an origin of tunnel %s", v->issued.serial,
			 v->tunnel.name);
	else
		log_limited(LOG_LEVEL_WARN, 30, "refused an origin%s%s: %s",
			    *v->asked.tunnel ? " of tunnel " : "", v->asked.tunnel, v->why);
}

/* 0: answered (by whomever), or the registry's error: ask again later. */
static int answer(struct authority *a, const struct ask *ask, uint64_t lifetime_us)
{
	struct verdict *v = calloc(1, sizeof(*v));
	int rc = v ? -EAGAIN : -ENOMEM;

	for (int i = 0; rc == -EAGAIN && i < TRIES_MAX; i++) {
		verdict_clear(v);
		rc = still_asked(a, ask);
		if (rc)
			break;
		rc = judge(a, ask, lifetime_us, v);
		if (!rc)
			rc = commit(a, ask, v);
		if (!rc)
			count(a, v);
	}
	if (v)
		verdict_clear(v);
	free(v);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- the thread ---- */

/* Held: waits for the time, or until something changed. */
static void rest(struct authority *a, unsigned int ms)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);

	pthread_cond_timedwait(&a->changed, &a->lock, &until);
}

/* Held; lets the lock go while it works. */
static void take_one(struct authority *a)
{
	struct ask *ask = unqueue(a, a->first->id);
	uint64_t lifetime_us = a->lifetime_us;
	int rc;

	pthread_mutex_unlock(&a->lock);
	rc = answer(a, ask, lifetime_us);
	if (rc)
		log_limited(LOG_LEVEL_WARN, 6, "an origin's enrolment waits: %s", registry_error());
	pthread_mutex_lock(&a->lock);
	if (rc && now_ms() - ask->since_ms < ASK_LIFE_MS && !a->stopping) {
		enqueue(a, ask);
		rest(a, RETRY_MS);
	} else {
		ask_free(ask);
	}
}

static void *work(void *arg)
{
	struct authority *a = arg;
	uint64_t next_prune = now_ms();
	size_t n;

	pthread_mutex_lock(&a->lock);
	while (!a->stopping) {
		uint64_t now = now_ms();

		if (a->first) {
			take_one(a);
		} else if (now >= next_prune) {
			pthread_mutex_unlock(&a->lock);
			if (!authority_prune(a->reg, time(NULL), &n) && n)
				log_info("forgot %zu certificates that have expired", n);
			pthread_mutex_lock(&a->lock);
			next_prune = now + PRUNE_MS;
		} else {
			rest(a, (unsigned int)(next_prune - now));
		}
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static int prune_prefix(struct registry *reg, const char *prefix, int64_t now, size_t *n)
{
	struct reg_kv *kvs = NULL;
	size_t nkvs = 0;
	int rc = registry_list(reg, prefix, &kvs, &nkvs, NULL);

	for (size_t i = 0; !rc && i < nkvs; i++) {
		json_t *o = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);
		int64_t until = json_integer_value(json_object_get(o, "until"));

		json_decref(o);
		/* without an end it stays: it may be a certificate that we do not know */
		if (!until || until > now)
			continue;
		rc = registry_delete(reg, kvs[i].key);
		if (rc == -ENOENT)
			rc = 0;
		*n += !rc;
	}
	reg_kv_list_free(kvs, nkvs);
	return rc;
}

int authority_prune(struct registry *reg, int64_t now, size_t *n)
{
	int rc;

	*n = 0;
	rc = prune_prefix(reg, REG_REVOKED, now, n);
	return rc ? rc : prune_prefix(reg, REG_ISSUED, now, n);
}

/* ---- outside ---- */

int authority_open(struct authority **out, struct registry *reg, const struct signer *signer,
		   uint64_t lifetime_us)
{
	struct authority *a = calloc(1, sizeof(*a));
	pthread_condattr_t attr;
	int rc;

	if (!a)
		return -ENOMEM;
	a->reg = reg;
	a->signer = signer;
	a->lifetime_us = lifetime_us;
	a->last = &a->first;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = -pthread_create(&a->thread, NULL, work, a);
	a->running = !rc;
	if (!rc)
		rc = registry_watch(reg, &a->watch, REG_ENROLL, watched, a);
	if (rc)
		authority_close(a);
	else
		*out = a;
	return rc;
}

void authority_close(struct authority *a)
{
	if (!a)
		return;
	registry_unwatch(a->watch);
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	if (a->running)
		pthread_join(a->thread, NULL);
	while (a->first)
		ask_free(unqueue(a, a->first->id));
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void authority_set_lifetime(struct authority *a, uint64_t lifetime_us)
{
	pthread_mutex_lock(&a->lock);
	a->lifetime_us = lifetime_us;
	pthread_mutex_unlock(&a->lock);
}

uint64_t authority_count(struct authority *a, enum authority_outcome outcome)
{
	uint64_t n;

	pthread_mutex_lock(&a->lock);
	n = a->counts[outcome];
	pthread_mutex_unlock(&a->lock);
	return n;
}

size_t authority_pending(struct authority *a)
{
	size_t n;

	pthread_mutex_lock(&a->lock);
	n = a->n;
	pthread_mutex_unlock(&a->lock);
	return n;
}
