/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * nat_tcp.h -- in which state a translated TCP connection is: that decides how long its entry lives.
 *
 * Anybody can send a RST or a FIN in a client's name. Both are always passed on, as RFC 5961 has the
 * receiver judge them; here one counts when it lies in the 64 KiB behind what the other side
 * acknowledged last, which a forger does not know. A true one may be farther off, when more is on
 * its way. It is kept as an END, and counts when the other side's acknowledgements get there: a
 * FIN's exactly, a RST's to within the same 64 KiB unless its sender goes on. Numbers of an END are
 * nothing that later ones are judged by. Whatever was believed ends when its sender goes on.
 *
 * All arithmetic is modulo 2^32; windows are at most a quarter of that.
 */
#ifndef WEIR_BPF_NAT_TCP_H
#define WEIR_BPF_NAT_TCP_H

#define NAT_SYN_DATA   2048u	   /* bytes that a SYN may carry (RFC 7413) */
#define NAT_ACK_WINDOW (1u << 16)  /* a client's first acknowledgements lie this far from the SYN-ACK */
#define NAT_NEAR       (1u << 16)  /* an end is believed when so much follows the acknowledged */
#define NAT_STALE      (1u << 14)  /* smaller moves of an acknowledgement are not written down */
#define NAT_FAR	       (1u << 30)  /* the largest window (RFC 7323): an end behind more was forged */

struct nat_tcp {
	__u32 seq, ack; /* host order */
	__u32 payload;
	__u32 next[2];	/* as in the entry */
	__u32 had[2];	/* as it was read there */
	__u8 flags;
	__u8 state;	/* enum weir_nat_state */
	__u8 side;	/* who sent it. 0: the client, 1: the backend */
	__u8 zero;
};

static __always_inline bool nat_tcp_read(const struct xdp_md *ctx, const struct packet *p,
					 const struct weir_nat_entry *e, __u64 head, struct nat_tcp *t)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct tcphdr *tcp;
	__u32 headers;

	if (!cursor_pull(&c, bounded(p->transport, 255)))
		return false;
	tcp = cursor_pull(&c, sizeof(*tcp));
	if (!tcp)
		return false;
	headers = p->transport - ETH_HLEN + tcp->doff * 4;
	*t = (struct nat_tcp){
		.seq = bpf_ntohl(tcp->seq),
		.ack = bpf_ntohl(tcp->ack_seq),
		.payload = p->ip_bytes > headers ? p->ip_bytes - headers : 0,
		.flags = p->tcp_flags,
		.state = (__u8)head,
	};
	t->next[0] = t->had[0] = *(volatile __u32 *)&e->next[0];
	t->next[1] = t->had[1] = *(volatile __u32 *)&e->next[1];
	return true;
}

/* A RST in an open connection. `next`, `fin` and `end` are its sender's. */
static __always_inline void nat_reset(struct nat_tcp *t, __u32 *next, __u8 fin, __u8 end)
{
	bool near = !(t->state & end) && t->seq - *next < NAT_NEAR;

	if (near)
		t->state |= WEIR_NAT_RESET;
	if ((t->state & (fin | end)) == fin)
		return;
	t->state |= fin | end;
	*next = t->seq;
}

/* Anything else: it goes on, or sent its FIN. */
static __always_inline void nat_goes_on(struct nat_tcp *t, __u32 *next, __u8 fin, __u8 end)
{
	__u32 after = t->seq + t->payload;
	bool reset = (t->state & (fin | end)) == (fin | end);

	/* Its own RST was none. The other side's stands: data may have been on its way. */
	if (reset || (t->payload && (t->state & fin)))
		t->state &= ~WEIR_NAT_RESET;
	/* After a RST, or data behind a FIN that was believed: it was none. (One byte in the FIN's place
	 * may be a keepalive's, RFC 9293 section 3.8.4.) What is acknowledged is not known then, until the
	 * next acknowledgement, which is far from this number. */
	if (reset || ((t->state & fin) && t->payload && (__s32)(after - *next) >= (t->payload == 1))) {
		t->state = (t->state & ~fin) | end;
		*next += 1u << 31;
	}
	if (!(t->flags & TCP_FLAG_BYTE_FIN) || (t->state & fin))
		return;
	/* The next acknowledgement of what is long received would seem to be this one's. */
	if (!(t->state & end) && (__s32)(after - *next) < 0)
		return;
	if (!(t->state & end) && after - *next < NAT_NEAR)
		t->state |= fin;
	else
		t->state |= end;
	*next = after + 1;
}

/* What the other side sent is acknowledged so far: `next`, `fin` and `end` are the other side's. */
static __always_inline void nat_acknowledges(struct nat_tcp *t, __u32 *next, __u8 fin, __u8 end)
{
	__u32 missing = *next - t->ack;

	if (!(t->state & end)) {
		if (!(t->state & fin) && missing + NAT_STALE >= 2 * NAT_STALE)
			*next = t->ack;
	} else if ((t->state & fin) && !t->payload && missing < NAT_NEAR) {
		t->state |= WEIR_NAT_RESET;
	} else if (!(t->state & fin) && !missing) {
		t->state = (t->state & ~end) | fin;
	} else if (missing >= NAT_FAR) {
		t->state &= ~(fin | end);
		*next = t->ack;
	}
}

/* A segment of an open connection: changes t->state and t->next. */
__weak __noinline int stage_nat_track(struct nat_tcp *t)
{
	const __u8 fins[2] = { WEIR_NAT_FIN_CLIENT, WEIR_NAT_FIN_BACKEND };
	const __u8 ends[2] = { WEIR_NAT_END_CLIENT, WEIR_NAT_END_BACKEND };
	__u32 own, other;
	__u8 side;

	if (!t)
		return 0;
	side = t->side & 1;
	own = t->next[side];
	other = t->next[!side];
	if (t->flags & TCP_FLAG_BYTE_RST) {
		nat_reset(t, &own, fins[side], ends[side]);
	} else {
		nat_goes_on(t, &own, fins[side], ends[side]);
		if (t->flags & TCP_FLAG_BYTE_ACK)
			nat_acknowledges(t, &other, fins[!side], ends[!side]);
	}
	t->next[side] = own;
	t->next[!side] = other;
	return 0;
}

/* A segment of the client. */
static __always_inline void nat_track_client(struct nat_tcp *t, __u64 head)
{
	if (t->flags & TCP_FLAG_BYTE_SYN) {
		/* Of a connection that goes on it is somebody's forgery or a client that forgot;
		 * the backend's answer decides. */
		if ((t->state & WEIR_NAT_OPEN) && !weir_nat_closing(head))
			return;
		/* Repeated: the SYN-ACK is on its way, and need not come once more. */
		if (t->next[0] == t->seq && !weir_nat_closing(head))
			return;
		t->next[0] = t->seq;
		t->state = 0;
		return;
	}
	if (!(t->state & WEIR_NAT_OPEN)) {
		if (t->flags & TCP_FLAG_BYTE_RST) {
			if (t->seq - t->next[0] <= NAT_SYN_DATA)
				t->state |= WEIR_NAT_RESET;
			return;
		}
		/* Only who received the SYN-ACK knows its number. */
		if (!(t->state & WEIR_NAT_OFFERED) || !(t->flags & TCP_FLAG_BYTE_ACK) ||
		    t->ack - t->next[1] - 1 >= NAT_ACK_WINDOW)
			return;
		t->state |= WEIR_NAT_OPEN;
		t->next[0]++; /* the SYN, acknowledged by the SYN-ACK */
		t->next[1] = t->ack;
	}
	stage_nat_track(t);
}

/* The same of the backend; false: it is not of this connection. Before the handshake is complete
 * only what answers the client's SYN may pass, or an acknowledgement without data: that is what a
 * backend says whose own connection of that port did not end yet. */
static __always_inline bool nat_track_backend(struct nat_tcp *t)
{
	bool answers = (t->flags & TCP_FLAG_BYTE_ACK) && t->ack - t->next[0] - 1 < NAT_SYN_DATA;

	t->side = 1;
	if (t->state & WEIR_NAT_OPEN) {
		stage_nat_track(t);
		return true;
	}
	if (t->flags & TCP_FLAG_BYTE_RST) {
		t->state |= WEIR_NAT_RESET;
		return answers;
	}
	if (t->flags & TCP_FLAG_BYTE_SYN) {
		t->next[1] = t->seq;
		t->state |= WEIR_NAT_OFFERED;
		return answers;
	}
	/* Data for this client, whose acknowledgement did not come by here. */
	if (answers && (t->state & WEIR_NAT_OFFERED))
		return true;
	return !t->payload && !(t->flags & TCP_FLAG_BYTE_FIN);
}

#endif
