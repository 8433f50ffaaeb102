// SPDX-License-Identifier: Apache-2.0
/*
 * trace_ask.c -- from a request for packets, in people's words, to the packet path's filter.
 *
 * Members, all optional: address (prefix), port, proto, reason (a list of names, or what becomes of a
 * packet: "sent", "passed", "dropped"), service, backend, one_of, snap, inner, count, seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "user/agent/trace_int.h"

struct asked {
	struct trace_wish *wish;
	const struct agent *agent;
	const json_t *request;
	char *err;
	size_t err_len;
};

static int wrong(const struct asked *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int wrong(const struct asked *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->err, a->err_len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void say(const struct asked *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds a word to what this trace is called. */
static void say(const struct asked *a, const char *fmt, ...)
{
	size_t len = strlen(a->wish->text);
	va_list ap;

	if (len && len + 1 < sizeof(a->wish->text))
		strcpy(a->wish->text + len++, " ");
	va_start(ap, fmt);
	vsnprintf(a->wish->text + len, sizeof(a->wish->text) - len, fmt, ap);
	va_end(ap);
}

/* A whole number within limits, or `otherwise` when it was not given. */
static int number(const struct asked *a, const char *key, uint64_t min, uint64_t max, uint64_t otherwise,
		  uint64_t *out)
{
	const json_t *o = json_object_get(a->request, key);
	json_int_t value = json_integer_value(o);

	*out = otherwise;
	if (!o)
		return 0;
	if (!json_is_integer(o) || value < (json_int_t)min || value > (json_int_t)max)
		return wrong(a, "%s: a whole number from %llu to %llu is wanted", key,
			     (unsigned long long)min, (unsigned long long)max);
	*out = (uint64_t)value;
	return 0;
}

static const char *text(const struct asked *a, const char *key)
{
	return json_string_value(json_object_get(a->request, key));
}

/* ---- one by one --------------------------------------------------------------------------------- */

static int ask_address(const struct asked *a)
{
	struct weir_sample_filter *f = &a->wish->filter;
	const char *address = text(a, "address");
	struct addr_prefix p;
	unsigned int bits;

	if (!address)
		return 0;
	if (addr_prefix_parse(&p, address)) {
		if (addr_parse(&p.addr, address))
			return wrong(a, "address: \"%s\" is no address or prefix, such as 192.0.2.0/24",
				     address);
		p.len = p.addr.family == AF_INET ? 32 : 128;
	}
	bits = p.len;
	if (p.addr.family == AF_INET) {
		f->addr[2] = htonl(0xffff);
		memcpy(&f->addr[3], p.addr.bytes, 4);
		bits += 96;
	} else {
		memcpy(f->addr, p.addr.bytes, 16);
	}
	for (unsigned int i = 0; i < bits; i++)
		((uint8_t *)f->mask)[i / 8] |= (uint8_t)(0x80 >> i % 8);
	say(a, "--address %s", address);
	return 0;
}

static int ask_proto(const struct asked *a)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} known[] = { { "tcp", IPPROTO_TCP },	{ "udp", IPPROTO_UDP },	 { "icmp", IPPROTO_ICMP },
		      { "icmpv6", IPPROTO_ICMPV6 }, { "ipip", IPPROTO_IPIP }, { "ipv6", IPPROTO_IPV6 } };
	const char *name = text(a, "proto");
	char *end;
	long value;

	if (!name)
		return 0;
	say(a, "--proto %s", name);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strcasecmp(name, known[i].name))
			continue;
		a->wish->filter.proto = known[i].proto;
		return 0;
	}
	value = strtol(name, &end, 10);
	if (end == name || *end || value < 1 || value > 255)
		return wrong(a, "proto: \"%s\" is not known: tcp, udp, icmp, icmpv6, ipip, ipv6 or a number",
			     name);
	a->wish->filter.proto = (uint8_t)value;
	return 0;
}

static uint64_t reasons_of(const char *name)
{
	uint64_t found = 0;

	for (int r = 0; r < WEIR_REASON_COUNT; r++)
		if (!strcasecmp(name, dataplane_reason_name((enum weir_reason)r)) ||
		    !strcasecmp(name, dataplane_reason_fate((enum weir_reason)r)))
			found |= 1ull << r;
	return found;
}

static int ask_reasons(const struct asked *a)
{
	const json_t *list = json_object_get(a->request, "reason"), *o;
	char all[1024] = "";
	size_t i, len = 0;
	uint64_t found;

	a->wish->filter.reasons = json_array_size(list) ? 0 : ~0ull;
	json_array_foreach (list, i, o) {
		const char *name = json_string_value(o);

		found = name ? reasons_of(name) : 0;
		a->wish->filter.reasons |= found;
		if (found) {
			say(a, "--reason %s", name);
			continue;
		}
		for (int r = 0; r < WEIR_REASON_COUNT && len < sizeof(all); r++)
			len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", r ? ", " : "",
						dataplane_reason_name((enum weir_reason)r));
		return wrong(a, "reason: \"%.40s\" is not known: sent, passed, dropped, taken, or one of %s",
			     name ? name : "?", all);
	}
	return 0;
}

static int ask_service(const struct asked *a, struct service **out)
{
	const char *name = text(a, "service");

	*out = NULL;
	if (!name)
		return 0;
	say(a, "--service %s", name);
	*out = agent_service((struct agent *)(uintptr_t)a->agent, name);
	if (*out && (*out)->number >= 0) {
		a->wish->filter.service = (uint32_t)(*out)->number + 1;
		return 0;
	}
	if (*out)
		return wrong(a, "service %.63s has no addresses: no packets are for it", name);
	int number = route_tunnel_number(a->agent->route, name);

	if (number < 0)
		return wrong(a, "there is no service %.63s here (weir status lists them)", name);
	a->wish->filter.service = (uint32_t)number + 1;
	return 0;
}

static int ask_backend(const struct asked *a, const struct service *service)
{
	const char *name = text(a, "backend");
	const struct backend *found = NULL;

	if (!name)
		return 0;
	say(a, "--backend %s", name);
	for (size_t i = 0; i < a->agent->n; i++) {
		const struct service *s = a->agent->services[i];
		const struct backend *b;
		size_t at;

		if (service && s != service)
			continue;
		b = service_backend(s, name, &at);
		if (!b || !b->index)
			continue;
		if (found)
			return wrong(a, "backend %.63s is in services %.63s and %.63s: say which with --service",
				     name, found->service->name, s->name);
		found = b;
	}
	if (!found)
		return wrong(a, "there is no backend %.63s%s%.63s here (weir status lists them)", name,
			     service ? " in service " : "", service ? service->name : "");
	a->wish->filter.backend = (uint16_t)found->index;
	return 0;
}

static int ask_numbers(const struct asked *a)
{
	struct weir_sample_filter *f = &a->wish->filter;
	uint64_t port, one_of, snap, seconds;
	int rc = number(a, "port", 1, 65535, 0, &port);

	if (!rc)
		rc = number(a, "one_of", 1, UINT32_MAX, 0, &one_of);
	if (!rc)
		rc = number(a, "snap", 1, WEIR_SAMPLE_SNAP, 0, &snap);
	if (!rc)
		rc = number(a, "count", 1, TRACE_PACKETS_MAX, TRACE_PACKETS, &a->wish->packets);
	if (!rc)
		rc = number(a, "seconds", 1, TRACE_SECONDS_MAX, TRACE_SECONDS, &seconds);
	if (rc)
		return rc;
	f->port = htons((uint16_t)port);
	f->one_of = (uint32_t)one_of;
	f->snap = (uint16_t)snap;
	f->inner = json_is_true(json_object_get(a->request, "inner"));
	a->wish->seconds = (uint32_t)seconds;
	if (port)
		say(a, "--port %u", (unsigned int)port);
	if (one_of > 1)
		say(a, "--one-of %u", (unsigned int)one_of);
	return 0;
}

int trace_wish_read(struct trace_wish *out, const struct agent *agent, const json_t *request, char *err,
		    size_t err_len)
{
	const struct asked a = { out, agent, request, err, err_len };
	struct service *service;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = ask_address(&a);
	if (!rc)
		rc = ask_numbers(&a);
	if (!rc)
		rc = ask_proto(&a);
	if (!rc)
		rc = ask_reasons(&a);
	if (!rc)
		rc = ask_service(&a, &service);
	if (!rc)
		rc = ask_backend(&a, service);
	if (!*out->text)
		strcpy(out->text, "everything");
	return rc;
}
