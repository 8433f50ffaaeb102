/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_track.c -- the tracker: offers, answers, whom we know.
 *
 * Our address is told in our own offers and answers alone, and only when we give at all. Each offer and each answer has
 * a key of its own: whoever was not handed it by the tracker is refused.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/hash.h"
#include "tools/media_watch_ws.h"

#define OFFERS	     5	   /* with each announce */
#define OFFERS_KEPT  64	   /* clients forget an offer in under a minute */
#define SOON_MS	     2500  /* between announces, when some are missing */
#define INTERVAL_MS  30000 /* when the tracker does not say */
#define AGAIN_MS     700   /* before another connection */
#define STEP_MS	     500

struct offer {
	char id[VIEWER_ID + 1], key[VIEWER_KEY + 1];
};
struct track {
	struct viewer *v;
	struct ws_client *ws;
	struct offer offers[OFFERS_KEPT];
	size_t next;
	int64_t announced_at, interval_ms;
	bool told; /* that it cannot be reached */
};

/* ---- identifiers ----------------------------------------------------------------------------- */

void viewer_random_id(char out[VIEWER_ID + 1], const char *prefix)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t random[VIEWER_ID];

	random_bytes(random, sizeof(random));
	for (size_t i = 0; i < VIEWER_ID; i++)
		out[i] = letters[random[i] % 64];
	out[VIEWER_ID] = '\0';
	memcpy(out, prefix, strlen(prefix));
}

bool viewer_ids_have(const struct viewer_ids *ids, const char *id)
{
	for (size_t i = 0; i < ids->n; i++)
		if (!strcmp(ids->id[i], id))
			return true;
	return false;
}

void viewer_ids_add(struct viewer_ids *ids, const char *id)
{
	if (ids->n < VIEWER_PEERS && !viewer_ids_have(ids, id))
		snprintf(ids->id[ids->n++], VIEWER_ID + 1, "%.*s", VIEWER_ID, id);
}

int viewer_id_of(const json_t *value, char out[VIEWER_ID + 1])
{
	const char *text = json_string_value(value);

	if (!text || json_string_length(value) != VIEWER_ID)
		return -EINVAL;
	for (size_t i = 0; i < VIEWER_ID; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return -EINVAL;
	memcpy(out, text, VIEWER_ID + 1);
	return 0;
}

/* ---- whom we know ---------------------------------------------------------------------------- */

struct viewer_peer *viewer_peer_by_id(struct viewer *v, const char *id)
{
	for (size_t i = 0; i < v->npeers; i++)
		if (!strcmp(v->peers[i].id, id))
			return &v->peers[i];
	return NULL;
}

struct viewer_peer *viewer_peer_by_key(struct viewer *v, const char *key)
{
	struct viewer_peer *found = NULL;

	if (strlen(key) != VIEWER_KEY)
		return NULL;
	for (size_t i = 0; i < v->npeers; i++)
		for (int k = 0; k < 2; k++)
			if (*v->peers[i].key_in[k] && !CRYPTO_memcmp(v->peers[i].key_in[k], key, VIEWER_KEY))
				found = &v->peers[i];
	return found;
}

/* Nobody can ask or be asked by it any more; what was moved stays counted. Its place goes to the next when it is needed:
 * threads that ask it now hold its pointer. */
void viewer_peer_drop(struct viewer *v, struct viewer_peer *p)
{
	p->address[0] = '\0';
	memset(p->key_in, 0, sizeof(p->key_in));
	if (p->have)
		memset(p->have, 0, v->renditions[v->mine].nsegments);
}

static struct viewer_peer *peer_add(struct viewer *v, const char *id)
{
	struct viewer_peer *p = viewer_peer_by_id(v, id);

	if (p)
		return p;
	if (v->npeers < VIEWER_PEERS)
		p = &v->peers[v->npeers++];
	for (size_t i = 0; !p && i < VIEWER_PEERS; i++)
		if (!v->peers[i].busy && !*v->peers[i].address && !v->peers[i].bad)
			p = &v->peers[i];
	if (!p)
		return NULL;
	free(p->have);
	memset(p, 0, sizeof(*p));
	snprintf(p->id, sizeof(p->id), "%s", id);
	p->have = calloc(v->renditions[v->mine].nsegments, 1);
	return p;
}

/* This machine's loopback, however it is written: also "any address" and IPv4 within IPv6 (RFC 4291 section 2.5.5.2). */
static bool is_here(const struct addr *a)
{
	static const uint8_t any[16] = { 0 }, mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool four = a->family == AF_INET || !memcmp(a->bytes, mapped, sizeof(mapped));
	const uint8_t *b = a->family == AF_INET ? a->bytes : a->bytes + 12;

	return four ? b[0] == 127 || b[0] == 0 : addr_is_loopback(a) || !memcmp(a->bytes, any, sizeof(any));
}

bool viewer_sdp_take(const char *sdp, bool local, char address[128], char key[VIEWER_KEY + 1])
{
	struct addr_port at;
	uint8_t bytes[VIEWER_KEY / 2];
	char more;

	return sscanf(sdp, "weir-tcp %127s %32s %c", address, key, &more) == 2 && !addr_port_parse(&at, address) && !*at.path && at.port &&
	       !hex_decode(key, bytes, sizeof(bytes)) && (local || !is_here(&at.addr));
}

/* An address that can be asked, or none. */
static void sdp_take(const struct viewer *v, struct viewer_peer *p, const char *sdp)
{
	char address[128] = "", key[VIEWER_KEY + 1] = "";

	if (!viewer_sdp_take(sdp, v->local, address, key))
		return;
	memcpy(p->address, address, sizeof(p->address));
	memcpy(p->key_out, key, sizeof(p->key_out));
	p->fails = 0;
	p->again = p->asked_at = 0;
}

static void key_add(struct viewer_peer *p, const char *key)
{
	memcpy(p->key_in[1], p->key_in[0], sizeof(p->key_in[1]));
	memcpy(p->key_in[0], key, sizeof(p->key_in[0]));
}

static void make_key(char out[VIEWER_KEY + 1])
{
	uint8_t random[VIEWER_KEY / 2];

	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), out);
}

/* Ours: {"type","sdp"}. */
static json_t *description(const struct viewer *v, const char *type, const char *key)
{
	char sdp[192];

	if (v->opt.consent && *v->at)
		snprintf(sdp, sizeof(sdp), "weir-tcp %s %s", v->at, key);
	else
		snprintf(sdp, sizeof(sdp), "weir-tcp - -");
	return json_pack("{s:s, s:s}", "type", type, "sdp", sdp);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void say(struct track *t, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	json_decref(message);
	if (!text)
		return;
	viewer_trace(t->v, "tracker", "out", text, strlen(text));
	ws_client_send(t->ws, text, strlen(text));
	free(text);
}

static void announce(struct track *t, const char *event)
{
	struct viewer *v = t->v;
	json_t *message, *offers = json_array();

	pthread_mutex_lock(&v->lock);
	message = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:i}", "action", "announce", "info_hash", v->swarm, "peer_id",
			    v->peer_id, "numwant", OFFERS, "uploaded", (json_int_t)v->count.up, "downloaded",
			    (json_int_t)(v->count.server + v->count.peers), "left", 1);
	v->announce = false;
	pthread_mutex_unlock(&v->lock);
	if (event)
		json_object_set_new(message, "event", json_string(event));
	for (int i = 0; i < OFFERS && (!event || strcmp(event, "stopped")); i++) {
		struct offer *o = &t->offers[t->next++ % OFFERS_KEPT];

		viewer_random_id(o->id, "");
		make_key(o->key);
		json_array_append_new(offers, json_pack("{s:o, s:s}", "offer", description(v, "offer", o->key), "offer_id", o->id));
	}
	json_object_set_new(message, "offers", offers);
	say(t, message);
	t->announced_at = viewer_now();
}

static void take_offer(struct track *t, const char *peer, const char *offer, const char *sdp)
{
	struct viewer *v = t->v;
	char key[VIEWER_KEY + 1];
	struct viewer_peer *p;

	make_key(key);
	pthread_mutex_lock(&v->lock);
	p = viewer_ids_have(&v->bad, peer) ? NULL : peer_add(v, peer);
	if (p) {
		sdp_take(v, p, sdp);
		key_add(p, key);
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
	if (p)
		say(t, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "action", "announce", "info_hash", v->swarm, "peer_id",
				 v->peer_id, "to_peer_id", peer, "offer_id", offer, "answer", description(v, "answer", key)));
}

static void take_answer(struct track *t, const char *peer, const char *offer, const char *sdp)
{
	struct viewer *v = t->v;
	struct viewer_peer *p;

	for (size_t i = 0; i < OFFERS_KEPT; i++) {
		struct offer *o = &t->offers[i];

		if (!*o->id || strcmp(o->id, offer))
			continue;
		pthread_mutex_lock(&v->lock);
		p = viewer_ids_have(&v->bad, peer) ? NULL : peer_add(v, peer);
		if (p) {
			sdp_take(v, p, sdp);
			key_add(p, o->key);
			pthread_cond_broadcast(&v->changed);
		}
		pthread_mutex_unlock(&v->lock);
		o->id[0] = '\0'; /* an offer is good once */
		return;
	}
}

static void on_message(void *arg, const char *text, size_t len)
{
	struct track *t = arg;
	json_t *o = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
	const json_t *offer = json_object_get(o, "offer"), *answer = json_object_get(o, "answer");
	char peer[VIEWER_ID + 1], id[VIEWER_ID + 1], swarm[VIEWER_ID + 1];
	const char *failure = js_text(o, "failure reason", "");

	viewer_trace(t->v, "tracker", "in", text, len);
	if (*failure)
		cmd_fail("the tracker refuses: %s", web_safe(failure));
	if (js_num(o, "interval") >= 1)
		t->interval_ms = (int64_t)(js_num(o, "interval") * 1000);
	if (!viewer_id_of(json_object_get(o, "info_hash"), swarm) && !strcmp(swarm, t->v->swarm) &&
	    !viewer_id_of(json_object_get(o, "peer_id"), peer) && !viewer_id_of(json_object_get(o, "offer_id"), id) &&
	    strcmp(peer, t->v->peer_id)) {
		if (offer)
			take_offer(t, peer, id, js_text(offer, "sdp", ""));
		else if (answer)
			take_answer(t, peer, id, js_text(answer, "sdp", ""));
	}
	json_decref(o);
}

/* ---- the thread ------------------------------------------------------------------------------ */

void viewer_track_again(struct viewer *v)
{
	v->announce = true;
	if (eventfd_write(v->wake, 1))
		return; /* it is awake */
}

static bool open_tracker(struct track *t, size_t *at)
{
	struct viewer *v = t->v;
	char why[200] = "";
	char *url = viewer_route(viewer_gateway(v, at), "/_/tracker", v->token);
	int rc = url ? ws_client_open(&t->ws, url, v->opt.ca, why) : -ENOMEM;

	free(url);
	if (!rc)
		return true;
	if (!t->told)
		cmd_fail("the tracker of %s cannot be reached: %s; it is tried again", viewer_gateway(v, NULL), web_safe(why));
	t->told = true;
	viewer_gateway_failed(v, *at);
	return false;
}

/* Does what is due; false when another gateway is in use. */
static bool step(struct track *t, size_t at)
{
	struct viewer *v = t->v;
	int64_t now = viewer_now(), since = now - t->announced_at;
	bool again, same;
	eventfd_t seen;

	if (eventfd_read(v->wake, &seen) && errno != EAGAIN)
		return false;
	pthread_mutex_lock(&v->lock);
	again = v->announce;
	same = v->gateway == at;
	pthread_mutex_unlock(&v->lock);
	if (since >= t->interval_ms || (again && since >= SOON_MS))
		announce(t, NULL);
	return same;
}

void *viewer_track_thread(void *arg)
{
	struct viewer *v = arg;
	struct track t = { .v = v };
	const struct timespec pause = { .tv_nsec = AGAIN_MS * 1000000l };
	size_t at;

	while (!v->quit) {
		t.interval_ms = INTERVAL_MS;
		if (open_tracker(&t, &at)) {
			t.told = false;
			announce(&t, "started");
			while (!v->quit && !ws_client_run(t.ws, v->wake, STEP_MS, on_message, &t) && step(&t, at))
				;
			if (v->quit) {
				announce(&t, "stopped");
				ws_client_run(t.ws, -1, 0, on_message, &t);
			}
			ws_client_close(t.ws);
			t.ws = NULL;
		}
		if (!v->quit)
			nanosleep(&pause, NULL);
	}
	return NULL;
}
