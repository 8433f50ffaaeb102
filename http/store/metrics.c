/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c -- what an endpoint counts, as Prometheus text (endpoint.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "http/s3/count.h"
#include "http/store/endpoint.h"
#include "http/store/orphans.h"
#include "http/store/repair.h"

struct row {
	const char *name, *help;
	enum metric_type type;
};

enum {
	PUTS,
	GETS,
	DELETES,
	LISTS,
	FAILED,
	RELAYED,
	FAILOVERS,
	DAMAGED,
	REPAIRED,
	FETCHED,
	ORPHANS,
	NAMELESS,
	NAMELESS_BYTES,
	SWEPT,
	SCRUB_ROUNDS,
	SCRUB_VERSIONS,
	SCRUB_BYTES,
	SCRUB_DONE,
	ROUNDS,
	COMMITS,
	FREE,
	TOTAL,
	RESERVE,
	PEERS,
	SEGMENTS,
	SEGMENT_BYTES,
	SEGMENT_LIVE,
	SMALL,
	COMPACTED,
	ROWS
};

static const struct row rows[ROWS] = {
	[PUTS] = { "store_puts_total", "Objects stored on request of clients.", METRIC_COUNTER },
	[GETS] = { "store_gets_total", "Objects or ranges sent to clients.", METRIC_COUNTER },
	[DELETES] = { "store_deletes_total", "Objects deleted on request of clients.",
		      METRIC_COUNTER },
	[LISTS] = { "store_lists_total", "Pages of listings sent.", METRIC_COUNTER },
	[FAILED] = { "store_failed_total", "Requests that failed by the server's fault.",
		     METRIC_COUNTER },
	[RELAYED] = { "store_relayed_total", "Downloads fetched through from another endpoint.",
		      METRIC_COUNTER },
	[FAILOVERS] = { "store_relay_failovers_total",
			"Holders replaced in the middle of a download.", METRIC_COUNTER },
	[DAMAGED] = { "store_damaged_total", "Damaged blocks found by readers or the scrubber.",
		      METRIC_COUNTER },
	[REPAIRED] = { "store_repaired_total", "Damaged chunks repaired from another copy.",
		       METRIC_COUNTER },
	[FETCHED] = { "store_fetched_total", "Versions fetched to keep them here.",
		      METRIC_COUNTER },
	[ORPHANS] = { "store_orphans_removed_total", "Replaced versions removed by the scrubber.",
		      METRIC_COUNTER },
	[NAMELESS] = { "store_orphans", "Versions that no name refers to, as the scrubber's last round found them.",
		       METRIC_GAUGE },
	[NAMELESS_BYTES] = { "store_orphan_bytes", "Bytes of them.", METRIC_GAUGE },
	[SWEPT] = { "store_orphans_swept_total", "Versions without a name that the scrubber removed (endpoint.orphans: remove).",
		    METRIC_COUNTER },
	[SCRUB_ROUNDS] = { "store_scrub_rounds_total", "Rounds in which the scrubber read everything.", METRIC_COUNTER },
	[SCRUB_VERSIONS] = { "store_scrubbed_versions_total", "Versions that the scrubber read.", METRIC_COUNTER },
	[SCRUB_BYTES] = { "store_scrubbed_bytes_total", "Bytes of them.", METRIC_COUNTER },
	[SCRUB_DONE] = { "store_scrub_done_ratio", "Share of the versions that the scrubber's round has read (1: between rounds).",
			 METRIC_GAUGE },
	[ROUNDS] = { "store_commit_rounds_total", "Rounds of the group-commit thread.",
		     METRIC_COUNTER },
	[COMMITS] = { "store_commits_total", "Versions made durable by those rounds.",
		      METRIC_COUNTER },
	[FREE] = { "store_free_bytes", "Free disk space, the reserve included.", METRIC_GAUGE },
	[TOTAL] = { "store_size_bytes", "Size of the disk.", METRIC_GAUGE },
	[RESERVE] = { "store_reserve_bytes", "Disk space that stays free.", METRIC_GAUGE },
	[PEERS] = { "store_endpoints_registered", "Endpoints of the installation.", METRIC_GAUGE },
	[SEGMENTS] = { "store_segments", "Files that small versions are packed into.", METRIC_GAUGE },
	[SEGMENT_BYTES] = { "store_segment_bytes", "Bytes of those files.", METRIC_GAUGE },
	[SEGMENT_LIVE] = { "store_segment_live_bytes", "Bytes in them that count; compaction frees the rest.",
			   METRIC_GAUGE },
	[SMALL] = { "store_small_versions", "Versions that lie in those files.", METRIC_GAUGE },
	[COMPACTED] = { "store_segments_compacted_total", "Files that compaction removed.", METRIC_COUNTER },
};

struct exported {
	struct endpoint *ep;
	struct metric_series *series[ROWS];
	unsigned long seen[ROWS]; /* counters grow by the difference */
};

static void count(struct exported *x, int row, unsigned long value)
{
	metric_inc(x->series[row], value - x->seen[row]);
	x->seen[row] = value;
}

static void collect_scrub(struct exported *x)
{
	json_t *now = repair_status(x->ep->repair);
	json_int_t total = json_integer_value(json_object_get(now, "round_total")), done = json_integer_value(json_object_get(now, "round_done"));
	bool runs = json_is_true(json_object_get(now, "running")) && total > 0;

	if (!now)
		return;
	count(x, SCRUB_ROUNDS, (unsigned long)json_integer_value(json_object_get(now, "rounds")));
	count(x, SCRUB_VERSIONS, (unsigned long)json_integer_value(json_object_get(now, "versions")));
	count(x, SCRUB_BYTES, (unsigned long)json_integer_value(json_object_get(now, "bytes")));
	metric_set(x->series[SCRUB_DONE], runs ? (double)(done < total ? done : total) / (double)total : 1);
	json_decref(now);
}

static void collect(void *arg)
{
	struct exported *x = arg;
	struct endpoint *ep = x->ep;
	unsigned long rounds, jobs;
	struct segments_counts small;
	struct orphans_counts nameless;
	struct chunks_space space;

	count(x, PUTS, atomic_load(&ep->counts.puts));
	count(x, GETS, atomic_load(&ep->counts.gets));
	count(x, DELETES, atomic_load(&ep->counts.deletes));
	count(x, LISTS, atomic_load(&ep->counts.lists));
	count(x, FAILED, atomic_load(&ep->counts.failed));
	count(x, RELAYED, atomic_load(&ep->counts.relayed));
	count(x, FAILOVERS, relays_failovers(ep->relays));
	count(x, DAMAGED, atomic_load(&ep->counts.damaged));
	count(x, REPAIRED, atomic_load(&ep->counts.repaired));
	count(x, FETCHED, atomic_load(&ep->counts.fetched));
	count(x, ORPHANS, atomic_load(&ep->counts.orphans));
	orphans_count(repair_orphans(ep->repair), &nameless);
	metric_set(x->series[NAMELESS], (double)nameless.versions);
	metric_set(x->series[NAMELESS_BYTES], (double)nameless.bytes);
	count(x, SWEPT, nameless.removed);
	collect_scrub(x);
	chunks_counts(ep->chunks, &rounds, &jobs);
	count(x, ROUNDS, rounds);
	count(x, COMMITS, jobs);
	segments_count(chunks_segments(ep->chunks), &small);
	metric_set(x->series[SEGMENTS], (double)small.segments);
	metric_set(x->series[SEGMENT_BYTES], (double)small.bytes);
	metric_set(x->series[SEGMENT_LIVE], (double)small.live);
	metric_set(x->series[SMALL], (double)small.versions);
	count(x, COMPACTED, small.compacted);
	if (!chunks_space(ep->chunks, &space)) {
		metric_set(x->series[FREE], (double)space.free);
		metric_set(x->series[TOTAL], (double)space.total);
		metric_set(x->series[RESERVE], (double)space.reserve);
	}
	metric_set(x->series[PEERS], (double)peers_registered(ep->peers));
}

int endpoint_metrics(struct endpoint *ep)
{
	struct exported *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->ep = ep;
	for (int i = 0; i < ROWS; i++) {
		struct metric *metric = metric_add(ep->daemon->metrics, rows[i].type, rows[i].name,
						   rows[i].help, NULL);

		if (!metric) {
			free(x);
			return -ENOMEM;
		}
		x->series[i] = metric_series(metric, NULL);
	}
	ep->exported = x; /* freed with the endpoint */
	if (s3_counts_new(&ep->s3_counts, ep->daemon->metrics))
		return -ENOMEM;
	return metrics_on_collect(ep->daemon->metrics, collect, x);
}
