/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch.c -- `weir media watch`: a viewer without a screen. The clock that plays, and what is printed.
 *
 * It plays as hls.js does: it begins when two segments are there, fetches as far ahead as the buffer reaches, stands still
 * when the next one is not there, and goes on when it is.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/daemon.h" /* WEIR_VERSION */
#include "tools/rate.h"

#define TICK_MS	       20
#define CONNECT_MS     1500 /* of what segments come from; then it is asked again, as players do */
#define STALL_MS       4000
#define BEGIN_SEGMENTS 2
#define SERVER_THREADS 2
#define PEER_THREADS   3

static volatile sig_atomic_t stopped;

/* ---- small things that all parts use --------------------------------------------------------- */

int64_t viewer_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t viewer_unix(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void viewer_trace(struct viewer *v, const char *what, const char *way, const char *text, size_t len)
{
	json_t *o;
	char *line;

	if (!v->trace)
		return;
	o = json_pack("{s:I, s:s, s:s}", "at", (json_int_t)viewer_unix(), "what", what, "way", way);
	json_object_set_new(o, "text", json_stringn(text, len));
	line = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(o);
	if (line) {
		flockfile(v->trace);
		fputs(line, v->trace);
		putc('\n', v->trace);
		fflush(v->trace);
		funlockfile(v->trace);
	}
	free(line);
}

/* ---- playing --------------------------------------------------------------------------------- */

struct play {
	int64_t began, at; /* monotonic ms */
	bool playing, stalled, over;
	double stall, played; /* ms */
};

/* Is there enough to begin with? */
static bool may_begin(const struct viewer *v)
{
	const struct viewer_rendition *r = &v->renditions[v->mine];
	size_t at = viewer_at(v, v->pos_ms), n = 0;

	while (at + n < r->nsegments && r->segments[at + n].have && n < BEGIN_SEGMENTS)
		n++;
	return n == BEGIN_SEGMENTS || (n && at + n == r->nsegments);
}

/* The time since the last look goes into playing or standing still. Under the lock. */
static void advance(struct viewer *v, struct play *p, int64_t now)
{
	int64_t dt = now - p->at, ahead = viewer_buffered(v);

	p->at = now;
	if (!p->playing) {
		v->count.startup_ms = now - p->began;
		p->playing = may_begin(v);
		return;
	}
	if (p->stalled && !ahead) {
		p->stall += (double)dt;
	} else {
		int64_t step = dt < ahead ? dt : ahead;

		p->stalled = false;
		v->pos_ms += step;
		p->played += (double)step;
		if (step < dt && v->pos_ms < v->duration_ms) {
			p->stalled = true;
			p->stall += (double)(dt - step);
			v->count.stalls++;
		}
		pthread_cond_broadcast(&v->changed); /* the window has moved */
	}
	v->count.stall_ms = (int64_t)p->stall;
	p->over = v->pos_ms >= v->duration_ms;
}

/* ---- printing -------------------------------------------------------------------------------- */

static size_t peers_known(const struct viewer *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->npeers; i++)
		n += *v->peers[i].address && !v->peers[i].bad;
	return n;
}

/* Under the lock. */
static void draw(struct viewer *v, const struct play *p)
{
	const struct viewer_instruction *told = viewer_told(v);
	char server[16], peers[16], up[16], at[16], all[16];

	fprintf(stderr, "\r%s %s of %s, buffer %.1f s, server %s, peers %s, given %s, %s, %s, %zu peers, stood still %.1f s\033[K",
		!p->playing ? "begins" :
		p->stalled  ? "STALLED" :
			      "plays",
		cmd_duration((uint64_t)v->pos_ms / 1000, at), cmd_duration((uint64_t)v->duration_ms / 1000, all),
		(double)viewer_buffered(v) / 1e3, cmd_bytes(v->count.server, server), cmd_bytes(v->count.peers, peers),
		cmd_bytes(v->count.up, up), viewer_states[told->state], viewer_roles[told->role], peers_known(v), p->stall / 1e3);
}

static json_t *result(struct viewer *v, const struct play *p)
{
	const struct viewer_instruction *told = viewer_told(v);
	json_t *from = json_object(), *bad = json_array();

	for (size_t i = 0; i < v->npeers; i++)
		if (v->peers[i].received)
			json_object_set_new(from, v->peers[i].id, json_integer((json_int_t)v->peers[i].received));
	for (size_t i = 0; i < v->bad.n; i++)
		json_array_append_new(bad, json_string(v->bad.id[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:f, s:I, s:f, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:o, s:o}",
			 "asset", v->opt.asset, "rendition", v->renditions[v->mine].name, "viewer", v->name, "peer", v->peer_id,
			 "played", p->played / 1e3, "stalls", (json_int_t)v->count.stalls, "stall", p->stall / 1e3, "startup_ms",
			 (json_int_t)v->count.startup_ms, "finished", p->over, "down_server", (json_int_t)v->count.server,
			 "down_peers", (json_int_t)v->count.peers, "up", (json_int_t)v->count.up, "failed",
			 (json_int_t)v->count.failed, "refused", (json_int_t)v->count.refused, "forged", (json_int_t)v->count.forged,
			 "state", viewer_states[told->state], "role", viewer_roles[told->role], "group",
			 told->given ? (json_int_t)told->group : (json_int_t)-1, "peers", (json_int_t)peers_known(v), "from", from,
			 "bad", bad);
}

static void print_result(struct viewer *v, const struct play *p)
{
	const struct viewer_instruction *told = viewer_told(v);
	char server[16], peers[16], up[16];
	uint64_t down = v->count.server + v->count.peers;

	printf("%s %s: played %.1f s, began after %.1f s, stood still %llu time%s, %.1f s\n", v->opt.asset,
	       v->renditions[v->mine].name, p->played / 1e3, (double)v->count.startup_ms / 1e3, (unsigned long long)v->count.stalls,
	       v->count.stalls == 1 ? "" : "s", p->stall / 1e3);
	printf("from the server %s, from peers %s (%.0f%%), given %s\n", cmd_bytes(v->count.server, server),
	       cmd_bytes(v->count.peers, peers), down ? 100.0 * (double)v->count.peers / (double)down : 0.0,
	       cmd_bytes(v->count.up, up));
	printf("%s, %s, ", viewer_states[told->state],
	       told->role == VIEWER_ALONE ? "alone" :
	       told->role == VIEWER_FIRST ? "in the first group" :
					    "in the second group");
	if (told->given)
		printf("grouping %lld, ", (long long)told->group);
	printf("%zu peer%s\n", peers_known(v), peers_known(v) == 1 ? "" : "s");
	if (v->count.refused)
		printf("%llu segment%s of others were wrong and thrown away\n", (unsigned long long)v->count.refused,
		       v->count.refused == 1 ? "" : "s");
}

/* Plays to the end, or so long; what became of it. */
static void play(struct viewer *v, struct play *p)
{
	bool bar = !v->opt.json && !v->opt.quiet && isatty(STDERR_FILENO);
	const struct timespec pause = { .tv_nsec = TICK_MS * 1000000l };
	int64_t drawn = 0, now = viewer_now();

	*p = (struct play){ .began = now, .at = now };
	while (!p->over && !stopped && (!v->opt.seconds || now < p->began + v->opt.seconds * 1000)) {
		nanosleep(&pause, NULL);
		now = viewer_now();
		pthread_mutex_lock(&v->lock);
		advance(v, p, now);
		if (bar && now - drawn >= 1000) {
			draw(v, p);
			drawn = now;
		}
		pthread_mutex_unlock(&v->lock);
	}
	if (bar)
		fputs("\r\033[K", stderr);
}

/* ---- threads --------------------------------------------------------------------------------- */

static int run(struct viewer *v)
{
	void *(*const parts[])(void *) = { viewer_events_thread, viewer_report_thread, viewer_track_thread, viewer_peer_thread,
					   viewer_server_thread };
	const int copies[] = { 1, 1, v->opt.receive, v->opt.receive ? PEER_THREADS : 0, SERVER_THREADS };
	pthread_t threads[3 + SERVER_THREADS + PEER_THREADS];
	size_t n = 0;
	struct play p;
	int rc = CMD_OK;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		for (int k = 0; k < copies[i]; k++)
			if (!pthread_create(&threads[n], NULL, parts[i], v))
				n++;
	play(v, &p);
	pthread_mutex_lock(&v->lock);
	v->quit = true;
	pthread_cond_broadcast(&v->changed);
	if (v->opt.json)
		cmd_print_json(result(v, &p));
	else
		print_result(v, &p);
	fflush(stdout);
	pthread_mutex_unlock(&v->lock);
	if (eventfd_write(v->wake, 1))
		rc = CMD_FAILED;
	while (n)
		pthread_join(threads[--n], NULL);
	if (!p.playing)
		return cmd_fail("nothing was played: no segment came within %.0f s", (double)v->count.startup_ms / 1e3);
	if (v->opt.max_stall >= 0 && p.stall / 1e3 > v->opt.max_stall)
		return cmd_fail("it stood still for %.1f s, more than --max-stall %.1f", p.stall / 1e3, v->opt.max_stall);
	return rc;
}

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int watch(struct viewer *v)
{
	struct httpc_options options = { .ca = v->opt.ca,
					 .connect_ms = CONNECT_MS,
					 .stall_ms = STALL_MS,
					 .user_agent = "weir/" WEIR_VERSION };
	struct sigaction act = { .sa_handler = on_signal };
	int rc = httpc_new(&v->media, &options);

	if (rc)
		return cmd_fail("%s: cannot read certificates: %s", v->opt.ca ? v->opt.ca : "TLS", strerror(-rc));
	v->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (v->wake < 0)
		return cmd_fail("%s", strerror(errno));
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	rc = viewer_session(v);
	if (!rc)
		rc = viewer_list(v);
	if (!rc && v->opt.start_ms >= v->duration_ms)
		rc = cmd_fail("--start: %s lasts %lld s", v->opt.asset, (long long)v->duration_ms / 1000);
	v->pos_ms = v->opt.start_ms;
	v->local = viewer_is_local(v);
	if (!rc && v->opt.consent)
		rc = viewer_serve_start(v);
	if (!rc)
		rc = run(v);
	viewer_serve_stop(v);
	close(v->wake);
	return rc;
}

static void viewer_free(struct viewer *v)
{
	for (size_t i = 0; i < v->nrenditions; i++) {
		for (size_t k = 0; k < v->renditions[i].nsegments && v->renditions[i].segments; k++) {
			free(v->renditions[i].segments[k].uri);
			viewer_bytes_put(v->renditions[i].segments[k].have);
		}
		free(v->renditions[i].segments);
	}
	free(v->renditions);
	for (size_t i = 0; i < v->npeers; i++)
		free(v->peers[i].have);
	for (size_t i = 0; i < v->ngateways; i++)
		free(v->gateways[i]);
	free(v->token);
	free(v->list_path);
	free(v->list_key);
	httpc_free(v->media);
	web_close(v->web);
	if (v->trace)
		fclose(v->trace);
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->changed);
	free(v);
}

/* ---- the command ----------------------------------------------------------------------------- */

struct words {
	const char *seconds, *consent, *uplink, *buffer, *start, *max_stall, *trace;
};

static int take_words(const struct cmd *cmd, const struct words *w, struct viewer_options *opt)
{
	char *end = NULL;

	opt->consent = !w->consent || !strcmp(w->consent, "yes");
	opt->receive = opt->consent || !strcmp(w->consent, "receive");
	if (!opt->receive && strcmp(w->consent, "no"))
		return cmd_usage(cmd, "--consent wants yes (give and take), receive (take only) or no, not %s", w->consent);
	opt->seconds = w->seconds ? (int64_t)cmd_parse_duration(w->seconds) : 0;
	opt->buffer_ms = (int64_t)cmd_parse_duration(w->buffer) * 1000;
	opt->start_ms = (int64_t)cmd_parse_duration(w->start) * 1000;
	opt->uplink = w->uplink ? rate_parse(w->uplink) : 0;
	opt->max_stall = w->max_stall ? strtod(w->max_stall, &end) : -1;
	if ((w->seconds && !opt->seconds) || !opt->buffer_ms)
		return cmd_usage(cmd, "--seconds and --buffer want a time above 0, such as 60 or 2m");
	if (w->uplink && !opt->uplink)
		return cmd_usage(cmd, "--uplink wants bytes a second, such as 500KiB, not %s", w->uplink);
	if (w->max_stall && (end == w->max_stall || *end || opt->max_stall < 0))
		return cmd_usage(cmd, "--max-stall wants seconds, such as 0.5, not %s", w->max_stall);
	return CMD_OK;
}

static const struct cmd command = {
	"media watch", "[BUCKET/]NAME [--seconds T] [--consent yes|receive|no]", "Watch an asset without a screen, as a player would",
	"  --seconds T     so long (to its end); --start T: from there on\n"
	"  --consent W     yes: take from other viewers and give to them, which tells them this address; receive: only\n"
	"                  take; no: neither, nobody learns of this viewer (yes)\n"
	"  --uplink R      give at most so many bytes a second, such as 500KiB\n"
	"  --bind A[:P]    where other viewers can reach this one (the address by which the gateway is reached)\n"
	"  --rendition N   this one (the first)\n"
	"  --buffer T      fetch so far ahead (30s)\n"
	"  --max-stall S   exit code 1 when it stood still for longer, in seconds\n"
	"  --trace FILE    append what is said: a JSON text for each message, segment, report\n"
	"  --quiet         no line that shows how it goes\n"
	"  --gateway URL   where (default $WEIR_URL, $WEIR_GATEWAY, the login, the gateway that -c FILE names)\n"
	"  --token-file F  who (default $WEIR_TOKEN, the login); a public asset needs none\n"
	"  --ca FILE       certificates that the gateway's is checked by (the system's)\n"
	"  -c FILE         configuration\n  --json          the result as one JSON text\n"
	"\nViewers of this command carry each other over plain TCP; browsers are a swarm of their own.\n"
	"example: weir media watch talk --seconds 60 --max-stall 0.5\n",
	NULL
};

/* "media" is the bucket when none is said. */
static bool take_name(const char *name, char asset[192])
{
	const char *slash = strchr(name, '/');
	int n = slash ? snprintf(asset, 192, "%s", name) : snprintf(asset, 192, "media/%s", name);

	return *name && n < 192 && slash != name && !(slash && !slash[1]);
}

int media_watch(int argc, char **argv)
{
	const struct cmd *cmd = &command;
	struct web_flags flags = { 0 };
	struct words w = { .buffer = "30s", .start = "0s" };
	struct viewer *v = calloc(1, sizeof(*v));
	struct cmd_options opt = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags),
					{ "--seconds", &w.seconds, NULL },
					{ "--consent", &w.consent, NULL },
					{ "--uplink", &w.uplink, NULL },
					{ "--rendition", v ? &v->opt.rendition : NULL, NULL },
					{ "--bind", v ? &v->opt.bind : NULL, NULL },
					{ "--buffer", &w.buffer, NULL },
					{ "--start", &w.start, NULL },
					{ "--max-stall", &w.max_stall, NULL },
					{ "--trace", &w.trace, NULL },
					{ "--quiet", NULL, v ? &v->opt.quiet : NULL },
					{ NULL, NULL, NULL } };
	int n, rc;

	if (!v)
		return cmd_fail("out of memory");
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	n = cmd_parse(cmd, argc, argv, &opt, own);
	rc = n < 0 ? cmd_exit_of(n) : take_words(cmd, &w, &v->opt);
	if (n >= 0 && !rc && (n != 1 || !take_name(argv[0], v->opt.asset)))
		rc = cmd_usage(cmd, "wants one asset, NAME or BUCKET/NAME (weir media ls shows what there is)");
	if (n == 1 && !rc && w.trace && !(v->trace = fopen(w.trace, "we")))
		rc = cmd_fail("%s: cannot be written: %s", w.trace, strerror(errno));
	if (n == 1 && !rc) {
		v->opt.json = opt.json;
		v->opt.ca = flags.ca;
		rc = web_open(&v->web, &opt, &flags, true);
		if (!rc)
			rc = watch(v);
	}
	viewer_free(v);
	return rc;
}
