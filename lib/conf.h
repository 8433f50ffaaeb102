/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h -- weir.yaml: what this node is. Every program reads the same file.
 *
 * One table (conf_schema.c) is parser, checker, defaults and documentation. A file is loaded whole
 * or not at all; a struct conf is immutable afterwards, and a reload loads a new one and swaps.
 * Faults are reported as "FILE:LINE: KEY: what is wrong; what would be right", all of them, not
 * only the first.
 */
#ifndef WEIR_CONF_H
#define WEIR_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/addr.h"
#include "lib/log.h"

#define CONF_DEFAULT_PATH "/etc/weir/weir.yaml"
#define CONF_NAME_MAX	  64 /* node, site, service … with terminator */

struct conf_registry {
	char *url; /* "unix:/path", "http://…", "https://…" */
	char *user, *password_file, *token_file, *ca; /* NULL when not set; paths are absolute */
	uint64_t timeout_us;
};

struct conf_tls {
	char *ca, *cert, *key; /* NULL: no TLS among daemons */
};

struct conf_registry_server {
	bool enabled;
	struct addr_port *listen; /* Unix sockets, or TCP on loopback */
	size_t nlisten;
	char *token_file;
};

enum conf_encap { CONF_ENCAP_GUE, CONF_ENCAP_IPIP, CONF_ENCAP_NAT };
enum conf_udp { CONF_UDP_STATELESS, CONF_UDP_STICKY, CONF_UDP_QUIC };
enum conf_check { CONF_CHECK_NONE, CONF_CHECK_TCP, CONF_CHECK_HTTP };

struct conf_backend {
	char name[CONF_NAME_MAX];
	struct addr address;
	double capacity; /* relative size, default 1 */
	char *quic_id;	 /* server ID in hexadecimal digits, or NULL */
};

struct conf_service {
	char name[CONF_NAME_MAX];
	/* With proto, perhaps with prefix; port 0: any port. None: measured and published only. */
	struct addr_port *addresses;
	size_t naddresses;
	uint32_t slots;
	enum conf_encap encap;
	uint16_t port; /* of backends behind NAT; 0: that of the service's address */
	bool two;      /* a SYN chooses between two backends by load */
	enum conf_udp udp;
	bool by_addresses; /* slots follow from addresses alone */
	struct {	   /* QUIC-LB's configuration; lengths in bytes */
		uint32_t config, server_id, nonce;
		char *key; /* file of the key (lib/quic_key.h); NULL: plaintext */
	} quic;
	struct {
		enum conf_check type;
		uint16_t port; /* 0: the service's */
		char *path;
		uint64_t interval_us, timeout_us;
		unsigned int rise, fall;
		bool through_service; /* by the virtual address, encapsulated; else the backend's own */
	} check;
	struct conf_backend *backends;
	size_t nbackends;
};

/* What agent.announce leads: as many as the loader takes in a message. */
#define CONF_ANNOUNCE_MAX 1024
/* The routing table of checks through the packet path. */
#define CONF_CHECKS_TABLE 119
/* As many as NAT has places (bpf/abi/nat.h); the table of ports may have room for less. */
#define CONF_NAT_ADDRESSES_MAX 16

enum conf_mss { CONF_MSS_AUTO, CONF_MSS_OFF }; /* words beside a number */
/* Packets a second, and how many at once. */
struct conf_rate {
	uint32_t rate; /* 0: not limited */
	uint32_t burst;
};

struct conf_agent {
	bool enabled;
	char **interfaces;
	size_t ninterfaces;
	enum { CONF_ATTACH_LINK, CONF_ATTACH_DISPATCHER } attach;
	enum { CONF_MODE_AUTO, CONF_MODE_NATIVE, CONF_MODE_GENERIC } mode;
	char *pin;
	struct addr_port inside;
	uint64_t drain_us;
	double move_budget; /* fraction of the slots per second */
	uint32_t mark;
	struct { /* sizes of the maps */
		uint32_t services, addresses, backends, slots, notes, half_open, fragments;
		uint32_t nat_ports;
	} limits;
	struct {
		char **interfaces;
		size_t ninterfaces;
		struct addr_prefix *from;
		size_t nfrom;
		uint32_t mss; /* or enum conf_mss */
	} decap;
	uint32_t announce; /* routing table; 0: none */
	bool forward, gue_checksum, feedback;
	struct {
		char **block, **allow; /* networks and files of such */
		size_t nblock, nallow;
		struct conf_rate syn, udp, dns, fresh;
		uint32_t prefix4, prefix6; /* bits of a source's network */
	} filter;
	struct {
		struct addr *addresses;
		size_t naddresses;
		uint64_t idle_us, udp_us;
	} nat;
	struct conf_service *services;
	size_t nservices;
};

struct conf_zone {
	char *name;
	char *file;
};
struct conf_steer {
	char *name;
	char **services;
	size_t nservices;
	uint64_t ttl_us;
};

struct conf_ns {
	bool enabled;
	struct addr_port *listen;
	size_t nlisten;
	struct addr_port inside;
	struct conf_zone *zones;
	size_t nzones;
	struct conf_steer *steer;
	size_t nsteer;
	unsigned int workers; /* 0: as many as CPUs */
	struct {
		unsigned int tcp_connections;
		uint64_t tcp_idle_us;
	} limits;
};

struct conf_limits {
	uint64_t object; /* bytes */
	unsigned int connections;
	uint64_t header_bytes;
	uint64_t idle_us, request_us;
};

struct conf_gateway {
	bool enabled;
	struct addr_port *listen;
	size_t nlisten;
	struct addr_port inside;
	struct {
		char **services;
		size_t nservices;
		uint64_t token_ttl_us;
		unsigned int top; /* round-robin among so many of the best */
	} redirect;
	struct conf_uploads {
		unsigned int workers;	  /* files checked at once; 0: twice the CPUs */
		unsigned int per_user;	  /* unfinished uploads of one user */
		uint64_t memory, cpu_us;  /* what one worker may use */
		uint64_t ahead;		  /* bytes taken beyond what is checked; 0: no bound */
		uint64_t spool, expire_us; /* bytes of all unfinished uploads; kept so long without a byte */
	} uploads;
	struct conf_peers {
		int mode;		  /* enum sense_mode: auto, on, off, of assets that the operator did not switch */
		uint64_t capacity;	  /* bytes/s that all endpoints together can send; 0: not known */
		uint64_t ahead_us;	  /* of media that each grouping holds beyond its viewers */
		unsigned int copies;	  /* of each segment in a grouping */
		unsigned int group, helpers; /* members of a grouping; helpers of one who is fed */
		double uplink, margin;	  /* share of an uplink used; uplink over demand */
		bool cellular;		  /* may upload by consent */
		unsigned int viewers;	  /* sessions held by this gateway */
		unsigned int per_address; /* … of one client address */
		uint64_t session_us;	  /* a viewer's token is good for so long */
		char *networks;		  /* path of a database of AS numbers, or NULL */
		char **origins;		  /* pages of other hosts that may open sessions; none: only our own */
		size_t norigins;
		char **urls;		  /* of this gateway, for pages that another one opened; none: as it listens */
		size_t nurls;
	} peers;
	struct conf_limits limits;
};

enum conf_orphans { CONF_ORPHANS_KEEP, CONF_ORPHANS_REMOVE };

struct conf_endpoint {
	bool enabled;
	struct addr_port *listen;
	size_t nlisten;
	char *url;
	struct addr_port inside;
	unsigned int copies;
	uint64_t reserve;	 /* bytes that stay free; 0 when a fraction was said */
	double reserve_fraction; /* of the disk; 0 when bytes were said */
	enum conf_orphans orphans;
	struct conf_limits limits;
};

/* How gateways and endpoints serve S3. */
struct conf_s3 {
	char *domain; /* buckets are its subdomains; NULL: path style alone */
	char *region; /* "us-east-1" when none was said */
};

/* Tunnels of the installation: the same on every node that has an edge, an agent or makes them. */
struct conf_tunnels {
	bool enabled;
	struct addr_prefix *prefix; /* addresses of tunnels; none: edges' own addresses are published */
	size_t nprefix;
	char *zone; /* in which hostnames are published */
	uint64_t ttl_us, quarantine_us, ack_timeout_us;
};

struct conf_certificate {
	char *cert, *key;
};

struct conf_edge {
	bool enabled;
	struct addr_port *listen, *listen_tls, *attach;
	size_t nlisten, nlisten_tls, nattach;
	struct addr address, address6; /* to which other edges encapsulate; unset: attach[0]'s */
	struct addr_port inside;
	struct conf_certificate *certificates; /* by the names that they bear */
	size_t ncertificates;
	char *origins; /* PEM of the authority that signs origins' certificates */
	struct addr_port gateway; /* of this edge's own hostnames; unset: none */
	char **gateway_hostnames;
	size_t ngateway_hostnames;
	char *acme; /* webroot of ACME's HTTP-01; NULL: none */
	char *agent; /* RUN/agent-listener.sock of the agent; NULL: the default */
	struct addr_prefix *proxy_from; /* who may send the PROXY protocol */
	size_t nproxy_from;
	uint32_t mss; /* announced to clients of tunnel addresses */
	char *access_log; /* NULL: none */
	bool access_log_common; /* common log format instead of JSON lines */
	uint64_t drain_us;
	struct {
		unsigned int connections, per_address, streams, rate; /* rate: requests a second of one address */
		uint64_t header_bytes, body, memory; /* memory 0: a quarter of the machine's */
		uint64_t idle_us, request_us, total_us;
	} limits;
};

enum conf_proxy { CONF_PROXY_OFF, CONF_PROXY_V1, CONF_PROXY_V2 };

struct conf_target {
	char *hostname; /* "*": any of the tunnel's */
	uint16_t port;	/* 0: HTTP requests; else bytes of this port (tcp, tls) */
	char *to;	/* http:// https:// h2c:// h2:// unix:/path tcp://HOST:PORT tcp+unix:/path */
	char *ca;	/* by which https and h2 targets are verified; NULL: the system's */
	char *host;	/* sent as Host; NULL: the hostname asked for */
	enum conf_proxy proxy;
};

struct conf_origin {
	bool enabled;
	char **edges; /* NAME:PORT or ADDRESS:PORT; a name stands for all of its addresses */
	size_t nedges;
	char *credentials; /* folder of cert.pem, key.pem, ca.pem (weir tunnel enroll) */
	unsigned int connections; /* in all, spread over the edges */
	struct addr_port inside;
	struct conf_target *targets;
	size_t ntargets;
	char *access_log;
	uint64_t drain_us;
};

struct conf_authority {
	bool enabled;
	char *folder; /* ca.pem, origins.pem, origins.key (weir ca init) */
	uint64_t lifetime_us; /* of origins' certificates */
};

/* Sign-on by an OpenID provider; without it local users have passwords. */
struct conf_identity {
	bool enabled;
	char *issuer;		  /* https://…, or http:// on loopback */
	char *client_id, *client_secret_file; /* NULL: a public client */
	char *audience;		  /* NULL: client_id */
	char *ca;		  /* PEM; NULL: the system's */
	char **scopes;
	size_t nscopes;
	char *name_claim, *groups_claim;
	char *url;		  /* where browsers reach the gateway; NULL: as the request says */
	uint64_t session_us, skew_us;
};

struct conf {
	char *path; /* of the file */
	char node[CONF_NAME_MAX], site[CONF_NAME_MAX], domain[CONF_NAME_MAX];
	char *user; /* NULL: not said */
	char *state, *run;
	enum log_level log_level;
	struct conf_registry registry;
	struct conf_tls tls;
	struct conf_registry_server registry_server;
	struct conf_agent agent;
	struct conf_ns ns;
	struct conf_gateway gateway;
	struct conf_identity identity;
	struct conf_endpoint endpoint;
	struct conf_s3 s3;
	struct conf_tunnels tunnels;
	struct conf_edge edge;
	struct conf_origin origin;
	struct conf_authority authority;
};

/* Loads and checks. Faults are written to `faults` (may be NULL), one a line. 0, -EINVAL when there
 * were faults, or -errno when the file cannot be read (also said in faults). */
int conf_load(struct conf **out, const char *path, FILE *faults);
void conf_free(struct conf *conf); /* accepts NULL */

/* The table as text: every key, type, default and meaning (for weir.yaml(5) and `weir check
 * --keys`). */
void conf_describe(FILE *out);

/* RUN/ROLE.sock and STATE/ROLE, into buf. */
char *conf_ctl_path(const struct conf *conf, const char *role, char *buf, size_t len);
char *conf_state_path(const struct conf *conf, const char *role, char *buf, size_t len);

#endif
