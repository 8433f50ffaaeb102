/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_status.c -- what `weir status` and `weir top` show of the roles edge, origin and
 * authority.
 */
#include "tools/tunnel.h"

#include <math.h>
#include <stdio.h>

#define TUNNELS_SHOWN 20

static uint64_t count(const json_t *o, const char *key)
{
	return (uint64_t)fmax(0, js_num(o, key));
}

void tunnel_print_edge(const json_t *edge)
{
	const json_t *list = json_object_get(edge, "tunnels"), *o, *origin,
		     *clients = json_object_get(edge, "clients");
	const json_t *open = json_object_get(clients, "connections");
	size_t i, k, n = json_array_size(list);
	char up[16], down[16];

	printf("\nedge: %s clients by HTTP/1, %s by HTTP/2, %s of bytes; %s requests served%s%s\n",
	       js_show(open, "http1", 0), js_show(open, "http2", 0), js_show(open, "bytes", 0),
	       js_show(clients, "served", 0),
	       json_is_true(json_object_get(edge, "draining")) ? "; draining" : "",
	       json_is_true(json_object_get(edge, "stale"))
		       ? "; it waits for the registry before it serves tunnels"
		       : "");
	if (!n)
		return;
	struct table *t =
		table_new("TUNNEL|ORIGINS>|CONNECTIONS>|OPEN>|REQUESTS>|IN>|OUT>|ERRORS>");

	json_array_foreach (list, i, o) {
		const json_t *origins = json_object_get(o, "origins");
		char norigins[16], connections[16];
		uint64_t sum = 0;

		if (i == TUNNELS_SHOWN)
			break;
		json_array_foreach (origins, k, origin)
			sum += count(origin, "connections");
		snprintf(norigins, sizeof(norigins), "%zu", json_array_size(origins));
		snprintf(connections, sizeof(connections), "%llu", (unsigned long long)sum);
		table_row(t, js_text(o, "name", "?"), norigins, connections, js_show(o, "open", 0),
			  js_show(o, "requests", 0), cmd_bytes(count(o, "bytes_up"), up),
			  cmd_bytes(count(o, "bytes_down"), down), js_show(o, "errors", 0), NULL);
	}
	putchar('\n');
	table_print(t);
	if (n > TUNNELS_SHOWN)
		printf("and %zu more (--json has all)\n", n - TUNNELS_SHOWN);
}

void tunnel_print_origin(const json_t *origin)
{
	const json_t *attached = json_object_get(origin, "attached"), *o,
		     *requests = json_object_get(origin, "requests");
	const json_t *targets = json_object_get(origin, "targets"),
		     *connections = json_object_get(origin, "connections");
	size_t i;

	printf("\norigin of tunnel %s: %s of %s connections to %s edge%s; %s requests, %s "
	       "failed%s\n",
	       js_text(origin, "tunnel", "?"), js_show(attached, "connections", 0),
	       js_show(attached, "wanted", 0), js_show(attached, "edges", 0),
	       js_num(attached, "edges") == 1 ? "" : "s", js_show(requests, "total", 0),
	       js_show(requests, "failed", 0),
	       json_is_true(json_object_get(origin, "draining")) ? "; draining" : "");
	if (json_array_size(connections)) {
		struct table *t = table_new("EDGE|SITE|ADDRESS|STATE|RTT MS>|OPEN>|FOR S>");

		json_array_foreach (connections, i, o)
			table_row(t, js_text(o, "edge", "?"), js_text(o, "site", ""),
				  js_text(o, "address", "?"), js_text(o, "state", "?"),
				  js_show(o, "rtt_ms", 1), js_show(o, "open", 0),
				  js_show(o, "since_s", 0), NULL);
		putchar('\n');
		table_print(t);
	}
	if (json_array_size(targets)) {
		struct table *t = table_new("HOSTNAME|PORT>|TO|STATE|REQUESTS>|FAILED>|WHY");

		json_array_foreach (targets, i, o) {
			bool answers = json_is_true(json_object_get(o, "answers"));

			table_row(t, js_text(o, "hostname", "*"),
				  js_num(o, "port") > 0 ? js_show(o, "port", 0) : "-",
				  js_text(o, "to", "?"),
				  answers		       ? "answers"
				  : *js_text(o, "problem", "") ? "down"
							       : "not asked yet",
				  js_show(o, "requests", 0), js_show(o, "failures", 0),
				  js_text(o, "problem", ""), NULL);
		}
		putchar('\n');
		table_print(t);
	}
}

void tunnel_print_authority(const json_t *authority)
{
	printf("\nauthority: %s origins' certificates signed, %s refused, %s wait\n",
	       js_show(authority, "signed", 0), js_show(authority, "refused", 0),
	       js_show(authority, "waiting", 0));
}
