/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * extensions.h -- IPv6 extension headers (RFC 8200 section 4) between the fixed header and the
 * transport's: hop-by-hop and destination options, routing, fragment, authentication (RFC 4302).
 *
 * At most EXTENSIONS_MAX headers (RFC 8200's recommended order has as many, ESP aside) and
 * EXTENSIONS_BYTES together are walked. A packet with more is dropped when it is for a service, as
 * nobody could tell where it belongs, and left to the host when it is not.
 */
#ifndef WEIR_BPF_EXTENSIONS_H
#define WEIR_BPF_EXTENSIONS_H

#define EXTENSIONS_MAX	 6
#define EXTENSIONS_BYTES 192 /* so that the transport header's offset fits into 8 bits */

struct fragment_header { /* RFC 8200 section 4.5 */
	__u8 next, zero;
	__be16 offset; /* 13 bits, 2 reserved, "more follow" */
	__be32 id;
};

struct walk {
	__u8 proto;    /* in: of the first header; out: of what follows them */
	__u8 fragment; /* enum fragment_kind */
	__u16 bytes;   /* that were walked */
	__be32 id;     /* of the fragment */
};

/* The length field counts units of 8 bytes after the first; the authentication header's counts units
 * of 4 bytes after the first two (RFC 4302 section 2.2). */
static __always_inline __u32 extension_bytes(__u8 proto, const __u8 *header)
{
	if (proto == NEXTHDR_FRAGMENT)
		return sizeof(struct fragment_header);
	if (proto == NEXTHDR_AUTH)
		return (header[1] + 2) * 4;
	return (header[1] + 1) * 8;
}

/* With offset 0 and nothing that follows (RFC 6946, an "atomic fragment") the packet is whole. */
static __always_inline void extension_fragment(const struct fragment_header *f, struct walk *w)
{
	if (f->offset & bpf_htons(0xfff8))
		w->fragment = FRAGMENT_LATER;
	else if (f->offset & bpf_htons(1))
		w->fragment = FRAGMENT_FIRST;
	w->id = f->id;
}

/* Moves the cursor over the headers; what follows a later fragment's is no header. CONTINUE,
 * TRUNCATED or EXTENSIONS. */
static __always_inline int extensions_walk(struct cursor *c, struct walk *w)
{
	for (int i = 0; i < EXTENSIONS_MAX && is_extension(w->proto); i++) {
		const __u8 *header = cursor_pull(c, sizeof(struct fragment_header));
		__u32 bytes;

		if (!header)
			return WEIR_REASON_TRUNCATED;
		bytes = extension_bytes(w->proto, header);
		if (w->bytes + bytes > EXTENSIONS_BYTES)
			return WEIR_REASON_EXTENSIONS;
		if (w->proto == NEXTHDR_FRAGMENT)
			extension_fragment((const void *)header, w);
		w->proto = header[0];
		w->bytes += bytes;
		if (w->fragment == FRAGMENT_LATER)
			return CONTINUE;
		if (!cursor_pull(c, bounded(bytes - sizeof(struct fragment_header), 255)))
			return WEIR_REASON_TRUNCATED;
	}
	return is_extension(w->proto) ? WEIR_REASON_EXTENSIONS : CONTINUE;
}

/* The rest of parsing for a packet whose fixed header names an extension. */
__weak __noinline int stage_extensions(struct xdp_md *ctx, struct packet *p)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct weir_settings *set = settings_get();
	struct walk w = {};
	int rc;

	if (!p || !set)
		return WEIR_REASON_EXTENSIONS;
	if (!cursor_pull(&c, ETH_HLEN + sizeof(struct ipv6hdr)))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	w.proto = p->flow.proto;
	rc = extensions_walk(&c, &w);
	if (rc == CONTINUE && sizeof(struct ipv6hdr) + w.bytes > p->ip_bytes)
		rc = WEIR_REASON_TRUNCATED;
	if (rc == WEIR_REASON_EXTENSIONS && !service_address(&p->flow)) {
		/* It ends here: the lists, which come after parsing, would not see it. */
		if (filter_blocks(p, set))
			return leave(p, XDP_DROP, WEIR_REASON_BLOCKED);
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	}
	if (rc != CONTINUE)
		return leave(p, XDP_DROP, rc);
	p->flow.proto = w.proto;
	p->transport += w.bytes;
	p->fragment = w.fragment;
	p->fragment_id = w.id;
	return w.fragment == FRAGMENT_LATER ? CONTINUE : parse_transport(&c, p);
}

#endif
