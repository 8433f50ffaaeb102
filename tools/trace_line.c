// SPDX-License-Identifier: Apache-2.0
/* trace_line.c -- see trace.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/trace.h"

static const struct {
	const char *name, *fate, *meaning;
} reasons[] = {
#define REASON_ROW(name, fate, meaning) { #name, fate, meaning },
	WEIR_REASONS(REASON_ROW)
#undef REASON_ROW
};

static const char *reason_name(const struct trace_packet *p)
{
	return p->head.reason < WEIR_REASON_COUNT ? reasons[p->head.reason].name : "UNKNOWN";
}

static const char *action_name(const struct trace_packet *p)
{
	static const char *const names[] = { "aborted", "dropped", "passed", "sent back", "redirected" };

	return p->head.action < sizeof(names) / sizeof(*names) ? names[p->head.action] : "?";
}

int trace_packet_read(struct trace_packet *p, const uint8_t *body, size_t len)
{
	const char *name[3];
	size_t at = sizeof(p->head);

	if (len < at)
		return -EPROTO;
	memcpy(&p->head, body, sizeof(p->head));
	if (p->head.captured > len - at)
		return -EPROTO;
	p->data = body + at;
	at += p->head.captured;
	for (int i = 0; i < 3; i++) {
		const uint8_t *end = at < len ? memchr(body + at, 0, len - at) : NULL;

		if (!end)
			return -EPROTO;
		name[i] = (const char *)body + at;
		at = (size_t)(end - body) + 1;
	}
	p->service = name[0];
	p->backend = name[1];
	p->interface = name[2];
	return 0;
}

/* ---- in words ---------------------------------------------------------------------------------- */

static const char *proto_name(uint8_t proto, char buf[8])
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	case IPPROTO_IPIP:
		return "ipip";
	case IPPROTO_IPV6:
		return "ipv6";
	}
	snprintf(buf, 8, "ip-%u", proto);
	return buf;
}

static void flags_text(uint8_t flags, char buf[64])
{
	static const char *const names[] = { "FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR" };
	static const uint8_t order[] = { 1, 0, 2, 4, 3, 5, 6, 7 };
	size_t len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < sizeof(order); i++)
		if (flags >> order[i] & 1)
			len += (size_t)snprintf(buf + len, 64 - len, "%s%s", len ? "," : "", names[order[i]]);
}

static bool has_ports(const struct weir_flow *flow)
{
	return flow->source_port || flow->dest_port;
}

static char *end_text(const struct weir_flow *flow, bool source, char *buf, size_t len)
{
	const __be32 *addr = source ? flow->source : flow->dest;
	char text[INET6_ADDRSTRLEN] = "?";
	bool is6 = flow->family == WEIR_FAMILY_6;

	inet_ntop(is6 ? AF_INET6 : AF_INET, addr, text, sizeof(text));
	if (!has_ports(flow))
		snprintf(buf, len, "%s", text);
	else
		snprintf(buf, len, is6 ? "[%s]:%u" : "%s:%u", text,
			 ntohs(source ? flow->source_port : flow->dest_port));
	return buf;
}

static void flow_text(const struct trace_packet *p, char *buf, size_t len)
{
	const struct weir_flow *flow = &p->head.flow;
	char from[64], to[64], flags[64], proto[8];

	if (!flow->family) {
		snprintf(buf, len, p->head.reason == WEIR_REASON_NOT_IP ? "no IP" : "not read");
		return;
	}
	flags_text(flow->proto == IPPROTO_TCP ? p->head.tcp_flags : 0, flags);
	snprintf(buf, len, "%s > %s %s%s%s", end_text(flow, true, from, sizeof(from)),
		 end_text(flow, false, to, sizeof(to)), proto_name(flow->proto, proto), *flags ? " " : "", flags);
}

/* "files → gw-a1 slot 17", as much as is known. */
static void way_text(const struct trace_packet *p, char *buf, size_t len)
{
	size_t at = (size_t)snprintf(buf, len, "%s", p->service);

	if (*p->backend && at < len)
		at += (size_t)snprintf(buf + at, len - at, "%s→ %s", at ? " " : "", p->backend);
	if (p->head.slot && at < len)
		snprintf(buf + at, len - at, "%sslot %u", at ? " " : "", p->head.slot - 1);
}

char *trace_packet_line(const struct trace_packet *p, char *buf, size_t len)
{
	time_t seconds = (time_t)(p->head.time / 1000000000u);
	char flow[256], way[192], clock[16];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	flow_text(p, flow, sizeof(flow));
	way_text(p, way, sizeof(way));
	snprintf(buf, len, "%s.%06u %s %-10s %s  %s%s%uB", clock,
		 (unsigned int)(p->head.time % 1000000000u / 1000u), p->interface, reason_name(p), flow, way,
		 *way ? " " : "", p->head.came);
	return buf;
}

char *trace_packet_comment(const struct trace_packet *p, char *buf, size_t len)
{
	const char *meaning = p->head.reason < WEIR_REASON_COUNT ? reasons[p->head.reason].meaning : "?";
	char way[192];

	way_text(p, way, sizeof(way));
	snprintf(buf, len, "%s (%s): %s%s%s; cpu %u, %u bytes came", reason_name(p), action_name(p), meaning,
		 *way ? "; " : "", way, p->head.cpu, p->head.came);
	return buf;
}

static void set_text(json_t *o, const char *key, const char *value)
{
	if (*value)
		json_object_set_new(o, key, json_string(value));
}

static void set_flow(json_t *o, const struct trace_packet *p)
{
	const struct weir_flow *flow = &p->head.flow;
	char text[INET6_ADDRSTRLEN], proto[8];
	int family = flow->family == WEIR_FAMILY_6 ? AF_INET6 : AF_INET;

	if (!flow->family)
		return;
	set_text(o, "source", inet_ntop(family, flow->source, text, sizeof(text)));
	set_text(o, "destination", inet_ntop(family, flow->dest, text, sizeof(text)));
	if (has_ports(flow)) {
		json_object_set_new(o, "source_port", json_integer(ntohs(flow->source_port)));
		json_object_set_new(o, "destination_port", json_integer(ntohs(flow->dest_port)));
	}
	set_text(o, "proto", proto_name(flow->proto, proto));
}

json_t *trace_packet_json(const struct trace_packet *p)
{
	json_t *o = json_pack("{sf ss ss ss}", "time", (double)p->head.time / 1e9, "interface", p->interface,
			      "reason", reason_name(p), "action", action_name(p));
	char flags[64], data[2 * WEIR_SAMPLE_SNAP + 1] = "";

	set_flow(o, p);
	flags_text(p->head.flow.proto == IPPROTO_TCP ? p->head.tcp_flags : 0, flags);
	set_text(o, "flags", flags);
	set_text(o, "service", p->service);
	set_text(o, "backend", p->backend);
	if (p->head.slot)
		json_object_set_new(o, "slot", json_integer(p->head.slot - 1));
	json_object_set_new(o, "hash", json_integer(p->head.hash));
	json_object_set_new(o, "cpu", json_integer(p->head.cpu));
	json_object_set_new(o, "came_bytes", json_integer(p->head.came));
	json_object_set_new(o, "bytes", json_integer(p->head.length));
	for (uint32_t i = 0; i < p->head.captured && i < WEIR_SAMPLE_SNAP; i++)
		snprintf(data + 2 * i, 3, "%02x", p->data[i]);
	json_object_set_new(o, "data", json_string(data));
	return o;
}
