/* SPDX-License-Identifier: Apache-2.0 */
/* check.c -- see check.h. */
#include "tests/bpf/check.h"

#include <linux/bpf.h>
#include <netinet/in.h>
#include <string.h>

/* An IP packet in a frame, as far as its headers can be believed. */
struct view {
	const uint8_t *ip;
	uint32_t room;          /* bytes of the frame from ip on */
	uint32_t bytes;         /* as its header says */
	uint32_t header;        /* of IPv4 with options, or 40 */
	uint8_t version, proto, ttl;
};

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)(p[0] << 8 | p[1]);
}

static bool view_ip(struct view *v, const uint8_t *ip, uint32_t room)
{
	*v = (struct view){ .ip = ip, .room = room };
	if (room < 20)
		return false;
	v->version = ip[0] >> 4;
	if (v->version == 4) {
		v->header = (ip[0] & 15) * 4u;
		v->bytes = be16(ip + 2);
		v->proto = ip[9];
		v->ttl = ip[8];
	} else if (v->version == 6 && room >= 40) {
		v->header = 40;
		v->bytes = be16(ip + 4) + 40;
		v->proto = ip[6];
		v->ttl = ip[7];
	} else {
		return false;
	}
	return v->header >= 20 && v->bytes >= v->header && v->bytes <= room;
}

/* Behind the link header, with one VLAN tag or none; the type must agree with the version. */
static bool view_frame(struct view *v, const uint8_t *data, uint32_t len)
{
	uint32_t at = 14, type;

	if (len < 18)
		return false;
	type = be16(data + 12);
	if (type == 0x8100 || type == 0x88a8) {
		type = be16(data + 16);
		at = 18;
	}
	if (len < at || !view_ip(v, data + at, len - at))
		return false;
	return type == (v->version == 4 ? 0x0800 : 0x86dd);
}

static uint32_t sum_of(const uint8_t *p, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static bool header_sum_ok(const struct view *v)
{
	return v->version == 6 || sum_of(v->ip, v->header, 0) == 0xffff;
}

/* Of TCP, UDP, ICMP and ICMPv6 right behind the header, unfragmented; others count as right. */
static bool transport_sum_ok(const struct view *v)
{
	uint32_t len = v->bytes - v->header, sum = 0;
	const uint8_t *at = v->ip + v->header;

	if (v->version == 4 && (be16(v->ip + 6) & 0x3fff))
		return true;
	if (v->proto == IPPROTO_UDP && len >= 8 && !be16(at + 6))
		return true;
	if (v->proto == IPPROTO_UDP && len >= 8 && be16(at + 4) >= 8 && be16(at + 4) <= len)
		len = be16(at + 4);
	if (v->proto == IPPROTO_TCP || v->proto == IPPROTO_UDP || v->proto == IPPROTO_ICMPV6) {
		sum = v->version == 4 ? sum_of(v->ip + 12, 8, 0) : sum_of(v->ip + 8, 32, 0);
		sum += v->proto + len;
	} else if (v->proto != IPPROTO_ICMP) {
		return true;
	}
	return sum_of(at, len, sum) == 0xffff;
}

/* The outer header of what was encapsulated here, and that the packet that came in lies inside. */
static const char *check_encapsulated(const struct view *in, const struct view *out)
{
	const uint8_t *udp = out->ip + out->header;
	uint32_t inner = out->header, proto = out->proto;

	if (out->header != (out->version == 4 ? 20 : 40))
		return "options in the outer header";
	if (!header_sum_ok(out))
		return "the outer header's checksum";
	if (proto == IPPROTO_UDP) {
		uint32_t words = out->version == 4 ? WEIR_GUE_WORDS4 : WEIR_GUE_WORDS6;

		inner += 12 + words * 4;
		if (out->bytes < inner || be16(udp + 4) != out->bytes - out->header)
			return "the length of UDP";
		if (!transport_sum_ok(out))
			return "the checksum of UDP";
		if (udp[8] != words || be16(udp + 10) || udp[12] != WEIR_GUE_MAGIC ||
		    udp[13] > WEIR_OWNERS || udp[14] || udp[15] & ~WEIR_GUE_ASKS)
			return "the GUE header";
		proto = udp[9];
	}
	if (proto != (in->version == 4 ? IPPROTO_IPIP : IPPROTO_IPV6))
		return "the protocol of what is inside";
	if (out->bytes != inner + in->bytes || out->room != inner + in->room)
		return "the length of the whole";
	if (memcmp(out->ip + inner, in->ip, in->room) != 0)
		return "what is inside";
	return NULL;
}

/* "Too big" to who sent the packet, quoting its beginning. */
static const char *check_too_big(const struct view *in, const struct view *out)
{
	const uint8_t *icmp = out->ip + out->header;
	uint32_t at = out->version == 4 ? 12 : 8, len = out->version == 4 ? 4 : 16;

	if (out->version != in->version || out->bytes != out->room || out->bytes > 1280)
		return "the length of the error";
	if (!header_sum_ok(out) || !transport_sum_ok(out))
		return "a checksum of the error";
	if (memcmp(out->ip + at, in->ip + at + len, len) != 0 ||
	    memcmp(out->ip + at + len, in->ip + at, len) != 0)
		return "the addresses of the error";
	if (out->version == 4 ? icmp[0] != 3 || icmp[1] != 4 : icmp[0] != 2 || icmp[1] != 0)
		return "the type of the error";
	len = out->bytes - out->header - 8;
	if (len > in->room || memcmp(icmp + 8, in->ip, len) != 0)
		return "the quote of the error";
	return NULL;
}

/* A packet whose headers were changed, not its size: echo, relay, route, translation. A VLAN tag is left behind when it
 * leaves by another interface. */
static const char *check_changed(const struct view *in, const struct view *out)
{
	if (out->bytes != in->bytes || out->room != in->room || out->version != in->version)
		return "the length";
	if (header_sum_ok(in) && !header_sum_ok(out))
		return "the header's checksum";
	if (transport_sum_ok(in) && !transport_sum_ok(out))
		return "the transport's checksum";
	return NULL;
}

/* The end of the packet that came in; ECN may have been carried over (RFC 6040). */
static const char *check_opened(const struct frame *in, const struct outcome *o)
{
	struct view out;
	const uint8_t *was;
	uint32_t skip;

	if (o->len >= in->len || o->len < 34)
		return "the length";
	out.ip = o->data + (be16(o->data + 12) == 0x8100 || be16(o->data + 12) == 0x88a8 ? 18 : 14);
	out.room = o->len - (uint32_t)(out.ip - o->data);
	was = in->data + in->len - out.room;
	if (out.ip[0] >> 4 != (be16(out.ip - 2) == 0x0800 ? 4 : 6))
		return "the link header's type";
	skip = out.ip[0] >> 4 == 4 ? 12 : 2;
	if (memcmp(out.ip + skip, was + skip, out.room - skip) != 0 || out.ip[0] != was[0] ||
	    (skip == 12 && (memcmp(out.ip + 2, was + 2, 8) != 0 || (out.ip[1] ^ was[1]) & 0xfc)))
		return "what was inside";
	if (skip == 12 && (was[0] & 15) == 5 && ip4_checksum_ok(was) && !ip4_checksum_ok(out.ip))
		return "the header's checksum";
	return NULL;
}

static const char *check_sent(const struct frame *in, const struct outcome *o)
{
	struct view came, out;

	if (!view_frame(&came, in->data, in->len))
		return "what came was no packet";
	if (!view_frame(&out, o->data, o->len))
		return "no packet";
	if (!out.ttl && o->reason != WEIR_REASON_ROUTED)
		return "the time to live";
	switch (o->reason) {
	case WEIR_REASON_FORWARDED:
		return check_encapsulated(&came, &out);
	case WEIR_REASON_ICMP_ERROR: /* to a backend behind NAT, or encapsulated */
	case WEIR_REASON_FRAGMENT:
	case WEIR_REASON_RELAYED: /* one that came encapsulated, or one that this node owned */
		return out.bytes == came.bytes ? check_changed(&came, &out) : check_encapsulated(&came, &out);
	case WEIR_REASON_TOO_BIG:
		return check_too_big(&came, &out);
	case WEIR_REASON_ECHO:
	case WEIR_REASON_ROUTED:
	case WEIR_REASON_TRANSLATED:
	case WEIR_REASON_RETURNED:
		return check_changed(&came, &out);
	default:
		return "sent, but the reason says otherwise";
	}
}

const char *check_outcome(const struct frame *in, const struct outcome *o)
{
	struct view came, out;

	if (o->reason < 0)
		return o->reason == -1 ? "counted under no reason" : "counted under two reasons";
	switch (o->action) {
	case XDP_TX:
	case XDP_REDIRECT:
		return check_sent(in, o);
	case XDP_DROP:
		return NULL;
	case XDP_PASS:
		if (o->reason == WEIR_REASON_DECAPSULATED)
			return check_opened(in, o);
		/* Encapsulated, and left to the host for want of a neighbour, or of a device that XDP can send by. */
		if ((o->reason == WEIR_REASON_NO_NEIGHBOUR || o->reason == WEIR_REASON_NO_DEVICE) &&
		    view_frame(&came, in->data, in->len) && view_frame(&out, o->data, o->len))
			return out.bytes == came.bytes ? check_changed(&came, &out)
						       : check_encapsulated(&came, &out);
		return o->len == in->len && !memcmp(o->data, in->data, in->len)
			       ? NULL
			       : "passed, but not as it came";
	default:
		return "aborted";
	}
}
