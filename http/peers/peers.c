/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c -- the service (peers.h): its two halves, the clock that drives them, and its routes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/peers_int.h"
#include "lib/clock.h"
#include "lib/log.h"

#define TICK_MS		250
#define SECRET_RETRY_MS 2000
#define OFFERS_BYTES	(64u << 20)

/* ---- clocks ---- */

static int64_t clock_ms(clockid_t which)
{
	struct timespec ts;

	clock_gettime(which, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t peers_now_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

int64_t peers_unix_ms(struct peers *p)
{
	return peers_now_ms() + p->wall_offset_ms;
}

/* Small steps of the wall clock would look like viewers who are silent; large ones are the truth at last. */
static void follow_wall(struct peers *p)
{
	int64_t offset = clock_ms(CLOCK_REALTIME) - peers_now_ms(), by = offset - p->wall_offset_ms;

	if (by > 2000 || by < -2000)
		p->wall_offset_ms = offset;
}

/* ---- what the halves say to each other ---- */

static void to_owner(void *arg, enum peers_up kind, const char *viewer, const char *asset, const char *text)
{
	exchange_up(((struct peers *)arg)->exchange, kind, viewer, asset, text);
}

static void at_owner(void *arg, enum peers_up kind, const char *home, const char *viewer, const char *asset, const char *text)
{
	struct peers *p = arg;

	coordinator_up(p->coordinator, peers_unix_ms(p), kind, home, viewer, asset, text);
}

static void to_home(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	exchange_down(((struct peers *)arg)->exchange, home, kind, viewer, text);
}

/* {"p": the payload as text, "m": its MAC}: what was signed travels as it is, however a browser would write JSON. */
static void instruct(struct peers *p, const char *viewer, const char *payload)
{
	char mac[45], *data, *event;
	long long epoch = 0;
	size_t len;
	json_t *o;

	if (!p->ready)
		return;
	if (sscanf(payload, "{\"v\":1,\"seq\":%*u,\"epoch\":%lld", &epoch) != 1)
		log_warn("a gateway of another version instructs viewers: they cannot be told which instruction is the later");
	session_mac(mac, &p->secret, viewer, payload);
	o = json_pack("{s:s, s:s}", "p", payload, "m", mac);
	data = o ? json_dumps(o, JSON_COMPACT) : NULL;
	event = data ? http_event_format("instruction", data, &len) : NULL;
	if (event)
		home_instruct(p->home, viewer, epoch, event, len);
	free(event);
	free(data);
	json_decref(o);
}

static void at_home(void *arg, enum peers_down kind, const char *viewer, const char *text)
{
	struct peers *p = arg;

	if (kind == DOWN_TRACK)
		home_track(p->home, viewer, text);
	else if (kind == DOWN_INSTRUCT)
		instruct(p, viewer, text);
	else if (kind == DOWN_CLOSE)
		home_close(p->home, viewer, peers_now_ms(), text);
	else if (kind == DOWN_AGAIN)
		home_again(p->home, viewer);
	else if (kind == DOWN_CONSENT)
		home_consent(p->home, viewer, strstr(text, "true") != NULL);
}

static uint64_t owner_of(void *arg, const char *asset)
{
	return exchange_owner(((struct peers *)arg)->exchange, asset);
}

static void owner_changed(void *arg)
{
	home_retell(((struct peers *)arg)->home, peers_now_ms());
}

static void home_gone(void *arg, const char *home)
{
	coordinator_home_gone(((struct peers *)arg)->coordinator, home);
}

static void sign_batch(void *arg, const char *way, const char *text, char mac[45])
{
	struct peers *p = arg;

	mac[0] = '\0';
	if (p->ready)
		exchange_mac(mac, &p->secret, way, text, strlen(text));
}

static const struct media_asset *media_of(void *arg, const char *asset)
{
	return media_get(((struct peers *)arg)->media, asset);
}

static void media_back(void *arg, const struct media_asset *a)
{
	media_put(((struct peers *)arg)->media, a);
}

static void endpoints(void *arg, unsigned int *alive, unsigned int *known)
{
	struct peers *p = arg;

	p->opt.endpoints(p->opt.arg, alive, known);
}

/* ---- settings ---- */

static void settings_read(struct peers_settings *set, const struct conf *conf, struct peers *p)
{
	const struct conf_peers *c = &conf->gateway.peers;

	*set = (struct peers_settings){
		.mode = c->mode,
		.ahead_ms = (uint32_t)(c->ahead_us / 1000),
		.session_s = (int64_t)(c->session_us / 1000000),
		.viewers = c->viewers,
		.per_address = c->per_address,
		.origins = json_array(),
		.coordinator = {
			.group = { .size = c->group, .helpers = c->helpers, .margin = (float)c->margin,
				   .uplink_share = (float)c->uplink, .cellular = c->cellular },
			.ahead_ms = (uint32_t)(c->ahead_us / 1000),
			.copies = c->copies,
			.report_ms = PEERS_REPORT_MS,
			.viewers_max = c->viewers * 4, /* of all gateways: those of others come to the owner too */
			.offers_bytes = OFFERS_BYTES,
			.capacity = (double)c->capacity,
			.media = media_of,
			.media_put = media_back,
			.endpoints = endpoints,
			.down = to_home,
			.arg = p,
		},
	};
	for (size_t i = 0; i < c->norigins; i++)
		json_array_append_new(set->origins, json_string(c->origins[i]));
}

int peers_prepare(struct peers **out, const struct conf *conf)
{
	struct peers *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int rc;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->quit_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->quit_cond, &attr);
	pthread_condattr_destroy(&attr);
	p->switches = json_object();
	p->known = json_array();
	p->wall_offset_ms = clock_ms(CLOCK_REALTIME) - peers_now_ms();
	snprintf(p->node, sizeof(p->node), "%s", conf->node);
	settings_read(&p->set, conf, p);
	rc = network_open(&p->db, conf->gateway.peers.networks);
	if (rc) {
		peers_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void peers_configure(struct peers *p, const struct conf *conf)
{
	struct peers_settings set;

	if (!p)
		return;
	settings_read(&set, conf, p);
	pthread_mutex_lock(&p->lock);
	json_decref(p->set.origins);
	p->set = set;
	pthread_mutex_unlock(&p->lock);
	home_limits(p->home, set.viewers, set.per_address);
	coordinator_configure(p->coordinator, &set.coordinator);
	switch_apply(p);
}

/* ---- threads ---- */

/* True: it is time to end. */
static bool wait_ms(struct peers *p, int64_t ms)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);
	bool quit;

	pthread_mutex_lock(&p->quit_lock);
	while (!p->quit && pthread_cond_timedwait(&p->quit_cond, &p->quit_lock, &until) != ETIMEDOUT)
		;
	quit = p->quit;
	pthread_mutex_unlock(&p->quit_lock);
	return quit;
}

/* Public URLs of gateways, also of those that are gone: their pages come here. Under the lock. */
static void know(struct peers *p, const char *url)
{
	const json_t *value;
	size_t i;

	json_array_foreach (p->known, i, value)
		if (!strcmp(json_string_value(value), url))
			return;
	json_array_append_new(p->known, json_string(url));
	if (json_array_size(p->known) > PEERS_KNOWN_MAX)
		json_array_remove(p->known, 0);
}

static void know_gateways(struct peers *p)
{
	json_t *gateways = p->opt.gateways(p->opt.arg), *gateway, *url;
	size_t i, k;

	pthread_mutex_lock(&p->lock);
	json_array_foreach (gateways, i, gateway)
		json_array_foreach (json_object_get(gateway, "public"), k, url)
			if (json_is_string(url))
				know(p, json_string_value(url));
	pthread_mutex_unlock(&p->lock);
	json_decref(gateways);
}

static void *clock_run(void *arg)
{
	struct peers *p = arg;

	for (unsigned int n = 0; !wait_ms(p, TICK_MS); n++) {
		if (n % 4 == 0) {
			follow_wall(p);
			know_gateways(p);
			if (p->ready) /* others would refuse what we say */
				exchange_tick(p->exchange);
			home_sweep(p->home, peers_now_ms(), time(NULL));
		}
		home_retell_asked(p->home, peers_now_ms());
		coordinator_tick(p->coordinator, peers_unix_ms(p));
	}
	return NULL;
}

static void say(struct peers *p, const char *why)
{
	pthread_mutex_lock(&p->lock);
	snprintf(p->said, sizeof(p->said), "%s", why);
	pthread_mutex_unlock(&p->lock);
}

static int take_secret(struct peers *p)
{
	uint8_t key[32];
	int rc = peers_secret_get(p->opt.registry, &p->secret);

	if (rc) {
		say(p, rc == -EPROTO ? "what the registry has as " REG_PEERS "secret is no secret" : registry_error());
		return rc;
	}
	peers_secret_derive(&p->secret, "network", NULL, key);
	memcpy(p->network_key, key, sizeof(p->network_key));
	peers_secret_derive(&p->secret, "media", NULL, key);
	rc = media_set_key(p->media, key);
	if (rc)
		say(p, "the key of media lists cannot be made");
	else
		p->ready = true;
	return rc;
}

/* The registry may be silent when we start, or for long. */
static void *fetch_run(void *arg)
{
	struct peers *p = arg;
	bool told = false;

	while (take_secret(p)) {
		if (!told)
			log_warn("the peers secret is not known yet: no viewer's session is opened before (%s)", p->said);
		told = true;
		if (wait_ms(p, SECRET_RETRY_MS))
			return NULL;
	}
	if (told)
		log_info("the peers secret is known: viewers' sessions are opened");
	return NULL;
}

/* ---- life ---- */

static int start_threads(struct peers *p)
{
	int err = pthread_create(&p->fetcher, NULL, fetch_run, p);

	p->has_fetcher = !err;
	if (!err) {
		err = pthread_create(&p->clock, NULL, clock_run, p);
		p->has_clock = !err;
	}
	return -err;
}

int peers_start(struct peers *p, const struct peers_options *opt)
{
	struct home_options home = { .owner = owner_of, .up = to_owner, .arg = p };
	struct exchange_options exchange = { .peers = &p->opt, .up = at_owner, .down = at_home, .owner_changed = owner_changed,
					     .home_gone = home_gone, .sign = sign_batch, .arg = p };
	int rc;

	if (!p)
		return 0;
	p->opt = *opt;
	snprintf(p->folder, sizeof(p->folder), "%s", opt->folder);
	p->opt.folder = p->folder;
	p->opt.node = p->node;
	rc = home_new(&p->home, &home);
	if (!rc)
		rc = media_open(&p->media, &p->opt);
	if (!rc)
		rc = coordinator_new(&p->coordinator, &p->set.coordinator);
	if (!rc)
		rc = exchange_start(&p->exchange, &exchange);
	if (!rc)
		rc = connect_start(p);
	if (!rc)
		rc = measure_start(p);
	if (rc)
		return rc;
	home_limits(p->home, p->set.viewers, p->set.per_address);
	switch_apply(p);
	rc = switch_watch(p);
	return rc ? rc : start_threads(p);
}

unsigned int peers_connections(unsigned int viewers)
{
	return viewers + viewers / 8 + 16;
}

int peers_serve(struct peers *p, struct httpd *server)
{
	(void)p, (void)server; /* streams and sockets are the requests' */
	return 0;
}

void peers_stop(struct peers *p)
{
	if (!p)
		return;
	p->stopping = true;
	pthread_mutex_lock(&p->quit_lock);
	p->quit = true;
	pthread_cond_broadcast(&p->quit_cond);
	pthread_mutex_unlock(&p->quit_lock);
	if (p->has_clock)
		pthread_join(p->clock, NULL);
	if (p->has_fetcher)
		pthread_join(p->fetcher, NULL);
	p->has_clock = p->has_fetcher = false;
	registry_unwatch(p->watch);
	p->watch = NULL;
	measure_stop(p); /* it counts what goes now */
	connect_stop(p);
	if (p->home)
		home_end(p->home);
}

/* Requests that were under way when it stopped are over now. */
void peers_free(struct peers *p)
{
	if (!p)
		return;
	ws_free(p->ws);
	exchange_stop(p->exchange);
	coordinator_free(p->coordinator);
	media_close(p->media);
	home_free(p->home);
	network_close(p->db);
	json_decref(p->set.origins);
	json_decref(p->switches);
	json_decref(p->known);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->quit_lock);
	pthread_cond_destroy(&p->quit_cond);
	free(p);
}

json_t *peers_status(struct peers *p)
{
	struct coordinator_counts c = { 0 };
	struct home_counts h;

	if (!p)
		return NULL;
	coordinator_counts(p->coordinator, &c);
	home_counts(p->home, &h);
	return json_pack("{s:b, s:i, s:i, s:i, s:I, s:I}", "ready", p->ready ? 1 : 0, "viewers", (int)h.viewers, "sockets", (int)h.sockets,
			 "streams", (int)h.streams, "grouped", (json_int_t)c.viewers, "groupings", (json_int_t)c.groupings);
}
