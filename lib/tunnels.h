/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels.h -- tunnels as the registry holds them: the one copy of these formats for the command
 * line, the edges, the agents and the authority.
 *
 * A tunnel is durable: a name, an owner, hostnames, an address, ports. An attachment is leased: this
 * origin's connections at this edge. Losing attachments changes routes, not the tunnel. Reading is
 * pure (text in, struct out, -EINVAL leaves the output alone); the calls that change are one
 * registry transaction each.
 */
#ifndef WEIR_TUNNELS_H
#define WEIR_TUNNELS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/registry.h"

#define REG_TUNNELS	REG_ROOT "tunnels/"	/* NAME */
#define REG_HOSTNAMES	REG_ROOT "hostnames/"	/* HOSTNAME → {"tunnel"} */
#define REG_ADDRESSES	REG_ROOT "addresses/"	/* ADDRESS → {"tunnel"} or {"until"}: quarantined */
#define REG_ATTACHMENTS REG_ROOT "attachments/" /* TUNNEL/EDGE, leased (one lease an edge) */
#define REG_ROUTED	REG_ROOT "routed/"	/* edge/NODE, agent/NODE, leased → {"revision"} */
#define REG_PUBLISHED	REG_ROOT "published/"	/* TUNNEL → {"revision","at","silent":[NODE…]} */
#define REG_ISSUED	REG_ROOT "issued/"	/* TUNNEL/SERIAL → {"at","until"}: of the authority */
#define REG_REVOKED	REG_ROOT "revoked/"	/* SERIAL (hex, upper case) → {"tunnel","at","until"} */
#define REG_ENROLL	REG_ROOT "enroll/"	/* ID, leased: what the authority is asked */
#define REG_ENROLLED	REG_ROOT "enrolled/"	/* ID: what it answered; removed by the asking edge */

#define TUNNEL_NAME_MAX	     41 /* a-z 0-9 -, with terminator */
#define TUNNEL_HOSTNAME_MAX  254
#define TUNNEL_HOSTNAMES_MAX 32
#define TUNNEL_PORTS_MAX     32
#define TUNNEL_PREFIXES_MAX  64

enum tunnel_mode {
	TUNNEL_HTTP,  /* HTTP in the clear */
	TUNNEL_HTTPS, /* TLS ends at the edge */
	TUNNEL_TLS,   /* TLS is passed through to the origin, by SNI */
	TUNNEL_TCP,   /* bytes; needs an address of its own */
};

struct tunnel_port {
	uint16_t port;
	enum tunnel_mode mode;
};

struct tunnel {
	char name[TUNNEL_NAME_MAX];
	char owner[64]; /* a user's name, or "" */
	char hostnames[TUNNEL_HOSTNAMES_MAX][TUNNEL_HOSTNAME_MAX]; /* lower case, no dot at the end */
	size_t nhostnames;
	struct addr address, address6; /* AF_UNSPEC: none (edges' own addresses are published) */
	struct tunnel_port ports[TUNNEL_PORTS_MAX];
	size_t nports;
	struct addr_prefix allow[TUNNEL_PREFIXES_MAX], deny[TUNNEL_PREFIXES_MAX]; /* of clients */
	size_t nallow, ndeny;
	char *client_ca; /* PEM: clients must show a certificate of it (https); NULL: none */
	uint64_t generation; /* grows with every change; attachments of an older one do not count */
	int64_t created;     /* unix seconds */
	/* Of the one enrolment that is open: hex SHA-256 of salt ‖ token, "" when none is. */
	char enroll_salt[33], enroll_hash[65];
	int64_t enroll_until;
};

/* text: the registry's value. *out is zeroed first; tunnel_clear() frees what it holds. 0, -EINVAL
 * or -ENOMEM (then *out is zero). */
int tunnel_parse(struct tunnel *out, const char *text);
char *tunnel_format(const struct tunnel *t); /* malloc'ed JSON text, NULL without memory */
json_t *tunnel_pack(const struct tunnel *t); /* the same as an object: secrets' hashes are in it */
void tunnel_clear(struct tunnel *t);
bool tunnel_name_valid(const char *name);
bool tunnel_hostname_valid(const char *hostname); /* a DNS name of two labels or more, lower case */
bool tunnel_has_hostname(const struct tunnel *t, const char *hostname);
/* The mode of a port, or -1. */
int tunnel_port_mode(const struct tunnel *t, uint16_t port);
const char *tunnel_mode_word(enum tunnel_mode mode);
int tunnel_mode_parse(const char *word); /* or -1 */
/* May a client of this address use it? deny wins; without allow everybody may. */
bool tunnel_admits(const struct tunnel *t, const struct addr *client);
/* Is it the secret of the enrolment that is open? 0, -ENOENT none is open, -EACCES another secret
 * (compared in constant time), -ETIME the enrolment has lapsed. */
int tunnel_check_secret(const struct tunnel *t, const char *secret, int64_t now);

struct attachment {
	char tunnel[TUNNEL_NAME_MAX];
	char edge[CONF_NAME_MAX];
	struct addr address, address6; /* to which other edges encapsulate */
	uint64_t generation;	       /* of the tunnel when it attached */
	unsigned int connections, origins;
	uint32_t rtt_us; /* to the origin, smoothed, in steps; 0: not known */
	bool draining;	 /* takes no new ones */
};
/* key: TUNNEL/EDGE, after the prefix. */
int attachment_parse(struct attachment *out, const char *key, const char *text);
char *attachment_format(const struct attachment *a);

/* ---- changes: each is one transaction; they block. 0 or -errno, the sentence in why ---- */
#define TUNNEL_WHY_MAX 256
struct tunnel_pool { /* where addresses come from: conf.tunnels */
	const struct addr_prefix *prefix;
	size_t n;
	int64_t quarantine_s;
};
/* Makes the tunnel: name, hostnames and addresses that are free (and out of quarantine) are taken
 * at once or not at all; fills address, address6 (the lowest that are free), generation, created,
 * and ports 80/http and 443/https when none was said. The generation is greater than that of any
 * earlier tunnel of this name. -EINVAL: what is wrong with it; -EEXIST: the name; -EADDRINUSE: a
 * hostname is another's; -ENOSPC: no address is free; -EAGAIN: somebody changed the same meanwhile. */
int tunnel_create(struct registry *reg, struct tunnel *t, const struct tunnel_pool *pool,
		  char why[TUNNEL_WHY_MAX]);
/* Changes owner, hostnames, ports, access; t->generation must be the present one, and is the new
 * one then. -ENOENT, -EADDRINUSE, -EINVAL, -EAGAIN (somebody changed it meanwhile). */
int tunnel_change(struct registry *reg, struct tunnel *t, char why[TUNNEL_WHY_MAX]);
/* Removes it; its addresses go into quarantine, its origins' certificates are revoked. -ENOENT. */
int tunnel_remove(struct registry *reg, const char *name, int64_t quarantine_s,
		  char why[TUNNEL_WHY_MAX]);
int tunnel_get(struct registry *reg, const char *name, struct tunnel *out); /* 0, -ENOENT, -errno */
/* Revokes certificates of its origins: one serial, or all of them (NULL). *n of them. -ENOENT: there
 * is no such tunnel, or the authority signed no such certificate for it. */
int tunnel_revoke(struct registry *reg, const char *name, const char *serial, size_t *n,
		  char why[TUNNEL_WHY_MAX]);
/* Opens an enrolment (the one before is closed): the token's secret is written to secret (43 characters and terminator). */
int tunnel_open_enrolment(struct registry *reg, const char *name, int64_t ttl_s, char secret[44],
			  char why[TUNNEL_WHY_MAX]);
/* The token as its owner sees it, once: "weirt1.NAME.SECRET.FINGERPRINT"; fingerprint: hex SHA-256
 * of the authority's certificate (DER), by which the origin knows the edges. */
struct tunnel_token {
	char name[TUNNEL_NAME_MAX], secret[44], fingerprint[65];
};
int tunnel_token_parse(struct tunnel_token *out, const char *text);
void tunnel_token_format(const struct tunnel_token *t, char *out, size_t len);

/* ---- what an edge tells another program: a value under enroll/ and enrolled/ ---- */
struct enroll_ask {
	char tunnel[TUNNEL_NAME_MAX], secret[44];
	char *csr; /* PEM */
};
int enroll_ask_parse(struct enroll_ask *out, const char *text); /* enroll_ask_clear() frees and wipes */
char *enroll_ask_format(const struct enroll_ask *a);
void enroll_ask_clear(struct enroll_ask *a);

#endif
