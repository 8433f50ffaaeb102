/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c -- the service in /_/metrics: what the two halves count, read when the page is asked for.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/peers/peers_int.h"

struct peers_measures {
	struct metric_series *viewers[3], *assets[3], *reports[3], *sessions[3], *bytes[2];
	struct metric_series *groupings, *announces, *relayed, *answers, *dropped, *refused, *stalls, *stall_s, *instructions, *excluded, *regroups,
		*regroup_s, *websockets, *streams, *homed, *lost, *stale;
};

static void collect(void *arg)
{
	struct peers *p = arg;
	struct peers_measures *m = p->measures;
	struct coordinator_counts c = { 0 };
	struct exchange_counts x;
	struct home_counts h;

	coordinator_counts(p->coordinator, &c);
	home_counts(p->home, &h);
	exchange_counts(p->exchange, &x);
	metric_set(m->viewers[GROUP_ALONE], (double)c.alone);
	metric_set(m->viewers[GROUP_FIRST], (double)c.first);
	metric_set(m->viewers[GROUP_SECOND], (double)c.second);
	for (int i = 0; i < 3; i++) {
		metric_set(m->assets[i], (double)c.state[i]);
		metric_set(m->reports[i], (double)p->reports[i]);
		metric_set(m->sessions[i], (double)p->sessions[i]);
	}
	metric_set(m->bytes[0], (double)c.bytes_server);
	metric_set(m->bytes[1], (double)c.bytes_peers);
	metric_set(m->groupings, (double)c.groupings);
	metric_set(m->announces, (double)c.announces);
	metric_set(m->relayed, (double)c.relayed);
	metric_set(m->answers, (double)c.answers);
	metric_set(m->dropped, (double)c.dropped);
	metric_set(m->refused, (double)c.refused_reports);
	metric_set(m->stalls, (double)c.stalls);
	metric_set(m->stall_s, (double)c.stall_ms / 1000);
	metric_set(m->instructions, (double)c.instructions);
	metric_set(m->excluded, (double)c.excluded);
	metric_set(m->regroups, (double)c.regroups);
	metric_set(m->regroup_s, c.regroup_s);
	metric_set(m->websockets, (double)ws_count(p->ws));
	metric_set(m->streams, (double)h.streams);
	metric_set(m->homed, (double)h.viewers);
	metric_set(m->lost, (double)x.lost);
	metric_set(m->stale, (double)x.refused);
}

static struct metric_series *plain(struct metrics *all, enum metric_type type, const char *name, const char *help)
{
	struct metric *m = metric_add(all, type, name, help, NULL);

	return m ? metric_series(m, NULL) : NULL;
}

/* A family with one label; values as many as series. */
static bool labelled(struct metrics *all, enum metric_type type, const char *name, const char *help, const char *label,
		     const char *const *values, struct metric_series **out, size_t n)
{
	struct metric *m = metric_add(all, type, name, help, label);

	for (size_t i = 0; m && i < n; i++)
		out[i] = metric_series(m, values[i], NULL);
	return m != NULL;
}

static bool add_labelled(struct peers_measures *m, struct metrics *all)
{
	static const char *const roles[] = { [GROUP_ALONE] = "alone", [GROUP_FIRST] = "first", [GROUP_SECOND] = "second" };
	static const char *const reports[] = { "taken", "refused", "early" };
	static const char *const sessions[] = { "opened", "refused", "full" };
	static const char *const sources[] = { "server", "peers" };

	return labelled(all, METRIC_GAUGE, "peers_viewers", "Viewers of the assets that this gateway owns, by role in their grouping.",
			"role", roles, m->viewers, 3) &&
	       labelled(all, METRIC_GAUGE, "peers_assets", "Assets with viewers that this gateway owns, by state of their delivery.",
			"state", sense_names, m->assets, 3) &&
	       labelled(all, METRIC_COUNTER, "peers_reports_total",
			"Players' reports at this gateway: taken, refused for their shape or a cap, too early.", "result", reports,
			m->reports, 3) &&
	       labelled(all, METRIC_COUNTER, "peers_sessions_total",
			"Viewers' sessions: opened, refused for lack of rights, without room.", "result", sessions, m->sessions, 3) &&
	       labelled(all, METRIC_COUNTER, "peers_bytes_total", "Bytes of media that viewers say they received, by where from.",
			"source", sources, m->bytes, 2);
}

#define COUNTER(field, name, help) ((m->field = plain(all, METRIC_COUNTER, name, help)) != NULL)
#define GAUGE(field, name, help)   ((m->field = plain(all, METRIC_GAUGE, name, help)) != NULL)

static bool add_plain(struct peers_measures *m, struct metrics *all)
{
	return GAUGE(homed, "peers_connected_viewers", "Viewers whose connections this gateway holds.") &&
	       GAUGE(websockets, "peers_websockets", "Trackers' WebSockets that are open.") &&
	       GAUGE(streams, "peers_event_streams", "Streams of instructions that are open.") &&
	       GAUGE(groupings, "peers_groupings", "Groupings of viewers.") &&
	       COUNTER(announces, "peers_announces_total", "Announces to the tracker.") &&
	       COUNTER(relayed, "peers_offers_relayed_total", "WebRTC offers handed from one viewer to another.") &&
	       COUNTER(answers, "peers_answers_relayed_total", "WebRTC answers handed back.") &&
	       COUNTER(dropped, "peers_tracker_dropped_total", "Messages to the tracker that were dropped: malformed, too many, to nobody.") &&
	       COUNTER(refused, "peers_reports_disbelieved_total", "Reports that the owner did not take.") &&
	       COUNTER(stalls, "peers_stalls_total", "Stalls of playback that viewers report.") &&
	       COUNTER(stall_s, "peers_stall_seconds_total", "Time that viewers say they waited for media.") &&
	       COUNTER(instructions, "peers_instructions_total", "Instructions to viewers.") &&
	       COUNTER(excluded, "peers_excluded_total", "Viewers excluded for what they sent to others.") &&
	       COUNTER(regroups, "peers_regroups_total", "Times that groupings were made anew.") &&
	       COUNTER(lost, "peers_messages_lost_total",
		       "Messages to other gateways that did not answer, or for which memory lacked: their viewers were told of again.") &&
	       COUNTER(stale, "peers_batches_refused_total",
		       "Batches of other gateways that were for another one, of another time, or sent again.") &&
	       GAUGE(regroup_s, "peers_regroup_seconds", "Time that the last grouping took.");
}

int measure_start(struct peers *p)
{
	struct peers_measures *m = calloc(1, sizeof(*m));

	if (!m || !add_labelled(m, p->opt.metrics) || !add_plain(m, p->opt.metrics)) {
		free(m);
		return -ENOMEM;
	}
	p->measures = m;
	return metrics_on_collect(p->opt.metrics, collect, p);
}

void measure_stop(struct peers *p)
{
	if (p->measures)
		metrics_off_collect(p->opt.metrics, collect, p);
	free(p->measures);
	p->measures = NULL;
}
