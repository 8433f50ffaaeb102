/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h -- what edge and origin tell each other besides requests: one JSON text a line, both
 * ways, on the first stream of each connection.
 *
 * The origin dials the edge's attach listener: TLS 1.3, ALPN "weir-tunnel/1", its client
 * certificate (common name: the tunnel; DNS names: the hostnames). Then HTTP/2 with roles reversed:
 * the edge is the client. Its first stream is POST /_/tunnel/attach with :authority the tunnel's
 * name; both bodies stay open and carry these lines:
 *
 *	edge → origin   {"hello":{"version","edge","site","tunnel","generation","edges":["HOST:PORT",…]}}
 *			{"edges":[…]}      other edges that may be dialled, when that changes
 *			{"drain":true}     this edge is about to stop: dial another, GOAWAY follows
 *	origin → edge   {"hello":{"version","origin","hostnames":[…],"ports":[…],"connections":N}}
 *			{"load":{"cpu":0.31,"inflight":3}}   each second
 *			{"detach":true}    no new requests here, please; GOAWAY follows. With "back":true
 *					   it is a restart: requests may wait for the next process
 *
 * Requests for targets carry the hostname as :authority, x-weir-client: ADDRESS:PORT,
 * x-weir-local: ADDRESS:PORT (what the client dialled), x-request-id and traceparent; bytes travel by
 * CONNECT to HOSTNAME:PORT, WebSocket by extended CONNECT (RFC 8441). x-weir-* never reaches a
 * target. Pure: bytes in, struct out.
 */
#ifndef WEIR_TUNNEL_CONTROL_H
#define WEIR_TUNNEL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"
#include "lib/tunnels.h"

#define CONTROL_ALPN	 "weir-tunnel/1"
#define CONTROL_PATH	 "/_/tunnel/attach"
#define CONTROL_ENROLL	 "/_/tunnel/enroll" /* HTTP/1.1, ALPN "http/1.1", without a certificate */
#define CONTROL_LINE_MAX 16384
#define CONTROL_EDGES_MAX 64
#define CONTROL_WAIT_MAX (64u << 10) /* bytes of lines that a peer does not read */

enum control_kind { CONTROL_EDGE_HELLO, CONTROL_ORIGIN_HELLO, CONTROL_EDGES, CONTROL_LOAD, CONTROL_DRAIN, CONTROL_DETACH };

struct control {
	enum control_kind kind;
	char version[32];
	char edge[CONF_NAME_MAX], site[CONF_NAME_MAX];
	char tunnel[TUNNEL_NAME_MAX];
	uint64_t generation;
	char edges[CONTROL_EDGES_MAX][80];
	size_t nedges;
	char origin[33]; /* of one origin process, random */
	char hostnames[TUNNEL_HOSTNAMES_MAX][TUNNEL_HOSTNAME_MAX];
	size_t nhostnames;
	uint16_t ports[TUNNEL_PORTS_MAX];
	size_t nports;
	unsigned int connections;
	bool back; /* of a detach */
	double cpu;
	unsigned int inflight;
};

/* One line without its end. 0, or -EINVAL (not JSON, unknown, wrong types, too long). Unknown members
 * are ignored, so that versions may differ. */
int control_parse(struct control *out, const char *line, size_t len);
char *control_format(const struct control *c); /* malloc'ed, with "\n"; NULL without memory */

/* Cuts a stream into lines. feed: calls fn for each whole line; 0, -EMSGSIZE for a line that is too
 * long, or what fn returned other than 0. */
struct control_reader {
	char *line;
	size_t len;
};
int control_feed(struct control_reader *r, const void *data, size_t len,
		 int (*fn)(void *arg, const char *line, size_t len), void *arg);
void control_reader_free(struct control_reader *r);

/* Lines that wait for room in the stream: text of len bytes. What a peer that reads nothing would let
 * grow without end is left out. */
struct control_writer {
	char *text;
	size_t len;
};
void control_write(struct control_writer *w, const struct control *line);
void control_written(struct control_writer *w, size_t n); /* the first n bytes went */
void control_writer_free(struct control_writer *w);

#endif
