// SPDX-License-Identifier: Apache-2.0
/* sense.c -- calm, strained, outage: upwards by a quorum of independent witnesses, downwards by patience. */
#include <stdarg.h>
#include <stdio.h>

#include "http/peers/sense.h"

#define RELAPSES_MAX 3     /* patience grows to eight times settle_ms */
#define NOTHING	     0.01  /* of demand: less than this is nothing */

const char *const sense_names[3] = { "calm", "strained", "outage" };

void sense_init(struct sense *s)
{
	*s = (struct sense){ .state = SENSE_CALM, .mode = SENSE_AUTO, .calm_since_ms = -1 };
	snprintf(s->why, sizeof(s->why), "nothing was seen yet");
}

static struct sense_options defaults(const struct sense_options *opt)
{
	struct sense_options o = opt ? *opt : (struct sense_options){ 0 };

	o.quorum = o.quorum ? o.quorum : 2;
	o.share = o.share > 0 ? o.share : 0.1f;
	o.high = o.high > 0 ? o.high : 0.9f;
	o.low = o.low > 0 ? o.low : 0.7f;
	o.horizon_ms = o.horizon_ms ? o.horizon_ms : 10000;
	o.settle_ms = o.settle_ms ? o.settle_ms : 10000;
	return o;
}

/* How many prefixes must say the same: at least the quorum, at least the share of those that could, but never more than
 * watch: one is not enough because the others do not report. */
static uint32_t quorum(const struct sense_options *o, const struct sense_input *in)
{
	double by_share = (double)o->share * (in->asking ? in->asking : in->prefixes);
	uint32_t need = (uint32_t)by_share + ((double)(uint32_t)by_share < by_share - 1e-6);

	need = need > o->quorum ? need : o->quorum;
	need = need < in->prefixes ? need : in->prefixes;
	return need ? need : 1;
}

__attribute__((format(printf, 2, 3))) static void say(char why[128], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, 128, fmt, ap);
	va_end(ap);
}

/* What the input says by itself. In strained and outage the thresholds of demand are the lower ones: hysteresis. */
static enum sense_state sign(const struct sense_options *o, const struct sense_input *in, bool high_already, char why[128])
{
	uint32_t need = quorum(o, in);
	bool nothing = in->egress <= NOTHING * in->demand || in->egress <= 0;
	double limit = (double)(high_already ? o->low : o->high) * in->capacity;
	double ahead = in->demand + in->demand_slope * o->horizon_ms / 1000;

	if (nothing && in->endpoints_known && !in->endpoints_alive) {
		say(why, "none of %u endpoints is alive", in->endpoints_known);
		return SENSE_OUTAGE;
	}
	if (in->failing >= need) {
		say(why, "requests fail for viewers of %u of %u networks%s", in->failing, in->prefixes,
		    nothing ? ", nothing comes" : "");
		return nothing ? SENSE_OUTAGE : SENSE_STRAINED;
	}
	if (in->endpoints_known && !in->endpoints_alive)
		say(why, "none of %u endpoints is alive, yet something comes", in->endpoints_known);
	else if (in->starving >= need)
		say(why, "buffers are nearly empty in %u of %u networks", in->starving, in->prefixes);
	else if (in->slow >= need)
		say(why, "segments come late in %u of %u networks", in->slow, in->prefixes);
	else if (in->capacity > 0 && in->demand > limit)
		say(why, "demand is %.0f%% of capacity", 100 * in->demand / in->capacity);
	else if (in->capacity > 0 && in->demand_slope > 0 && ahead > in->capacity)
		say(why, "demand will be %.0f%% of capacity in %.0f s", 100 * ahead / in->capacity, o->horizon_ms / 1000.0);
	else
		return SENSE_CALM;
	return SENSE_STRAINED;
}

static bool become(struct sense *s, enum sense_state state, int64_t now_ms, const char *why)
{
	if (state == SENSE_CALM)
		s->calmed_ms = now_ms;
	s->state = state;
	s->since_ms = now_ms;
	s->calm_since_ms = -1;
	say(s->why, "%s", why);
	return true;
}

/* One step down when there was no sign for long enough; to calm with more patience after each relapse. */
static bool step_down(struct sense *s, const struct sense_options *o, int64_t now_ms, enum sense_state floor)
{
	int64_t patience = o->settle_ms;

	if (s->calm_since_ms < 0)
		s->calm_since_ms = now_ms;
	if (s->state == SENSE_STRAINED)
		patience <<= s->relapses;
	if (s->state <= floor || now_ms - s->calm_since_ms < patience)
		return false;
	return become(s, s->state - 1, now_ms,
		      s->state == SENSE_OUTAGE ? "no sign of an outage any more: the first group tries the server" :
						 "no sign of strain any more");
}

bool sense_tick(struct sense *s, const struct sense_options *opt, const struct sense_input *in)
{
	struct sense_options o = defaults(opt);
	enum sense_state seen, floor = s->mode == SENSE_ON ? SENSE_STRAINED : SENSE_CALM;
	char why[128] = "";

	if (s->mode == SENSE_OFF) {
		s->calm_since_ms = -1;
		return s->state != SENSE_CALM && become(s, SENSE_CALM, in->now_ms, "switched off by the operator");
	}
	seen = sign(&o, in, s->state != SENSE_CALM, why);
	if (seen > s->state) {
		if (s->state == SENSE_CALM) {
			int64_t quiet = in->now_ms - s->calmed_ms;
			bool again = s->calmed_ms && quiet < 2 * ((int64_t)o.settle_ms << s->relapses);

			s->relapses = again ? s->relapses + (s->relapses < RELAPSES_MAX) : 0;
		}
		return become(s, seen, in->now_ms, why);
	}
	if (s->state < floor)
		return become(s, floor, in->now_ms, "switched on by the operator");
	if (seen == s->state && seen != SENSE_CALM) {
		s->calm_since_ms = -1;
		return false;
	}
	return step_down(s, &o, in->now_ms, floor);
}
