/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator.c -- the owner's half as others call it (coordinator.h): one lock around the record, what is to be said
 * queued under it and said without it. A tick works in slices of a few milliseconds and lets announces in between.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/media.h"
#include "http/peers/record.h"
#include "lib/hash.h"

#define GROUP_EVERY_MS 2000   /* when nothing changed but what viewers report */
#define GROUP_SHARE    4      /* a run may take a quarter of a core at most */
#define MATCH_MS       3000   /* between two looks at a viewer's links */
#define MEDIA_MISS_MS  2000   /* between two questions for a list that was not there */
#define MEDIA_MS       60000  /* … and for a newer one */
#define EMPTY_MS       60000  /* an asset that nobody watches is kept so long */
#define SLICE_S	       0.001  /* of a tick, before others get the lock … */
#define PAUSE_NS       1000000 /* … for so long, when they wait for it */
#define HOLD_SLICES    8      /* of a tick, for portions */
#define LEAVE_AT_ONCE  64     /* viewers of a gateway that died: under a millisecond */
#define SAY_ROUNDS     8      /* what others left meanwhile is said by the same thread so many times */
#define SET_BACK_MS    2000   /* threads come with times that differ by less */
#define REPORTS_MAX    3000   /* per second of one asset: more viewers report less often */

static void options_take(struct coordinator_options *to, const struct coordinator_options *from)
{
	*to = *from;
	to->ahead_ms = to->ahead_ms ? to->ahead_ms : 60000;
	to->copies = to->copies ? to->copies : 2;
	to->report_ms = to->report_ms ? to->report_ms : 2000;
	to->group.copies = to->group.copies ? to->group.copies : to->copies;
	to->viewers_max = to->viewers_max ? to->viewers_max : 100000;
	to->offers_bytes = to->offers_bytes ? to->offers_bytes : 64 << 20;
}

int coordinator_new(struct coordinator **out, const struct coordinator_options *opt)
{
	struct coordinator *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	options_take(&c->opt, opt);
	random_bytes(&c->seed, sizeof(c->seed));
	pthread_mutex_init(&c->lock, NULL);
	TAILQ_INIT(&c->kept);
	STAILQ_INIT(&c->out);
	STAILQ_INIT(&c->out_tick);
	*out = c;
	return 0;
}

static void say_nothing(struct outgoing_list *list)
{
	struct outgoing *o;

	while ((o = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, list);
		free(o->text);
		free(o);
	}
}

void coordinator_free(struct coordinator *c)
{
	if (!c)
		return;
	for (size_t i = 0; c->assets.slots && i <= c->assets.mask; i++)
		while (c->assets.slots[i])
			record_asset_free(c, (struct asset *)c->assets.slots[i]);
	for (struct switched *s = c->switches, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	say_nothing(&c->out);
	say_nothing(&c->out_tick);
	free(c->assets.slots);
	free(c->viewers.slots);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

double coordinator_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double coordinator_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what is said ---- */
void coordinator_say(struct coordinator *c, int home, enum peers_down kind, const char *viewer, char *text)
{
	struct outgoing *o = text ? malloc(sizeof(*o)) : NULL;

	if (!o) {
		free(text);
		return;
	}
	o->kind = kind;
	o->home = (uint8_t)home;
	memcpy(o->viewer, viewer, sizeof(o->viewer));
	o->text = text;
	STAILQ_INSERT_TAIL(c->ticking ? &c->out_tick : &c->out, o, list);
}

/* Not the tick: it sees by this that somebody waits. */
static void lock(struct coordinator *c)
{
	c->waiting++;
	pthread_mutex_lock(&c->lock);
	c->waiting--;
}

/* Says what is queued, and what comes meanwhile, in so many rounds, without the lock, which is held again after. */
static void say_all(struct coordinator *c, struct outgoing_list *list, unsigned int rounds)
{
	struct coordinator_options opt = c->opt;
	struct outgoing_list now = STAILQ_HEAD_INITIALIZER(now);
	char homes[RECORD_HOMES][sizeof(c->homes[0])];
	struct outgoing *o;

	while (!STAILQ_EMPTY(list) && rounds--) {
		STAILQ_CONCAT(&now, list);
		memcpy(homes, c->homes, sizeof(homes)); /* a name may become another's */
		pthread_mutex_unlock(&c->lock);
		while ((o = STAILQ_FIRST(&now))) {
			STAILQ_REMOVE_HEAD(&now, list);
			if (opt.down)
				opt.down(opt.arg, homes[o->home], o->kind, o->viewer, o->text);
			free(o->text);
			free(o);
		}
		pthread_mutex_lock(&c->lock);
	}
}

/* Whoever comes while another says things leaves its own to that one: not for ever, it has connections of its own to see to. What
 * is left then is said by the next who comes, or by the tick. */
static void unlock_and_say(struct coordinator *c)
{
	if (!c->draining) {
		c->draining = true;
		say_all(c, &c->out, SAY_ROUNDS);
		c->draining = false;
	}
	pthread_mutex_unlock(&c->lock);
}

/* Unix time jumps when the clock is set right. Were it set back, all that is known would lie in the future, and who was just
 * heard, asked, grouped would be left alone for so long: time goes on from where it was. */
static int64_t time_take(struct coordinator *c, int64_t now_ms)
{
	if (now_ms + c->back_ms < c->now_ms - SET_BACK_MS)
		c->back_ms = c->now_ms - now_ms;
	now_ms += c->back_ms;
	if (now_ms > c->now_ms)
		c->now_ms = now_ms;
	return now_ms;
}

/* ---- what is heard ---- */
static void home_left(struct coordinator *c, struct viewer *v, int home)
{
	v->homes &= ~(1ull << home);
	if (!v->homes) {
		record_leave(c, v);
		return;
	}
	if (v->home == home) {
		v->home = (uint8_t)__builtin_ctzll(v->homes);
		v->stale = v->resync = true; /* what was said there last may not have come */
	}
	for (struct present *p = v->presents; p; p = p->next) {
		/* who answers an offer that came by there is heard by nobody */
		for (unsigned int i = p->nkept; i-- > 0;)
			if (p->kept[i]->home == home)
				offers_free(c, p->kept[i]);
		if (p->home == home)
			p->home = v->home;
	}
}

static void take_track(struct coordinator *c, int64_t now, int home, struct viewer *v, struct tracker_message *m, int rc,
		       const char *why)
{
	if (!v || home < 0) {
		c->counts.dropped++;
	} else if (rc) {
		c->counts.dropped++;
		coordinator_say(c, home, DOWN_TRACK, v->id, tracker_write_failure(NULL, why));
	} else {
		tracker_take(c, v, home, now, m);
	}
}

static void take_report(struct coordinator *c, int64_t now, int home, struct viewer *v, const json_t *report)
{
	c->counts.reports++;
	if (!v || home < 0 || record_report(c, v, home, now, report))
		c->counts.refused_reports++;
}

void coordinator_up(struct coordinator *c, int64_t now_ms, enum peers_up kind, const char *home, const char *viewer,
		    const char *asset, const char *text)
{
	struct tracker_message m = { 0 };
	json_t *report = NULL;
	struct viewer *v;
	char why[128] = "";
	int rc = 0, from;

	/* what takes time is done before the lock */
	if (kind == UP_TRACK)
		rc = tracker_message_parse(&m, text, strlen(text), why);
	else if (kind == UP_REPORT)
		report = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	lock(c);
	from = record_home(c, home);
	now_ms = time_take(c, now_ms);
	v = kind == UP_JOIN ? record_join(c, now_ms, from, viewer, asset, text) : record_viewer(c, viewer);
	if (!v && from >= 0 && (kind == UP_TRACK || kind == UP_REPORT))
		coordinator_say(c, from, DOWN_AGAIN, viewer, strdup("{}"));
	if (kind == UP_TRACK)
		take_track(c, now_ms, from, v, &m, rc, why);
	else if (kind == UP_REPORT)
		take_report(c, now_ms, from, v, report);
	else if (kind == UP_LEAVE && v && from >= 0)
		home_left(c, v, from);
	unlock_and_say(c);
	tracker_message_free(&m);
	json_decref(report);
}

/* Those of a slot of the table who leave there. How many. */
static unsigned int slot_left(struct coordinator *c, size_t slot, int home)
{
	unsigned int left = 0;

	for (struct node *n = c->viewers.slots[slot], *next; n; n = next) {
		struct viewer *v = (struct viewer *)n;

		next = n->next;
		if (!(v->leaving >> home & 1))
			continue;
		v->leaving &= ~(1ull << home);
		home_left(c, v, home);
		left++;
	}
	return left;
}

/* All are marked at once, and taken out some at a time: others come in between, and who comes there again stays. The table may
 * grow meanwhile: those of slots that were not looked at are in no slot before. */
void coordinator_home_gone(struct coordinator *c, const char *home)
{
	unsigned int left = 0;
	int from;

	pthread_mutex_lock(&c->lock);
	from = record_home(c, home);
	for (size_t i = 0; from >= 0 && c->viewers.slots && i <= c->viewers.mask; i++)
		for (struct node *n = c->viewers.slots[i]; n; n = n->next)
			((struct viewer *)n)->leaving |= ((struct viewer *)n)->homes & 1ull << from;
	for (size_t i = 0; from >= 0 && c->viewers.slots && i <= c->viewers.mask; i++) {
		left += slot_left(c, i, from);
		if (left < LEAVE_AT_ONCE)
			continue;
		left = 0;
		unlock_and_say(c);
		sched_yield(); /* a mutex is not fair */
		lock(c);
	}
	unlock_and_say(c);
}

/* By their fields: what lies between these is anything. */
static bool groups_alike(const struct group_options *x, const struct group_options *y)
{
	return !memcmp(x, y, offsetof(struct group_options, cellular)) && x->cellular == y->cellular && x->copies == y->copies &&
	       x->least == y->least;
}

void coordinator_configure(struct coordinator *c, const struct coordinator_options *opt)
{
	struct coordinator_options was;

	pthread_mutex_lock(&c->lock);
	was = c->opt;
	options_take(&c->opt, opt);
	for (size_t i = 0; !groups_alike(&was.group, &c->opt.group) && c->assets.slots && i <= c->assets.mask; i++) {
		for (struct node *n = c->assets.slots[i]; n; n = n->next) {
			((struct asset *)n)->other_options = true;
			((struct asset *)n)->dirty = true;
		}
	}
	pthread_mutex_unlock(&c->lock);
}

/* ---- the tick ---- */
static void media_look(struct coordinator *c, struct asset *a, int64_t now)
{
	const struct media_asset *m;

	if (!c->opt.media || now - a->media_ms < (a->media ? MEDIA_MS : MEDIA_MISS_MS))
		return;
	a->media_ms = now;
	m = c->opt.media(c->opt.arg, a->name);
	if (!m)
		return;
	if (a->media && c->opt.media_put)
		c->opt.media_put(c->opt.arg, a->media);
	a->media = m;
}

static void group_when_due(struct coordinator *c, struct asset *a, int64_t now)
{
	int64_t since = now - a->grouped_ms, pause = (int64_t)(a->grouped_s * 1000 * GROUP_SHARE);

	if (since < pause || (!a->dirty && (since < GROUP_EVERY_MS || !a->nmembers)))
		return;
	coordinator_group(c, a, now, true);
}

/* As long as the budget lets; true: there are more. */
static bool match_when_due(struct coordinator *c, struct asset *a, int64_t now)
{
	double began = coordinator_clock();

	if (a->sense.mode == SENSE_OFF)
		return false;
	for (uint32_t n = 0; a->matched_next < a->nmembers; n++) {
		struct viewer *v = a->members[a->matched_next++];

		if (v && now - v->matched_ms >= MATCH_MS)
			tracker_match(c, v, now, true);
		if (n % 64 == 63 && coordinator_clock() - began > SLICE_S)
			return true;
	}
	a->matched_next = 0;
	return false;
}

void coordinator_let_in(struct coordinator *c)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	c->ticking = false;
	pthread_mutex_unlock(&c->lock);
	if (c->waiting) /* a mutex is not fair: we would have it again before they wake up */
		nanosleep(&pause, NULL);
}

void coordinator_go_on(struct coordinator *c)
{
	pthread_mutex_lock(&c->lock);
	c->ticking = true;
}

/* Lets others in, and says what there is. */
static void breathe(struct coordinator *c)
{
	c->ticking = false;
	say_all(c, &c->out_tick, UINT32_MAX);
	coordinator_let_in(c);
	coordinator_go_on(c);
}

static void tick_asset(struct coordinator *c, struct asset *a, int64_t now)
{
	uint64_t reports = a->nviewers * 1000ull / REPORTS_MAX;

	if (!a->nviewers) {
		a->empty_ms = a->empty_ms ? a->empty_ms : now;
		if (now - a->empty_ms > EMPTY_MS)
			record_asset_free(c, a);
		return;
	}
	a->empty_ms = 0;
	a->report_ms = reports > c->opt.report_ms ? (uint32_t)reports : c->opt.report_ms;
	media_look(c, a, now);
	if (now - a->swept_ms >= 1000) {
		a->swept_ms = now;
		record_silence(c, a, now);
	}
	coordinator_sense(c, a, now);
	breathe(c);
	group_when_due(c, a, now);
	breathe(c);
	while (match_when_due(c, a, now))
		breathe(c);
	for (int i = 0; i < HOLD_SLICES && instruct_holds(c, a, now, SLICE_S); i++)
		breathe(c);
	while (instruct_asset(c, a, now, SLICE_S))
		breathe(c);
	breathe(c);
}

void coordinator_tick(struct coordinator *c, int64_t now_ms)
{
	struct asset **all;
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	now_ms = time_take(c, now_ms);
	offers_expire(c, now_ms);
	/* The table may grow while the lock is given up; assets end in here alone. */
	all = malloc((c->assets.n + 1) * sizeof(struct asset *));
	for (size_t i = 0; all && c->assets.slots && i <= c->assets.mask; i++)
		for (struct node *x = c->assets.slots[i]; x; x = x->next)
			all[n++] = (struct asset *)x;
	c->ticking = true;
	for (size_t i = 0; i < n; i++)
		tick_asset(c, all[i], now_ms);
	c->ticking = false;
	free(all);
	unlock_and_say(c);
}

/* ---- the operator ---- */
static int switch_keep(struct coordinator *c, const char *asset, enum sense_mode mode)
{
	struct switched *s = c->switches;

	while (s && strcmp(s->asset, asset))
		s = s->next;
	if (!s) {
		s = strlen(asset) < sizeof(s->asset) ? calloc(1, sizeof(*s)) : NULL;
		if (!s)
			return -ENOMEM;
		strcpy(s->asset, asset);
		s->next = c->switches;
		c->switches = s;
	}
	s->mode = mode;
	return 0;
}

static void mode_set(struct asset *a, enum sense_mode mode)
{
	a->sense.mode = mode;
	for (uint32_t i = 0; i < a->nviewers; i++)
		a->viewers[i]->stale = true;
}

void coordinator_switch(struct coordinator *c, const char *asset, enum sense_mode mode)
{
	bool all = !strcmp(asset, "*");
	struct asset *a;

	pthread_mutex_lock(&c->lock);
	if (all) {
		c->mode = mode;
		for (size_t i = 0; c->assets.slots && i <= c->assets.mask; i++)
			for (struct node *n = c->assets.slots[i]; n; n = n->next)
				if (!((struct asset *)n)->own_mode)
					mode_set((struct asset *)n, mode);
	} else if (!switch_keep(c, asset, mode)) {
		a = record_asset(c, asset, false, 0);
		if (a) {
			a->own_mode = true;
			mode_set(a, mode);
		}
	}
	pthread_mutex_unlock(&c->lock);
}

void coordinator_counts(struct coordinator *c, struct coordinator_counts *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->counts;
	out->viewers = c->viewers.n;
	for (size_t i = 0; c->assets.slots && i <= c->assets.mask; i++) {
		for (struct node *n = c->assets.slots[i]; n; n = n->next) {
			const struct asset *a = (struct asset *)n;
			uint64_t grouped = 0;

			for (uint32_t k = 0; k < a->nmembers; k++) {
				enum group_role role = a->members[k] ? instruct_role(a->members[k]) : GROUP_ALONE;

				out->first += role == GROUP_FIRST;
				out->second += role == GROUP_SECOND;
				grouped += role != GROUP_ALONE;
			}
			out->alone += a->nviewers - grouped;
			out->groupings += a->ngroupings;
			out->state[a->sense.state]++;
		}
	}
	pthread_mutex_unlock(&c->lock);
}
