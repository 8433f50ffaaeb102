/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_ctl.c -- what people do with the filter and see of it: the control command `filter`, `status`,
 * metrics (see filter.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/agent/filter_int.h"

#define TOP_MAX	  500
#define HAND_LINE (ADDR_STRLEN + 8)

static const char *const class_names[WEIR_CLASSES] = { "syn", "udp", "dns" };

static const char *verdict_name(int verdict)
{
	return verdict == WEIR_VERDICT_BLOCK ? "block" : verdict == WEIR_VERDICT_ALLOW ? "allow" : "none";
}

static json_t *generation_json(uint64_t generation)
{
	return json_pack("{sI}", "generation", (json_int_t)generation);
}

/* ---- changing ------------------------------------------------------------------------------------- */

static bool same_network(const struct filterlist_entry *a, const struct filterlist_entry *b)
{
	return a->family == b->family && a->len == b->len && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

static struct filter_hand *hand_find(const struct filter *f, const struct filterlist_entry *e)
{
	for (size_t i = 0; i < f->nhand; i++)
		if (same_network(&f->hand[i].e, e))
			return &f->hand[i];
	return NULL;
}

static int network_of(const json_t *request, struct addr_prefix *prefix, char *err, size_t err_len)
{
	const char *text = json_string_value(json_object_get(request, "network"));

	if (text && !addr_prefix_parse(prefix, text))
		return 0;
	snprintf(err, err_len, "\"%s\" is not a network; write it like 203.0.113.0/24 or 2001:db8::/32",
		 text ? text : "");
	return -EINVAL;
}

/* Saved first: what is in force shall also be so after a restart. */
static json_t *hand_changed(struct filter *f, const json_t *request, const char *what,
			    const struct filterlist_entry *e, char *err, size_t err_len)
{
	const char *by = json_string_value(json_object_get(request, "by"));
	json_int_t seconds = json_integer_value(json_object_get(request, "seconds"));
	int rc = filter_hand_write(f);
	const char *op = json_string_value(json_object_get(request, "op"));
	char text[HAND_LINE], until[40] = "";

	if (!strcmp(op, "add"))
		snprintf(until, sizeof(until), seconds ? ", for %lld seconds" : ", for ever", (long long)seconds);
	log_info("filter: %s %s %s by hand%s, by %.64s", op, what,
		 filterlist_format(e, text, sizeof(text)), until, by ? by : "?");
	if (rc)
		snprintf(err, err_len, "it is in force, but cannot be kept for a restart: %s", strerror(-rc));
	filter_want(f, false);
	return rc ? NULL : generation_json(f->wanted);
}

static json_t *do_add(struct filter *f, const json_t *request, char *err, size_t err_len)
{
	const char *verdict = json_string_value(json_object_get(request, "verdict"));
	json_int_t seconds = json_integer_value(json_object_get(request, "seconds"));
	struct filter_hand *at, new = { 0 };
	struct addr_prefix prefix;

	if (network_of(request, &prefix, err, err_len))
		return NULL;
	if (!verdict || (strcmp(verdict, "block") && strcmp(verdict, "allow")) || seconds < 0 ||
	    seconds > 3650LL * 86400) {
		snprintf(err, err_len, "verdict is block or allow, a time at most ten years");
		return NULL;
	}
	filterlist_make(&new.e, &prefix, strcmp(verdict, "allow") ? WEIR_VERDICT_BLOCK : WEIR_VERDICT_ALLOW,
			FILTER_HAND, 0);
	new.until_s = seconds ? (uint64_t)time(NULL) + (uint64_t)seconds : 0;
	at = hand_find(f, &new.e);
	if (!at && f->nhand == FILTER_HAND_MAX) {
		snprintf(err, err_len, "%d networks were added by hand, no more are kept; put them into a file",
			 FILTER_HAND_MAX);
		return NULL;
	}
	if (!f->hand)
		f->hand = calloc(FILTER_HAND_MAX, sizeof(*f->hand));
	if (!f->hand) {
		snprintf(err, err_len, "no memory");
		return NULL;
	}
	if (!at)
		at = &f->hand[f->nhand++];
	*at = new;
	return hand_changed(f, request, verdict, &new.e, err, err_len);
}

/* The entry of the configuration's lists for just this network, or NULL. */
static const struct filterlist_entry *base_find(const struct filter *f, const struct filterlist_entry *e)
{
	for (size_t i = 0; f->base && i < f->base->list.n; i++)
		if (same_network(&f->base->list.entry[i], e))
			return &f->base->list.entry[i];
	return NULL;
}

static const char *place(const struct filter *f, const struct filterlist_entry *e, char *buf, size_t len)
{
	if (e->source == FILTER_HAND || !f->base || e->source >= f->base->nsources)
		return "by hand";
	if (!e->line)
		return "the configuration";
	snprintf(buf, len, "%s:%u", f->base->source[e->source].name, e->line);
	return buf;
}

static json_t *do_remove(struct filter *f, const json_t *request, char *err, size_t err_len)
{
	const char *text = json_string_value(json_object_get(request, "network"));
	const struct filterlist_entry *other;
	struct filterlist_entry e;
	struct addr_prefix prefix;
	struct filter_hand *at;
	char where[4200];

	if (network_of(request, &prefix, err, err_len))
		return NULL;
	filterlist_make(&e, &prefix, WEIR_VERDICT_BLOCK, FILTER_HAND, 0);
	at = hand_find(f, &e);
	if (at) {
		int verdict = at->e.verdict;

		*at = f->hand[--f->nhand];
		return hand_changed(f, request, verdict_name(verdict), &e, err, err_len);
	}
	other = base_find(f, &e);
	if (other)
		snprintf(err, err_len, "%s is from %s: remove it there and reload, or `weir filter add allow` it",
			 text, place(f, other, where, sizeof(where)));
	else
		snprintf(err, err_len, "%s was not added; `weir filter list` shows what was", text);
	return NULL;
}

/* ---- seeing ------------------------------------------------------------------------------------------ */

static json_t *classes_json(const __u64 value[WEIR_CLASSES])
{
	json_t *out = json_object();

	for (int c = 0; c < WEIR_CLASSES; c++)
		json_object_set_new(out, class_names[c], json_integer((json_int_t)value[c]));
	return out;
}

static json_t *hand_json(const struct filter *f)
{
	uint64_t now = (uint64_t)time(NULL);
	json_t *list = json_array();
	char text[HAND_LINE];

	for (size_t i = 0; i < f->nhand; i++) {
		const struct filter_hand *h = &f->hand[i];
		json_t *one = json_pack("{ss ss}", "network", filterlist_format(&h->e, text, sizeof(text)), "verdict",
					verdict_name(h->e.verdict));

		json_object_set_new(one, "seconds_left",
				    h->until_s ? json_integer((json_int_t)(h->until_s > now ? h->until_s - now : 0))
					       : json_null());
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *sources_json(const struct filter *f)
{
	json_t *list = json_array();

	for (size_t i = 0; f->base && i < f->base->nsources; i++) {
		const struct filter_source *s = &f->base->source[i];

		json_array_append_new(list, json_pack("{ss ss sI sI}", "name", s->name, "verdict",
						      verdict_name(s->verdict), "entries", (json_int_t)s->entries,
						      "faults", (json_int_t)s->wrong));
	}
	return list;
}

static json_t *rate_json(const struct conf_rate *rate)
{
	if (!rate->rate)
		return json_null();
	return json_pack("{sI sI}", "rate", (json_int_t)rate->rate, "burst", (json_int_t)rate->burst);
}

static json_t *limits_json(const struct conf_agent *conf)
{
	return json_pack("{so so so so sI sI}", "syn", rate_json(&conf->filter.syn), "udp",
			 rate_json(&conf->filter.udp), "dns", rate_json(&conf->filter.dns), "new",
			 rate_json(&conf->filter.fresh), "prefix4", (json_int_t)conf->filter.prefix4, "prefix6",
			 (json_int_t)conf->filter.prefix6);
}

static void drops_of(const struct filter *f, __u64 *blocked, __u64 limited[WEIR_CLASSES])
{
	struct weir_count count[WEIR_REASON_COUNT] = { 0 };

	dataplane_reasons(f->agent->dp, count);
	*blocked = count[WEIR_REASON_BLOCKED].packets;
	limited[WEIR_CLASS_SYN] = count[WEIR_REASON_LIMITED_SYN].packets;
	limited[WEIR_CLASS_UDP] = count[WEIR_REASON_LIMITED_UDP].packets;
	limited[WEIR_CLASS_DNS] = count[WEIR_REASON_LIMITED_DNS].packets;
}

static int state_of(const struct filter *f, struct filterset_state *state)
{
	size_t len = sizeof(*state);
	int rc;

	memset(state, 0, sizeof(*state));
	rc = dataplane_filter(f->agent->dp, DATAPLANE_FILTER_STATE, NULL, 0, state, &len);
	return rc < 0 ? rc : 0;
}

/* How many networks the table has now: it is never emptied but by new ones. */
static uint64_t tracked(const struct filterset_state *s)
{
	return s->made < WEIR_BUCKETS_MAX ? s->made : WEIR_BUCKETS_MAX;
}

static json_t *summary(const struct filter *f)
{
	struct filterset_state s;
	__u64 blocked, limited[WEIR_CLASSES];
	json_t *out, *dropped;

	if (state_of(f, &s))
		return json_object();
	drops_of(f, &blocked, limited);
	dropped = classes_json(limited);
	json_object_set_new(dropped, "blocked", json_integer((json_int_t)blocked));
	out = json_pack("{sI sI sI sI so sI sI so}", "entries4", (json_int_t)s.entries4, "entries6",
			(json_int_t)s.entries6, "by_hand", (json_int_t)f->nhand, "faults", (json_int_t)f->wrong,
			"dropped", dropped, "networks", (json_int_t)tracked(&s), "networks_made", (json_int_t)s.made,
			"without_bucket", classes_json(s.strangers));
	json_object_set_new(out, "refused", json_boolean(f->refused));
	json_object_set_new(out, "limits", limits_json(&f->agent->d->conf->agent));
	return out;
}

static json_t *do_list(struct filter *f)
{
	json_t *out = summary(f), *faults = json_array();

	for (size_t i = 0; i < f->nfaults; i++)
		json_array_append_new(faults, json_string(f->fault[i]));
	json_object_set_new(out, "fault_lines", faults);
	json_object_set_new(out, "lists", sources_json(f));
	json_object_set_new(out, "hand", hand_json(f));
	json_object_set_new(out, "error", *f->error ? json_string(f->error) : json_null());
	json_object_set_new(out, "generation", json_integer((json_int_t)f->done));
	json_object_set_new(out, "wanted", json_integer((json_int_t)f->wanted));
	return out;
}

static json_t *do_top(struct filter *f, const json_t *request, char *err, size_t err_len)
{
	static struct filterset_top top[TOP_MAX];
	json_int_t max = json_integer_value(json_object_get(request, "max"));
	size_t len = (size_t)(max > 0 && max < TOP_MAX ? max : TOP_MAX) * sizeof(*top);
	int n = dataplane_filter(f->agent->dp, DATAPLANE_FILTER_TOP, NULL, 0, top, &len);
	json_t *list = json_array();

	if (n < 0) {
		snprintf(err, err_len, "the table cannot be read: %s", dataplane_error(f->agent->dp));
		json_decref(list);
		return NULL;
	}
	for (int i = 0; i < n; i++) {
		struct filterlist_entry e = { .family = top[i].family, .len = top[i].len };
		char text[HAND_LINE];
		json_t *one = classes_json(top[i].dropped);

		memcpy(e.addr, top[i].addr, sizeof(e.addr));
		json_object_set_new(one, "network",
				    json_string(top[i].family ? filterlist_format(&e, text, sizeof(text))
							      : "all without a bucket"));
		json_array_append_new(list, one);
	}
	return json_pack("{so}", "networks", list);
}

static json_t *do_test(struct filter *f, const json_t *request, char *err, size_t err_len)
{
	const char *text = json_string_value(json_object_get(request, "address"));
	const struct filterlist_entry *e;
	struct filterset_entry key = { 0 };
	char where[4200], network[HAND_LINE];
	struct addr a;
	json_t *out;
	int rc;

	if (!text || addr_parse(&a, text)) {
		snprintf(err, err_len, "\"%s\" is not an address; write it like 203.0.113.7 or 2001:db8::7",
			 text ? text : "");
		return NULL;
	}
	e = filterlist_find(&f->applied, &a);
	key.family = a.family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6;
	memcpy(key.addr, a.bytes, key.family == WEIR_FAMILY_4 ? 4 : 16);
	rc = dataplane_filter(f->agent->dp, DATAPLANE_FILTER_LOOKUP, &key, sizeof(key), NULL, NULL);
	out = json_pack("{ss ss}", "address", text, "verdict", verdict_name(e ? e->verdict : 0));
	json_object_set_new(out, "packet_path", rc < 0 ? json_null() : json_string(verdict_name(rc)));
	if (e) {
		json_object_set_new(out, "network", json_string(filterlist_format(e, network, sizeof(network))));
		json_object_set_new(out, "from", json_string(place(f, e, where, sizeof(where))));
	}
	return out;
}

json_t *agent_filter(void *daemon, const json_t *request, char *err, size_t err_len)
{
	struct agent *agent = ((struct daemon *)daemon)->state;
	const char *op = json_string_value(json_object_get(request, "op"));

	if (!op || !strcmp(op, "list"))
		return do_list(agent->filter);
	if (!strcmp(op, "add"))
		return do_add(agent->filter, request, err, err_len);
	if (!strcmp(op, "remove"))
		return do_remove(agent->filter, request, err, err_len);
	if (!strcmp(op, "reload"))
		return generation_json(filter_want(agent->filter, true));
	if (!strcmp(op, "top"))
		return do_top(agent->filter, request, err, err_len);
	if (!strcmp(op, "test"))
		return do_test(agent->filter, request, err, err_len);
	snprintf(err, err_len, "there is no \"%s\"; list, add, remove, reload, top and test are", op);
	return NULL;
}

void filter_status(struct filter *f, json_t *answer)
{
	json_object_set_new(answer, "filter", summary(f));
}

/* ---- metrics ------------------------------------------------------------------------------------------- */

int filter_metrics_new(struct filter *f, struct metrics *m)
{
	const struct { struct metric **to; enum metric_type type; const char *name, *help, *labels; } all[] = {
		{ &f->entries, METRIC_GAUGE, "filter_entries", "Networks of the lists in force", "family" },
		{ &f->dropped, METRIC_COUNTER, "filter_dropped_packets_total",
		  "Packets dropped by the lists (blocked) and by limits", "class" },
		{ &f->tracked, METRIC_GAUGE, "filter_networks", "Sources' networks with a bucket, about", NULL },
		{ &f->made, METRIC_COUNTER, "filter_networks_made_total", "Networks that got a bucket", NULL },
		{ &f->evicted, METRIC_COUNTER, "filter_networks_evicted_total",
		  "Networks that lost their bucket to newer ones, about", NULL },
		{ &f->strangers, METRIC_COUNTER, "filter_without_bucket_packets_total",
		  "Packets dropped of networks that were too many and new", "class" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*all[i].to = metric_add(m, all[i].type, all[i].name, all[i].help, all[i].labels);
		if (!*all[i].to)
			return -ENOMEM;
	}
	return 0;
}

void filter_metrics_update(struct filter *f)
{
	struct filterset_state s;
	__u64 blocked, limited[WEIR_CLASSES];

	if (state_of(f, &s))
		return;
	drops_of(f, &blocked, limited);
	metric_set(metric_series(f->entries, "4", NULL), s.entries4);
	metric_set(metric_series(f->entries, "6", NULL), s.entries6);
	metric_set(metric_series(f->tracked, NULL), (double)tracked(&s));
	metric_set(metric_series(f->made, NULL), (double)s.made);
	metric_set(metric_series(f->evicted, NULL), (double)(s.made - tracked(&s)));
	metric_set(metric_series(f->dropped, "blocked", NULL), (double)blocked);
	for (int c = 0; c < WEIR_CLASSES; c++) {
		metric_set(metric_series(f->dropped, class_names[c], NULL), (double)limited[c]);
		metric_set(metric_series(f->strangers, class_names[c], NULL), (double)s.strangers[c]);
	}
}
