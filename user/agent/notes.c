/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notes.c -- how full the notes of flows are, and the alarm before they are (DESIGN rule 6); loads for
 * services that choose between two candidates.
 */
#include <math.h>

#include "bpf/abi/two.h"
#include "lib/log.h"
#include "user/agent/agent.h"

#define EVERY_S 15   /* counting walks through the table: some milliseconds when it is full */
#define ALARM	0.75 /* of the room */
#define CALM	0.6  /* below this the alarm ends */

static void alarm_or_calm(struct agent *agent)
{
	const struct dataplane_notes *n = &agent->notes;
	double full = n->room ? (double)n->notes / n->room : 0;

	if (full >= ALARM && !agent->notes_alarm) {
		agent->notes_alarm = true;
		log_warn("notes of moving slots: %u flows of %u that there is room for; when it is full the "
			 "oldest are forgotten and may break: raise agent.limits.notes to %u and restart "
			 "weir-agent, or lower agent.move_budget", n->notes, n->room, 2 * n->notes);
	} else if (full < CALM && agent->notes_alarm) {
		agent->notes_alarm = false;
		log_info("notes of moving slots: %u flows, there is room again", n->notes);
	}
}

void notes_tick(struct agent *agent)
{
	uint64_t now = agent_now_us();

	if (agent->notes_at_us && now - agent->notes_at_us < EVERY_S * 1000000ull)
		return;
	agent->notes_at_us = now;
	if (dataplane_notes(agent->dp, &agent->notes) >= 0)
		alarm_or_calm(agent);
}

json_t *notes_json(const struct agent *agent)
{
	const struct dataplane_notes *n = &agent->notes;

	return json_pack("{sI sI sI sI sI sb}", "notes", (json_int_t)n->notes, "room", (json_int_t)n->room,
			 "half_open", (json_int_t)n->half_open, "half_open_room",
			 (json_int_t)n->half_open_room, "kept", (json_int_t)n->kept, "alarm",
			 agent->notes_alarm);
}

void notes_loads(const struct service *service)
{
	struct dataplane_load load[64];
	size_t n = 0;

	if (!service->conf->two || service->number < 0)
		return;
	for (size_t i = 0; i < service->n; i++) {
		double l = weight_state(service->weight, i)->load;

		load[n].backend = (uint32_t)service->backends[i]->index;
		load[n++].load = isnan(l) ? 0 : (uint32_t)fmin(fmax(l * WEIR_LOAD_FULL, 1), 1 << 30);
		if (n < 64 && i + 1 < service->n)
			continue;
		if (dataplane_loads(service->agent->dp, load, n) < 0)
			return;
		n = 0;
	}
}
