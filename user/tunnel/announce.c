/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.c -- members/edge/NODE: where other edges encapsulate to, where origins dial, where
 * clients come.
 */
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/attach.h"

static bool unspecified(const struct addr *a)
{
	static const uint8_t none[16];

	return a->family == AF_UNSPEC || !memcmp(a->bytes, none, a->family == AF_INET ? 4 : 16);
}

void edge_addresses(const struct conf *conf, struct addr *v4, struct addr *v6)
{
	*v4 = conf->edge.address;
	*v6 = conf->edge.address6;
	for (size_t i = 0; i < conf->edge.nattach; i++) {
		const struct addr *a = &conf->edge.attach[i].addr;

		if (unspecified(a))
			continue;
		if (a->family == AF_INET && v4->family == AF_UNSPEC)
			*v4 = *a;
		if (a->family == AF_INET6 && v6->family == AF_UNSPEC)
			*v6 = *a;
	}
}

static json_t *addr_json(const struct addr *a)
{
	char text[ADDR_STRLEN];

	return a->family == AF_UNSPEC ? json_null()
				      : json_string(addr_format(a, text, sizeof(text)));
}

/* HOST:PORT of the attach listeners; one on every address is said as one of this edge's own. */
static json_t *attach_json(const struct conf *conf, const struct addr *v4, const struct addr *v6)
{
	json_t *list = json_array();

	for (size_t i = 0; i < conf->edge.nattach; i++) {
		struct addr_port ap = conf->edge.attach[i];
		char where[ADDR_PORT_STRLEN];

		if (*ap.path)
			continue;
		if (unspecified(&ap.addr))
			ap.addr = ap.addr.family == AF_INET6 ? *v6 : *v4;
		ap.proto = 0;
		if (ap.addr.family != AF_UNSPEC)
			json_array_append_new(
				list, json_string(addr_port_format(&ap, where, sizeof(where))));
	}
	return list;
}

/* Where clients reach this edge, when tunnels have no addresses of their own. */
static json_t *public_json(const struct conf *conf, const struct addr *v4, const struct addr *v6)
{
	const struct addr_port *lists[] = { conf->edge.listen_tls, conf->edge.listen };
	const size_t n[] = { conf->edge.nlisten_tls, conf->edge.nlisten };
	const struct addr *found4 = NULL, *found6 = NULL;
	json_t *list = json_array();

	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < n[k]; i++) {
			const struct addr *a = &lists[k][i].addr;

			if (a->family == AF_INET && !found4)
				found4 = unspecified(a) ? v4 : a;
			if (a->family == AF_INET6 && !found6)
				found6 = unspecified(a) ? v6 : a;
		}
	if (found4 && found4->family != AF_UNSPEC)
		json_array_append_new(list, addr_json(found4));
	if (found6 && found6->family != AF_UNSPEC)
		json_array_append_new(list, addr_json(found6));
	return list;
}

void edge_announce(struct edge *edge)
{
	const struct conf *conf = edge->d->conf;
	struct addr v4, v6;
	char *text;
	json_t *o;

	edge_addresses(conf, &v4, &v6);
	o = json_pack("{s:o,s:o,s:o,s:o}", "address", addr_json(&v4), "address6", addr_json(&v6),
		      "attach", attach_json(conf, &v4, &v6), "public", public_json(conf, &v4, &v6));
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (text)
		leased_announce(edge->leased, text);
	free(text);
	json_decref(o);
}
