/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_weir.c -- the policy `weir`: an owner's half of the coordinator in the simulator. It knows what was reported, when the
 * report came; it senses by sense_tick(), groups by group_run(), plans in sim_plan.c; an instruction acts when it has
 * travelled.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/sim_weir.h"

#define JOIN_MS	    350 /* session, event stream, tracker: until the owner knows who came */
#define GROUP_STEPS 4	/* between two runs of the grouping */
#define SIGN_HALF   10 /* steps: half of 5 s */
#define DEAD_MS	    3000 /* until the gateways know that the endpoints are away */
#define HURRY_MS    8000 /* of buffer: a channel that is no longer wanted is not waited for */
/* Instructions said in a second: what one core writes, signs, keeps and sends (tests/bench/peers_instruct: 45,000 with 5,000
 * viewers, 32,000 with 20,000). One asset has one owner, so there is one such line however many gateways there are. */
#define SEND_RATE   30000

int sim_weir_new(struct sim *s)
{
	size_t n = s->opt.viewers;
	struct sim_weir *w = s->weir = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->groups = groups_new(&s->opt.group);
	w->gv = calloc(n, sizeof(*w->gv));
	w->last = calloc(n, sizeof(*w->last));
	w->told = calloc(n * s->words, sizeof(uint64_t));
	w->order = calloc(n, sizeof(uint32_t));
	w->due = calloc(n, sizeof(uint32_t));
	w->knows = calloc(n, sizeof(uint32_t));
	w->pending = calloc(n, sizeof(*w->pending));
	w->line = calloc(n, sizeof(*w->line));
	w->orphan = calloc(n, sizeof(*w->orphan));
	sense_init(&w->sense);
	for (int half = 0; half < 2; half++) {
		w->asked[half] = calloc(s->nprefix, sizeof(uint16_t));
		for (int k = 0; k < SIM_SIGNS; k++) {
			w->sign[k][half] = calloc(s->nprefix, sizeof(uint16_t));
			if (!w->sign[k][half] || !w->asked[half])
				return -ENOMEM;
		}
	}
	if (!w->groups || !w->gv || !w->last || !w->told || !w->order || !w->due || !w->knows || !w->pending)
		return -ENOMEM;
	return w->line && w->orphan ? 0 : -ENOMEM;
}

void sim_weir_free(struct sim *s)
{
	struct sim_weir *w = s->weir;

	if (!w)
		return;
	groups_free(w->groups);
	free(w->gv);
	free(w->last);
	free(w->told);
	free(w->order);
	free(w->due);
	free(w->knows);
	free(w->pending);
	free(w->line);
	free(w->orphan);
	free(w->start);
	for (int half = 0; half < 2; half++) {
		free(w->asked[half]);
		for (int k = 0; k < SIM_SIGNS; k++)
			free(w->sign[k][half]);
	}
	free(w);
	s->weir = NULL;
}

static void line_up(struct sim_weir *w, uint32_t i, enum sim_line line)
{
	w->waiting[w->line[i]]--;
	w->waiting[line]++;
	w->line[i] = (uint8_t)line;
}

void sim_weir_leave(struct sim *s, uint32_t i)
{
	struct group_viewer *g = &s->weir->gv[i];

	*g = (struct group_viewer){ .id = ~s->v[i].id, .flags = GROUP_EXCLUDED, .grouping = GROUP_NONE };
	s->weir->due[i] = 0;
	s->weir->orphan[i] = 0;
	line_up(s->weir, i, LINE_NONE);
	s->weir->left++;
}

/* What a report says of the server: nothing, when it was not asked. */
static void signs_of(struct sim *s, const struct sim_viewer *v, uint32_t buffer)
{
	struct sim_weir *w = s->weir;
	int half = s->step / SIGN_HALF % 2;
	bool asks = v->http_fails > 0, slow = false;

	for (int k = 0; k < SIM_SLOTS; k++)
		if (v->t[k].from == SIM_SERVER) {
			asks = true;
			slow |= (s->step - v->t[k].begun) * SIM_STEP_MS > s->opt.segment_ms * 4 / 5;
		}
	if (!asks)
		return;
	w->asked[half][v->prefix]++;
	w->sign[SIGN_FAILING][half][v->prefix] += v->http_fails > 0;
	w->sign[SIGN_SLOW][half][v->prefix] += slow;
	w->sign[SIGN_STARVING][half][v->prefix] += buffer < s->opt.segment_ms / (s->opt.live ? 4 : 1) && v->play != PLAY_STARTING;
}

static void report(struct sim *s, uint32_t i)
{
	struct sim_weir *w = s->weir;
	struct sim_viewer *v = &s->v[i];
	struct group_viewer *g = &w->gv[i];
	uint32_t buffer = sim_buffer_ms(s, v);

	v->report = s->step + SIM_STEPS(s->opt.report_ms);
	memcpy(w->told + (size_t)i * s->words, sim_have(s, i), s->words * sizeof(uint64_t));
	g->position = (uint32_t)v->pos_ms / s->opt.segment_ms;
	g->buffer_ms = buffer;
	/* Receivers tell what they got from whom; what they saw of a link is somewhat less than it can. */
	if (v->sent > 1e6f && v->sent > v->sent_reported) {
		g->uplink = v->up * 0.85f;
		g->flags |= GROUP_MEASURED;
	}
	v->sent_reported = v->sent;
	signs_of(s, v, buffer);
}

/* Known from now on. */
static void join(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	s->weir->gv[i] = (struct group_viewer){ .id = v->id, .asset = 0x9e37 + v->rendition, 
		.prefix = (v->prefix + 1) * 2654435761u, .as = v->as,
		.flags = v->flags, .demand = s->bytes[v->rendition][0] / (float)(s->opt.segment_ms / 1000.0), .rtt_ms = v->rtt_ms,
		.stability = 1, .grouping = GROUP_NONE };
	memset(&s->weir->last[i], 0, sizeof(s->weir->last[i]));
	report(s, i);
	v->report = s->step + 1 + sim_below(&s->rnd, SIM_STEPS(s->opt.report_ms));
}

void sim_weir_arrive(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	/* What a session's answer says: begin at once, from the server; 8 s that way until somebody says more. */
	v->w = (struct sim_windows){ .high = 8, .p2p = (uint16_t)(s->opt.window_ms / 1000), .server = true };
	v->cap = 0;
	sim_weir_leave(s, i);
	s->weir->knows[i] = s->step + 1 + (v->early ? SIM_STEPS(JOIN_MS + (uint32_t)v->rtt_ms * 3) : 0);
}

/* ---- sensing ---- */

/* Prefixes where it is so for half of those who asked: one slow line among many says nothing of the server. */
static uint32_t signs(const struct sim *s, int which)
{
	const struct sim_weir *w = s->weir;
	uint32_t n = 0;

	for (uint32_t p = 0; p < s->nprefix; p++) {
		uint32_t sign = w->sign[which][0][p] + w->sign[which][1][p];

		n += sign && 2 * sign >= (uint32_t)w->asked[0][p] + w->asked[1][p];
	}
	return n;
}

static void signs_forget(struct sim *s)
{
	struct sim_weir *w = s->weir;
	int half = s->step / SIGN_HALF % 2;

	if (s->step % SIGN_HALF)
		return;
	memset(w->asked[half], 0, s->nprefix * sizeof(uint16_t));
	for (int k = 0; k < SIM_SIGNS; k++)
		memset(w->sign[k][half], 0, s->nprefix * sizeof(uint16_t));
}

static uint32_t prefixes(struct sim *s)
{
	uint32_t n = 0;
	uint64_t *seen = s->weir->seen;

	memset(seen, 0, sizeof(s->weir->seen));
	for (uint32_t i = 0; i < s->opt.viewers; i++)
		if (s->v[i].prefix < 64 * SIM_SEEN && !sim_bit(seen, s->v[i].prefix)) {
			sim_bit_set(seen, s->v[i].prefix);
			n++;
		}
	return n;
}

/* The server's bytes of the last second; in calm, smoothed: what all would take were it calm. */
static void egress(struct sim *s)
{
	struct sim_weir *w = s->weir;
	double now = s->server_bytes - w->server_before, last = w->wanted;

	w->server_before = s->server_bytes;
	w->egress[s->step % 4] = now;
	now = w->egress[0] + w->egress[1] + w->egress[2] + w->egress[3];
	if (w->sense.state != SENSE_CALM)
		return;
	w->wanted = w->wanted > 0 ? w->wanted * 0.975 + now * 0.025 : now; /* 10 s */
	w->slope = w->slope * 0.975 + (w->wanted - last) * 4 * 0.025;
}

static bool sense(struct sim *s)
{
	struct sim_weir *w = s->weir;
	bool dead = s->opt.capacity_left <= 0 && s->step >= s->from + SIM_STEPS(DEAD_MS) && s->step < s->until + SIM_STEPS(1000);
	struct sense_input in = { .now_ms = sim_now_ms(s) + 1, .viewers = s->opt.viewers, .endpoints_known = 1,
		.endpoints_alive = !dead, .capacity = s->capacity };

	egress(s);
	if (s->step % GROUP_STEPS == 0)
		w->prefixes = prefixes(s);
	in.prefixes = w->prefixes;
	in.failing = signs(s, SIGN_FAILING);
	in.slow = signs(s, SIGN_SLOW);
	in.starving = signs(s, SIGN_STARVING);
	in.demand = w->wanted;
	in.demand_slope = w->slope;
	in.egress = w->egress[0] + w->egress[1] + w->egress[2] + w->egress[3];
	s->now.state = (float)w->sense.state;
	if (!sense_tick(&w->sense, &s->opt.sense, &in))
		return false;
	if (w->sense.state != SENSE_CALM && s->r.sensed_ms < 0 && s->step >= s->from)
		s->r.sensed_ms = (double)(s->step - s->from) * SIM_STEP_MS;
	return true;
}

/* ---- instructions ---- */

static bool named(const struct sim_instruction *p, uint32_t peer, uint32_t gen)
{
	for (int k = 0; k < p->nfrom; k++)
		if (p->from[k].peer == peer && p->from[k].gen == gen)
			return true;
	return false;
}

static void apply(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	const struct sim_instruction *p = &s->weir->pending[i];

	s->weir->due[i] = 0;
	v->w = p->w;
	v->cap = v->uploads ? p->cap : 0;
	/* What is asked of a server that shall not be asked is broken off. */
	for (int k = 0; !v->w.high && v->play != PLAY_STARTING && k < SIM_SLOTS; k++)
		if (v->t[k].from == SIM_SERVER && v->t[k].slot == SLOT_HTTP)
			sim_abort(s, i, &v->t[k]);
	if (v->w.server)
		v->http_after = v->http_fails ? v->http_after : 0;
	for (uint32_t k = 0; k < v->nconn;) {
		v->c[k].closing = !named(p, v->c[k].peer, v->c[k].gen);
		if (v->c[k].closing && (!v->c[k].busy || sim_buffer_ms(s, v) < HURRY_MS))
			sim_disconnect(s, i, k);
		else
			k++;
	}
	for (int k = 0; k < p->nfrom; k++)
		if (s->v[p->from[k].peer].gen == p->from[k].gen)
			sim_connect(s, i, p->from[k].peer, (uint32_t)(v->rtt_ms + s->v[p->from[k].peer].rtt_ms));
	memcpy(v->hold, p->hold, sizeof(v->hold));
	v->nhold = p->nhold;
	v->decide = s->step;
}

static bool gains_portion(const struct sim_instruction *was, const struct sim_instruction *p)
{
	for (int k = 0; k < p->nhold; k++) {
		int old = 0;

		while (old < was->nhold && was->hold[old] != p->hold[k])
			old++;
		if (old == was->nhold)
			return true;
	}
	return false;
}

/* In steps of a fifth, as instruct.c has them. */
static int cap_step(float cap)
{
	return cap > 1 ? (int)(log2f(cap) * 4) : 0;
}

/* What matters of the change, as instruct.c sees it. */
static enum sim_line line_of(struct sim *s, uint32_t i, const struct sim_instruction *was, const struct sim_instruction *p)
{
	int kept = 0;

	for (int k = 0; k < was->nfrom; k++)
		kept += named(p, was->from[k].peer, was->from[k].gen);
	if (s->weir->orphan[i] == s->step || (kept < 2 && kept < was->nfrom && kept < p->nfrom)) {
		s->weir->orphan[i] = s->step;
		return LINE_ORPHAN;
	}
	if (was->state != p->state || was->role != p->role || memcmp(&was->w, &p->w, sizeof(p->w)) || gains_portion(was, p))
		return LINE_DUTY;
	return kept < p->nfrom || kept < was->nfrom || cap_step(was->cap) != cap_step(p->cap) ? LINE_OTHER : LINE_NONE;
}

void sim_instruct(struct sim *s, uint32_t i, const struct sim_instruction *p)
{
	struct sim_weir *w = s->weir;
	enum sim_line line = line_of(s, i, &w->last[i], p);

	if (line == LINE_NONE)
		return;
	w->last[i] = *p;
	if (w->line[i] == LINE_NONE || line < w->line[i])
		line_up(w, i, line);
}

/* As many as can be said in a step: line by line, in turn. */
static void say(struct sim *s)
{
	struct sim_weir *w = s->weir;
	uint32_t left = SEND_RATE * SIM_STEP_MS / 1000;

	for (int line = LINE_ORPHAN; line < SIM_LINES; line++)
		for (uint32_t n = 0; n < s->opt.viewers && left && w->waiting[line]; n++) {
			uint32_t i = w->turn[line] = (w->turn[line] + 1) % s->opt.viewers;

			if (w->line[i] != line)
				continue;
			line_up(w, i, LINE_NONE);
			w->pending[i] = w->last[i];
			w->due[i] = s->step + SIM_STEPS((uint32_t)(s->v[i].rtt_ms / 2) + 1);
			w->instructions++;
			left--;
		}
}

bool sim_weir_settled(const struct sim *s, uint32_t i)
{
	const struct sim_instruction *p = &s->weir->last[i];
	const struct sim_viewer *v = &s->v[i];
	int open = 0;

	for (int k = 0; k < v->nconn; k++)
		open += named(p, v->c[k].peer, v->c[k].gen) && sim_connected(s, &v->c[k]);
	return p->nfrom ? open >= (p->nfrom < 2 ? 1 : 2) : p->w.server && !s->weir->due[i] && !s->weir->line[i];
}

static void regroup(struct sim *s)
{
	struct sim_weir *w = s->weir;
	struct timespec a, b;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	if (group_run(w->groups, w->gv, s->opt.viewers, &w->result))
		return;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	w->spent += (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	w->runs++;
	s->r.group_s = w->spent / w->runs;
	if (s->step <= s->from) {
		s->r.first = w->result.first;
		s->r.second = w->result.second;
		s->r.alone = w->result.alone;
		s->r.groupings = w->result.groupings;
	}
	sim_plan(s);
	w->changed = false;
	w->left = 0;
}

void sim_weir(struct sim *s)
{
	struct sim_weir *w = s->weir;

	signs_forget(s);
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		if (w->knows[i] && w->knows[i] <= s->step) {
			w->knows[i] = 0;
			join(s, i);
		}
		if (w->gv[i].id == s->v[i].id && s->v[i].report <= s->step && s->v[i].play != PLAY_GONE)
			report(s, i);
		if (w->due[i] && w->due[i] <= s->step)
			apply(s, i);
	}
	if (sense(s))
		w->changed = true;
	/* Once a second; at once when many have gone. */
	if (s->step % GROUP_STEPS == 0 || w->changed || w->left > s->opt.viewers / 50)
		regroup(s);
	say(s);
}
