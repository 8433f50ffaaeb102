// SPDX-License-Identifier: Apache-2.0
/*
 * conf_schema.c -- the table: every key of weir.yaml with its type, range, default and meaning.
 *
 * A new option is a row here, a member in conf.h, a line in weir.yaml.5 (a test compares), and a
 * check in conf_check.c when it means something together with others.
 */
#include <string.h>

#include "lib/conf_table.h"

#define SECOND	 1000000ull
#define KIB	 1024ull
#define AT(s, f) .offset = offsetof(struct s, f)
#define MANY(s, f)                                                                                 \
	.list = true, .offset = offsetof(struct s, f), .count_offset = offsetof(struct s, n##f)
#define PLACE(s, f, n)                                                                             \
	.list = true, .offset = offsetof(struct s, f), .count_offset = offsetof(struct s, n)
#define SUB(name_, s, flag)                                                                        \
	static const struct conf_section name_ = { sizeof(struct s), flag, name_##_keys,           \
						   sizeof(name_##_keys) / sizeof(*name_##_keys) }

static const char *const words_log[] = { "error", "warn", "info", "debug", NULL };
static const char *const words_attach[] = { "link", "dispatcher", NULL };
static const char *const words_mode[] = { "auto", "native", "generic", NULL };
static const char *const words_encap[] = { "gue", "ipip", "nat", NULL };
static const char *const words_choice[] = { "one", "two", NULL };
static const char *const words_udp[] = { "stateless", "sticky", "quic", NULL };
static const char *const words_affinity[] = { "flow", "addresses", NULL };
static const char *const words_peers[] = { "auto", "on", "off", NULL };
static const char *const words_switch[] = { "off", "on", NULL };
static const char *const words_no_yes[] = { "no", "yes", NULL };
static const char *const words_mss[] = { "auto", "off", NULL };
static const char *const words_through[] = { "address", "service", NULL };
static const char *const words_check[] = { "none", "tcp", "http", NULL };

static const struct conf_key registry_keys[] = {
	{ "url", CONF_URL, AT(conf_registry, url),
	  .doc = "Where the registry listens: unix:PATH, http://HOST:PORT on loopback, or "
		 "https://HOST:PORT. Default: unix:RUN/registry.socket." },
	{ "user", CONF_TEXT, AT(conf_registry, user), .doc = "User name for a real etcd." },
	{ "password", CONF_FILE, AT(conf_registry, password_file),
	  .doc = "File that holds the user's password." },
	{ "token", CONF_FILE, AT(conf_registry, token_file),
	  .doc = "File that holds the token for a weir-registry that listens on TCP." },
	{ "ca", CONF_FILE, AT(conf_registry, ca),
	  .doc = "PEM file of the authority that signed the registry's certificate. Default: the "
		 "system's authorities." },
	{ "timeout", CONF_TIME, AT(conf_registry, timeout_us), .min = 10000, .max = 60 * SECOND,
	  .fallback = "2s", .doc = "How long one call may take." },
};
SUB(registry, conf_registry, CONF_NO_FLAG);

static const struct conf_key tls_keys[] = {
	{ "ca", CONF_FILE, AT(conf_tls, ca),
	  .doc = "PEM file of the installation's own authority (weir ca)." },
	{ "cert", CONF_FILE, AT(conf_tls, cert), .doc = "PEM file of this node's certificate." },
	{ "key", CONF_FILE, AT(conf_tls, key), .doc = "PEM file of its private key." },
};
SUB(tls, conf_tls, CONF_NO_FLAG);

static const struct conf_key registry_server_keys[] = {
	{ "listen", CONF_LISTEN, MANY(conf_registry_server, listen),
	  .doc = "Unix sockets, or TCP on loopback (with a token). Default: "
		 "unix:RUN/registry.socket." },
	{ "token", CONF_FILE, AT(conf_registry_server, token_file),
	  .doc = "File with the token that TCP clients must show." },
};
SUB(registry_server, conf_registry_server, offsetof(struct conf_registry_server, enabled));

static const struct conf_key decap_keys[] = {
	{ "interfaces", CONF_INTERFACE, PLACE(conf_agent, decap.interfaces, decap.ninterfaces),
	  .doc = "Interfaces on which encapsulated packets are taken." },
	{ "from", CONF_PREFIX, PLACE(conf_agent, decap.from, decap.nfrom),
	  .doc = "Networks of the balancers; packets from others are dropped." },
	{ "mss", CONF_NUMBER, AT(conf_agent, decap.mss), .words = words_mss, .min = 536,
	  .max = 65495, .fallback = "auto",
	  .doc = "Largest TCP segment that service addresses ask for, so that encapsulation fits; "
		 "auto: the interfaces' MTU less GUE's headers." },
};
SUB(decap, conf_agent, CONF_NO_FLAG);

static const struct conf_key filter_limits_keys[] = {
	{ "syn", CONF_RATE, AT(conf_agent, filter.syn),
	  .doc = "New TCP connections of one network." },
	{ "udp", CONF_RATE, AT(conf_agent, filter.udp), .doc = "UDP packets of one network." },
	{ "dns", CONF_RATE, AT(conf_agent, filter.dns),
	  .doc = "UDP packets of one network to port 53. Default: they count as udp." },
	{ "new", CONF_RATE, AT(conf_agent, filter.fresh), .fallback = "2000/s burst 20000",
	  .doc = "Networks that get a limit of their own; those beyond share one." },
};
SUB(filter_limits, conf_agent, CONF_NO_FLAG);

static const struct conf_key filter_keys[] = {
	{ "block", CONF_NETWORKS, PLACE(conf_agent, filter.block, filter.nblock),
	  .doc = "Sources whose packets are dropped." },
	{ "allow", CONF_NETWORKS, PLACE(conf_agent, filter.allow, filter.nallow),
	  .doc = "Sources that are neither blocked nor limited." },
	{ "limits", CONF_SECTION, .offset = 0, .section = &filter_limits,
	  .doc = "What each network may send to services; none of it by default." },
	{ "prefix4", CONF_NUMBER, AT(conf_agent, filter.prefix4), .min = 8, .max = 32,
	  .fallback = "24", .doc = "Bits of an IPv4 network that is limited as one." },
	{ "prefix6", CONF_NUMBER, AT(conf_agent, filter.prefix6), .min = 16, .max = 64,
	  .fallback = "56", .doc = "Bits of an IPv6 network that is limited as one." },
};
SUB(filter, conf_agent, CONF_NO_FLAG);

static const struct conf_key nat_keys[] = {
	{ "addresses", CONF_ADDR, PLACE(conf_agent, nat.addresses, nat.naddresses),
	  .doc = "Addresses from which backends behind NAT are spoken to, of each family that is "
		 "needed; agent.limits.nat_ports says how many. They are this node's, and used for nothing "
		 "else." },
	{ "idle", CONF_TIME, AT(conf_agent, nat.idle_us), .min = 10 * SECOND, .max = 86400 * SECOND,
	  .fallback = "1h", .doc = "How long an idle TCP connection keeps its port." },
	{ "udp", CONF_TIME, AT(conf_agent, nat.udp_us), .min = SECOND, .max = 86400 * SECOND,
	  .fallback = "60s", .doc = "The same for a UDP flow." },
};
SUB(nat, conf_agent, CONF_NO_FLAG);

static const struct conf_key check_keys[] = {
	{ "type", CONF_WORD, AT(conf_service, check.type), .words = words_check, .fallback = "tcp",
	  .doc = "How a backend is asked whether it lives; http also brings its load." },
	{ "path", CONF_TEXT, AT(conf_service, check.path), .fallback = "/_/health",
	  .doc = "What an http check asks for; 200 is well." },
	{ "port", CONF_PORT, AT(conf_service, check.port), .fallback = "0",
	  .doc = "The port asked; 0: that of the service's first address." },
	{ "interval", CONF_TIME, AT(conf_service, check.interval_us), .min = 10000,
	  .max = 3600 * SECOND, .fallback = "1s", .doc = "Time between two checks of a backend." },
	{ "timeout", CONF_TIME, AT(conf_service, check.timeout_us), .min = 1000, .max = 60 * SECOND,
	  .fallback = "500ms", .doc = "A check that takes longer has failed." },
	{ "rise", CONF_NUMBER, AT(conf_service, check.rise), .min = 1, .max = 1000, .fallback = "2",
	  .doc = "Good checks in a row until a backend is up." },
	{ "fall", CONF_NUMBER, AT(conf_service, check.fall), .min = 1, .max = 1000, .fallback = "3",
	  .doc = "Failed checks in a row until a backend is down." },
	{ "through", CONF_SWITCH, AT(conf_service, check.through_service), .words = words_through,
	  .fallback = "address",
	  .doc = "address: the backend's own is asked; service: the virtual one, encapsulated to the "
		 "backend as clients' packets are, so that a broken decapsulation is seen. Where that "
		 "cannot be, and beyond 256 virtual addresses, the log says so and the backend's own "
		 "is asked." },
};
SUB(check, conf_service, CONF_NO_FLAG);

static const struct conf_key backend_keys[] = {
	{ "name", CONF_NAME, AT(conf_backend, name), .required = true,
	  .doc = "The backend's node; its place in the ring follows from its name alone." },
	{ "address", CONF_ADDR, AT(conf_backend, address), .required = true,
	  .doc = "IPv4 or IPv6 address that packets are sent to, those of clients of either version." },
	{ "capacity", CONF_REAL, AT(conf_backend, capacity), .fallback = "1",
	  .doc = "Size relative to the other backends, the first guess before anything was "
		 "learned." },
	{ "quic_id", CONF_TEXT, AT(conf_backend, quic_id),
	  .doc = "Server ID in the connection IDs that the backend makes, in hexadecimal digits." },
};
SUB(backend, conf_backend, CONF_NO_FLAG);

static const struct conf_key quic_keys[] = {
	{ "config", CONF_NUMBER, AT(conf_service, quic.config), .max = 6, .fallback = "0",
	  .doc = "Number of the configuration: the first three bits of connection IDs." },
	{ "server_id", CONF_NUMBER, AT(conf_service, quic.server_id), .min = 1, .max = 15,
	  .doc = "Bytes of a server ID." },
	{ "nonce", CONF_NUMBER, AT(conf_service, quic.nonce), .min = 4, .max = 18,
	  .fallback = "4",
	  .doc = "Bytes of the nonce behind it; both together have at most 19." },
	{ "key", CONF_FILE, AT(conf_service, quic.key),
	  .doc = "File of the AES key, 32 hexadecimal digits, with which backends encrypt both. None: plaintext." },
};
SUB(quic, conf_service, CONF_NO_FLAG);

static const struct conf_key service_keys[] = {
	{ "name", CONF_NAME, AT(conf_service, name), .required = true,
	  .doc = "Name in the registry and in steer." },
	{ "addresses", CONF_SERVE, MANY(conf_service, addresses),
	  .doc = "Virtual addresses, each with /tcp or /udp; port 0: every port. A network is written "
		 "198.18.64.0/20:443/tcp or [2001:db8:64::]/64:443/tcp. None: the service is only "
		 "measured and its rates are published." },
	{ "slots", CONF_NUMBER, AT(conf_service, slots), .min = 1, .max = 1u << 22,
	  .fallback = "4099",
	  .doc = "Slots of the ring; about a hundred times the backends, best a prime." },
	{ "encap", CONF_WORD, AT(conf_service, encap), .words = words_encap, .fallback = "gue",
	  .doc = "How packets travel to backends: Generic UDP Encapsulation, IP in IP, or, for "
		 "backends that run nothing of ours, with other addresses (agent.nat)." },
	{ "port", CONF_PORT, AT(conf_service, port), .fallback = "0",
	  .doc = "The port of backends behind NAT; 0: that of the service's address." },
	{ "choice", CONF_SWITCH, AT(conf_service, two), .words = words_choice, .fallback = "one",
	  .doc = "two: a new connection goes to the less loaded of two backends." },
	{ "udp", CONF_WORD, AT(conf_service, udp), .words = words_udp, .fallback = "stateless",
	  .doc = "sticky: a UDP flow keeps its backend while slots move; quic: a connection keeps it, "
		 "also when the client's address changes." },
	{ "quic", CONF_SECTION, .offset = 0, .section = &quic,
	  .doc = "How backends make connection IDs (QUIC-LB)." },
	{ "affinity", CONF_SWITCH, AT(conf_service, by_addresses), .words = words_affinity,
	  .fallback = "flow",
	  .doc = "addresses: slots follow from addresses alone, not from ports; a client keeps its "
		 "backend." },
	{ "check", CONF_SECTION, .offset = 0, .section = &check,
	  .doc = "How backends are checked." },
	{ "backends", CONF_SECTION, MANY(conf_service, backends), .section = &backend,
	  .required = true, .doc = "Who serves." },
};
SUB(service, conf_service, CONF_NO_FLAG);

/* Defaults as in bpf/abi/maps.h. A service's number and a backend's index have 16 bits. */
static const struct conf_key agent_limits_keys[] = {
	{ "services", CONF_NUMBER, AT(conf_agent, limits.services), .min = 1, .max = 65535,
	  .fallback = "8192", .doc = "Services and tunnels." },
	{ "addresses", CONF_NUMBER, AT(conf_agent, limits.addresses), .min = 1, .max = 1u << 24,
	  .fallback = "65536",
	  .doc = "Addresses with a port of all services; each address takes one more for echo." },
	{ "backends", CONF_NUMBER, AT(conf_agent, limits.backends), .min = 2, .max = 65535,
	  .fallback = "16384", .doc = "Backends of all services, and former owners of slots." },
	{ "slots", CONF_NUMBER, AT(conf_agent, limits.slots), .min = 1, .max = 1u << 26,
	  .fallback = "524288", .doc = "Slots of all services together." },
	{ "notes", CONF_NUMBER, AT(conf_agent, limits.notes), .min = 64, .max = 1u << 26,
	  .fallback = "131072",
	  .doc = "Flows of moving slots that are remembered; twice those that are expected at once." },
	{ "half_open", CONF_NUMBER, AT(conf_agent, limits.half_open), .min = 64, .max = 1u << 24,
	  .fallback = "8192", .doc = "The same before their handshake ends: a flood stays here." },
	{ "fragments", CONF_NUMBER, AT(conf_agent, limits.fragments), .min = 64, .max = 1u << 24,
	  .fallback = "4096", .doc = "Fragmented packets whose later fragments are awaited." },
	{ "nat_ports", CONF_NUMBER, AT(conf_agent, limits.nat_ports), .min = 65536, .max = 16 * 65536,
	  .fallback = "131072",
	  .doc = "Ports of NAT addresses, 65536 for each of agent.nat.addresses; a port takes some 160 "
		 "bytes." },
};
SUB(agent_limits, conf_agent, CONF_NO_FLAG);

static const struct conf_key agent_keys[] = {
	{ "interfaces", CONF_INTERFACE, MANY(conf_agent, interfaces),
	  .doc = "Interfaces on which clients' packets arrive; the edge program is attached "
		 "there." },
	{ "attach", CONF_WORD, AT(conf_agent, attach), .words = words_attach, .fallback = "link",
	  .doc = "link: a pinned bpf_link; dispatcher: share the interface through libxdp." },
	{ "mode", CONF_WORD, AT(conf_agent, mode), .words = words_mode, .fallback = "auto",
	  .doc = "auto: native, or generic where the driver has no XDP." },
	{ "pin", CONF_PATH, AT(conf_agent, pin), .fallback = "/sys/fs/bpf/weir",
	  .doc = "Folder of bpffs for the pinned program, link and maps." },
	{ "inside", CONF_LISTEN, AT(conf_agent, inside),
	  .doc = "Listener for health, metrics and status." },
	{ "drain", CONF_TIME, AT(conf_agent, drain_us), .min = 10000, .max = 86400 * SECOND,
	  .fallback = "310s",
	  .doc = "The old owner of a moved slot is kept until nothing went to it for so long." },
	{ "move_budget", CONF_FRACTION, AT(conf_agent, move_budget), .fallback = "0.1%",
	  .doc = "Slots that may move in a second, on average." },
	{ "mark", CONF_NUMBER, AT(conf_agent, mark), .min = 1, .max = UINT32_MAX,
	  .fallback = "0x77", .doc = "Firewall mark of the health checks' packets." },
	{ "announce", CONF_NUMBER, AT(conf_agent, announce), .max = UINT32_MAX, .fallback = "0",
	  .doc = "Routing table that is kept filled with the addresses of services that have a backend "
		 "up, for a routing daemon to announce; at most 1,024. Not 119, 253, 254 or 255, which are in "
		 "use; 0: none." },
	{ "forward", CONF_SWITCH, AT(conf_agent, forward), .words = words_switch, .fallback = "off",
	  .doc = "on: what is for no service and not for this host is forwarded between the interfaces "
		 "by the kernel's routes, before its firewall." },
	{ "gue_checksum", CONF_SWITCH, AT(conf_agent, gue_checksum), .words = words_switch,
	  .fallback = "off",
	  .doc = "on: GUE over IPv6 carries a UDP checksum, for networks that drop packets without." },
	{ "feedback", CONF_SWITCH, AT(conf_agent, feedback), .words = words_switch, .fallback = "off",
	  .doc = "on: a backend that gets a packet of its connection by way of another tells the balancer, "
		 "which sends the next ones straight there; both need it, and decap on the balancer, too." },
	{ "decap", CONF_SECTION, .offset = 0, .section = &decap,
	  .doc = "For backends: where encapsulated packets are taken, and from whom." },
	{ "filter", CONF_SECTION, .offset = 0, .section = &filter,
	  .doc = "Whose packets are dropped, and how many are taken." },
	{ "limits", CONF_SECTION, .offset = 0, .section = &agent_limits,
	  .doc = "Sizes of the maps; changed by a restart, which keeps what is in them." },
	{ "nat", CONF_SECTION, .offset = 0, .section = &nat,
	  .doc = "For services with encap: nat." },
	{ "services", CONF_SECTION, MANY(conf_agent, services), .section = &service,
	  .doc = "What is balanced." },
};
SUB(agent, conf_agent, offsetof(struct conf_agent, enabled));

static const struct conf_key zone_keys[] = {
	{ "name", CONF_DOMAIN, AT(conf_zone, name), .required = true,
	  .doc = "Origin of the zone." },
	{ "file", CONF_FILE, AT(conf_zone, file), .required = true,
	  .doc = "Zone file (RFC 1035, section 5)." },
};
SUB(zone, conf_zone, CONF_NO_FLAG);

static const struct conf_key steer_keys[] = {
	{ "name", CONF_DOMAIN, AT(conf_steer, name), .required = true,
	  .doc = "A name inside one of the zones; its addresses are those of the services." },
	{ "services", CONF_NAME_TEXT, MANY(conf_steer, services), .required = true,
	  .doc = "Services that the name leads to, one a site." },
	{ "ttl", CONF_TIME, AT(conf_steer, ttl_us), .min = SECOND, .max = 86400 * SECOND,
	  .fallback = "5s", .doc = "TTL of the answers; whole seconds." },
};
SUB(steer, conf_steer, CONF_NO_FLAG);

static const struct conf_key ns_limits_keys[] = {
	{ "tcp_connections", CONF_NUMBER, AT(conf_ns, limits.tcp_connections), .min = 1,
	  .max = 100000, .fallback = "256",
	  .doc = "TCP connections at once; the idlest is closed for a new one." },
	{ "tcp_idle", CONF_TIME, AT(conf_ns, limits.tcp_idle_us), .min = 100000,
	  .max = 3600 * SECOND, .fallback = "10s",
	  .doc = "A TCP connection that says nothing for so long is closed." },
};
SUB(ns_limits, conf_ns, CONF_NO_FLAG);

static const struct conf_key ns_keys[] = {
	{ "listen", CONF_LISTEN, MANY(conf_ns, listen), .required = true,
	  .doc = "Addresses for UDP and TCP." },
	{ "inside", CONF_LISTEN, AT(conf_ns, inside),
	  .doc = "Listener for health, metrics and status." },
	{ "zones", CONF_SECTION, MANY(conf_ns, zones), .section = &zone, .required = true,
	  .doc = "Zones that are answered with authority." },
	{ "steer", CONF_SECTION, MANY(conf_ns, steer), .section = &steer,
	  .doc = "Names that follow the load." },
	{ "workers", CONF_NUMBER, AT(conf_ns, workers), .max = 1024, .fallback = "0",
	  .doc = "Threads that answer; 0: as many as CPUs." },
	{ "limits", CONF_SECTION, .offset = 0, .section = &ns_limits,
	  .doc = "What strangers may use." },
};
SUB(ns, conf_ns, offsetof(struct conf_ns, enabled));

static const struct conf_key limits_keys[] = {
	{ "object", CONF_SIZE, AT(conf_limits, object), .min = 1, .max = 1ull << 50,
	  .fallback = "5TiB", .doc = "Largest object; larger is answered with 413." },
	{ "connections", CONF_NUMBER, AT(conf_limits, connections), .min = 1, .max = 1000000,
	  .fallback = "4096", .doc = "Connections at once; one address has at most half of them." },
	{ "headers", CONF_SIZE, AT(conf_limits, header_bytes), .min = KIB, .max = 1024 * KIB,
	  .fallback = "16KiB", .doc = "Largest request head; larger is answered with 431." },
	{ "idle", CONF_TIME, AT(conf_limits, idle_us), .min = SECOND, .max = 3600 * SECOND,
	  .fallback = "30s", .doc = "A connection that moves nothing for so long is closed." },
	{ "request", CONF_TIME, AT(conf_limits, request_us), .min = SECOND, .max = 3600 * SECOND,
	  .fallback = "10s", .doc = "Time for a request's head." },
};
SUB(limits, conf_limits, CONF_NO_FLAG);

static const struct conf_key redirect_keys[] = {
	{ "services", CONF_NAME_TEXT, PLACE(conf_gateway, redirect.services, redirect.nservices),
	  .doc = "Services whose rates rank the endpoints. None: every endpoint counts the same." },
	{ "token_ttl", CONF_TIME, AT(conf_gateway, redirect.token_ttl_us), .min = SECOND,
	  .max = 86400 * SECOND, .fallback = "5m", .doc = "How long a redirect's token is good." },
	{ "top", CONF_NUMBER, AT(conf_gateway, redirect.top), .min = 1, .max = 64, .fallback = "2",
	  .doc = "Redirects go in turn to so many of the best." },
};
SUB(redirect, conf_gateway, CONF_NO_FLAG);

static const struct conf_key uploads_keys[] = {
	{ "workers", CONF_NUMBER, AT(conf_uploads, workers), .max = 256, .fallback = "0",
	  .doc = "Files that are checked at once; 0 is twice the CPUs. Others wait their turn." },
	{ "per_user", CONF_NUMBER, AT(conf_uploads, per_user), .min = 1, .max = 100000,
	  .fallback = "256", .doc = "Unfinished uploads of one user." },
	{ "memory", CONF_SIZE, AT(conf_uploads, memory), .min = 64 * 1024 * KIB,
	  .fallback = "256MiB", .doc = "Address space of the process that checks one file." },
	{ "cpu", CONF_TIME, AT(conf_uploads, cpu_us), .min = SECOND, .fallback = "1h",
	  .doc = "CPU time of the process that checks one file." },
	{ "ahead", CONF_SIZE, AT(conf_uploads, ahead), .fallback = "4MiB",
	  .doc = "A file's bytes are taken so far beyond what is checked of it; 0 is no bound." },
	{ "spool", CONF_SIZE, AT(conf_uploads, spool), .min = 1024 * KIB, .fallback = "64GiB",
	  .doc = "Bytes of all unfinished uploads together; more get 507." },
	{ "expire", CONF_TIME, AT(conf_uploads, expire_us), .min = SECOND, .fallback = "24h",
	  .doc = "An upload that got no byte for so long is removed." },
};
SUB(uploads, conf_uploads, CONF_NO_FLAG);

static const struct conf_key peers_keys[] = {
	{ "mode", CONF_WORD, AT(conf_peers, mode), .words = words_peers, .fallback = "auto",
	  .doc = "When viewers carry each other: by what is sensed, always, never. weir peers switch changes it." },
	{ "capacity", CONF_SIZE, AT(conf_peers, capacity), .fallback = "0",
	  .doc = "Bytes a second that all endpoints together can send; 0 is not known." },
	{ "ahead", CONF_TIME, AT(conf_peers, ahead_us), .min = SECOND, .max = 600 * SECOND, .fallback = "90s",
	  .doc = "Media that each grouping holds together beyond its viewers' positions." },
	{ "copies", CONF_NUMBER, AT(conf_peers, copies), .min = 1, .max = 8, .fallback = "2",
	  .doc = "Members of a grouping that hold a segment." },
	{ "group", CONF_NUMBER, AT(conf_peers, group), .min = 3, .max = 128, .fallback = "72",
	  .doc = "Members of a grouping." },
	{ "helpers", CONF_NUMBER, AT(conf_peers, helpers), .min = 2, .max = 4, .fallback = "3",
	  .doc = "Helpers of a viewer who is fed." },
	{ "uplink", CONF_FRACTION, AT(conf_peers, uplink), .fallback = "80%",
	  .doc = "Share of a measured uplink that is used." },
	{ "margin", CONF_REAL, AT(conf_peers, margin), .fallback = "1.5",
	  .doc = "Uplink of those who may upload over what their grouping needs; neighbours lend each other helpers up to it." },
	{ "cellular", CONF_SWITCH, AT(conf_peers, cellular), .words = words_no_yes, .fallback = "no",
	  .doc = "Viewers on a cellular network may upload when they consent." },
	{ "viewers", CONF_NUMBER, AT(conf_peers, viewers), .min = 1, .max = 1000000, .fallback = "18000",
	  .doc = "Viewers whose connections this gateway holds; more get 503. Their WebSockets and event streams do not count for "
		 "limits.connections; places for them are made when it starts." },
	{ "per_address", CONF_NUMBER, AT(conf_peers, per_address), .min = 1, .max = 1000000, .fallback = "256",
	  .doc = "Viewers of one client address." },
	{ "session", CONF_TIME, AT(conf_peers, session_us), .min = 60 * SECOND, .max = 7 * 86400 * SECOND,
	  .fallback = "6h", .doc = "A viewer's token is good for so long." },
	{ "networks", CONF_PATH, AT(conf_peers, networks),
	  .doc = "Database of AS numbers (.mmdb): neighbours are grouped first. None: by prefix alone." },
	{ "origins", CONF_TEXT, MANY(conf_peers, origins),
	  .doc = "Origins (https://HOST) of pages elsewhere that may open sessions; all: '*'." },
	{ "urls", CONF_URL, MANY(conf_peers, urls),
	  .doc = "Where pages reach this gateway (https://HOST) when another one dies. None: its listeners that are no wildcards, "
		 "or else identity.url." },
};
SUB(peers, conf_peers, CONF_NO_FLAG);

static const struct conf_key gateway_keys[] = {
	{ "listen", CONF_LISTEN, MANY(conf_gateway, listen), .required = true,
	  .doc = "Public HTTP listeners." },
	{ "inside", CONF_LISTEN, AT(conf_gateway, inside),
	  .doc = "Listener for health, metrics and status." },
	{ "redirect", CONF_SECTION, .offset = 0, .section = &redirect,
	  .doc = "Where requests are sent." },
	{ "uploads", CONF_SECTION, AT(conf_gateway, uploads), .section = &uploads,
	  .doc = "Uploads to datasets, which are checked while they arrive." },
	{ "peers", CONF_SECTION, AT(conf_gateway, peers), .section = &peers,
	  .doc = "Viewers of an asset that carry each other." },
	{ "limits", CONF_SECTION, AT(conf_gateway, limits), .section = &limits,
	  .doc = "What strangers may use." },
};
SUB(gateway, conf_gateway, offsetof(struct conf_gateway, enabled));

static const struct conf_key s3_keys[] = {
	{ "domain", CONF_DOMAIN, AT(conf_s3, domain),
	  .doc = "Name whose subdomains are buckets (BUCKET.DOMAIN). None: buckets are named in the path alone." },
	{ "region", CONF_NAME_TEXT, AT(conf_s3, region), .fallback = "us-east-1",
	  .doc = "The region that clients are told, and for which they sign." },
};
SUB(s3, conf_s3, CONF_NO_FLAG);

static const struct conf_key identity_keys[] = {
	{ "issuer", CONF_URL, AT(conf_identity, issuer), .required = true,
	  .doc = "The OpenID provider's issuer, as its discovery document says it; https://, or http:// on loopback." },
	{ "client_id", CONF_TEXT, AT(conf_identity, client_id), .required = true,
	  .doc = "Under which the provider knows this installation." },
	{ "client_secret", CONF_FILE, AT(conf_identity, client_secret_file),
	  .doc = "File that holds the client's secret. None: a public client, by PKCE alone." },
	{ "audience", CONF_TEXT, AT(conf_identity, audience),
	  .doc = "For whom ID tokens must be. Default: client_id." },
	{ "ca", CONF_FILE, AT(conf_identity, ca),
	  .doc = "PEM file of the authority that signed the provider's certificate. Default: the system's authorities." },
	{ "scopes", CONF_TEXT, MANY(conf_identity, scopes),
	  .doc = "What is asked for. None: openid, profile, email, groups." },
	{ "name_claim", CONF_TEXT, AT(conf_identity, name_claim), .fallback = "preferred_username",
	  .doc = "The claim that names the person; when it is missing, email, then sub." },
	{ "groups_claim", CONF_TEXT, AT(conf_identity, groups_claim), .fallback = "groups",
	  .doc = "The claim that lists the person's groups." },
	{ "url", CONF_URL, AT(conf_identity, url),
	  .doc = "Where browsers reach the gateway, for the provider's way back. Default: as each request says." },
	{ "session", CONF_TIME, AT(conf_identity, session_us), .min = SECOND, .max = 30 * 86400 * SECOND,
	  .fallback = "12h", .doc = "How long a sign-on is good." },
	{ "skew", CONF_TIME, AT(conf_identity, skew_us), .max = 600 * SECOND, .fallback = "60s",
	  .doc = "By so much the provider's clock may differ." },
};
SUB(identity, conf_identity, offsetof(struct conf_identity, enabled));

static const char *const words_orphans[] = { "keep", "remove", NULL };

static const struct conf_key endpoint_keys[] = {
	{ "listen", CONF_LISTEN, MANY(conf_endpoint, listen), .required = true,
	  .doc = "Public HTTP listeners." },
	{ "url", CONF_URL, AT(conf_endpoint, url), .required = true,
	  .doc = "Where clients reach this endpoint: http:// or https://, host and port, no "
		 "path." },
	{ "inside", CONF_LISTEN, AT(conf_endpoint, inside),
	  .doc = "Listener for health, metrics, status and for the other endpoints." },
	{ "copies", CONF_NUMBER, AT(conf_endpoint, copies), .min = 1, .max = 8, .fallback = "2",
	  .doc = "Endpoints that must have an object before its PUT is acknowledged." },
	{ "reserve", CONF_RESERVE, AT(conf_endpoint, reserve), .fallback = "5%",
	  .doc = "Disk space that stays free, as a size or as a fraction of the disk." },
	{ "orphans", CONF_WORD, AT(conf_endpoint, orphans), .words = words_orphans, .fallback = "keep",
	  .doc = "What the scrubber does with data that no name refers to: keep counts them; remove removes them, "
		 "where this endpoint is the installation's only one and is certain." },
	{ "limits", CONF_SECTION, AT(conf_endpoint, limits), .section = &limits,
	  .doc = "What strangers may use." },
};
SUB(endpoint, conf_endpoint, offsetof(struct conf_endpoint, enabled));

static const char *const words_proxy[] = { "off", "v1", "v2", NULL };
static const char *const words_access_log[] = { "json", "common", NULL };

static const struct conf_key tunnels_keys[] = {
	{ "prefix", CONF_PREFIX, MANY(conf_tunnels, prefix),
	  .doc = "Networks from which tunnels get their addresses; routers send them to the edges. "
		 "None: hostnames lead to the edges' own addresses." },
	{ "zone", CONF_DOMAIN, AT(conf_tunnels, zone),
	  .doc = "Zone of weir-ns in which hostnames are published. None: you publish them." },
	{ "ttl", CONF_TIME, AT(conf_tunnels, ttl_us), .min = SECOND, .max = 86400 * SECOND,
	  .fallback = "5s", .doc = "TTL of the published records; whole seconds." },
	{ "quarantine", CONF_TIME, AT(conf_tunnels, quarantine_us), .min = SECOND,
	  .max = 30 * 86400 * SECOND, .fallback = "5m",
	  .doc = "How long the address of a removed tunnel is not given out; longer than ttl." },
	{ "ack_timeout", CONF_TIME, AT(conf_tunnels, ack_timeout_us), .min = 100000,
	  .max = 600 * SECOND, .fallback = "5s",
	  .doc = "Names are published when every edge routes them, or after so long, which names "
		 "the edges that were silent." },
};
SUB(tunnels, conf_tunnels, offsetof(struct conf_tunnels, enabled));

static const struct conf_key certificate_keys[] = {
	{ "cert", CONF_FILE, AT(conf_certificate, cert), .required = true,
	  .doc = "PEM file of a certificate and its chain; it serves the names that it bears." },
	{ "key", CONF_FILE, AT(conf_certificate, key), .required = true,
	  .doc = "PEM file of its private key; the daemons' user reads it again on a reload." },
};
SUB(certificate, conf_certificate, CONF_NO_FLAG);

static const struct conf_key edge_limits_keys[] = {
	{ "connections", CONF_NUMBER, AT(conf_edge, limits.connections), .min = 1, .max = 1000000,
	  .fallback = "20000", .doc = "Connections of clients at once." },
	{ "per_address", CONF_NUMBER, AT(conf_edge, limits.per_address), .max = 1000000,
	  .fallback = "0", .doc = "Connections of one client address; 0: half of all." },
	{ "streams", CONF_NUMBER, AT(conf_edge, limits.streams), .min = 1, .max = 10000,
	  .fallback = "128", .doc = "Requests at once on one HTTP/2 connection." },
	{ "rate", CONF_NUMBER, AT(conf_edge, limits.rate), .max = 1000000, .fallback = "0",
	  .doc = "Requests a second of one client address (429 past that); 0: no limit." },
	{ "headers", CONF_SIZE, AT(conf_edge, limits.header_bytes), .min = KIB, .max = 64 * KIB,
	  .fallback = "16KiB", .doc = "Largest request head; larger is answered with 431." },
	{ "body", CONF_SIZE, AT(conf_edge, limits.body), .min = 1, .max = 1ull << 50,
	  .fallback = "5TiB", .doc = "Largest request body; larger is answered with 413." },
	{ "memory", CONF_SIZE, AT(conf_edge, limits.memory), .max = 1ull << 50, .fallback = "0",
	  .doc = "Bytes that may wait for slow clients and origins, all together; 503 when it is nearly "
		 "used up. 0: a quarter of the machine's memory." },
	{ "idle", CONF_TIME, AT(conf_edge, limits.idle_us), .min = SECOND, .max = 86400 * SECOND,
	  .fallback = "60s", .doc = "A connection or request that moves nothing for so long is ended." },
	{ "request", CONF_TIME, AT(conf_edge, limits.request_us), .min = SECOND,
	  .max = 3600 * SECOND, .fallback = "10s", .doc = "Time for a request's head, or a TLS handshake." },
	{ "total", CONF_TIME, AT(conf_edge, limits.total_us), .max = 86400 * SECOND,
	  .fallback = "0s", .doc = "Time for a whole request and its answer; 0s: no limit." },
};
SUB(edge_limits, conf_edge, CONF_NO_FLAG);

static const struct conf_key edge_keys[] = {
	{ "listen", CONF_LISTEN, MANY(conf_edge, listen), .doc = "Public HTTP listeners." },
	{ "listen_tls", CONF_LISTEN, MANY(conf_edge, listen_tls),
	  .doc = "Public HTTPS listeners; by SNI TLS ends here or is passed through." },
	{ "attach", CONF_LISTEN, MANY(conf_edge, attach),
	  .doc = "Where origins dial in (TLS 1.3 with client certificates)." },
	{ "address", CONF_ADDR, AT(conf_edge, address),
	  .doc = "IPv4 address of this node to which other edges encapsulate. Default: attach[0]'s." },
	{ "address6", CONF_ADDR, AT(conf_edge, address6), .doc = "The same for IPv6." },
	{ "inside", CONF_LISTEN, AT(conf_edge, inside),
	  .doc = "Listener for health, metrics and status." },
	{ "certificates", CONF_SECTION, MANY(conf_edge, certificates), .section = &certificate,
	  .doc = "Certificates for hostnames; read again on a reload." },
	{ "acme", CONF_PATH, AT(conf_edge, acme),
	  .doc = "Folder of an ACME client (certbot --webroot -w FOLDER); files of "
		 "FOLDER/.well-known/acme-challenge are shown by plain HTTP for every hostname." },
	{ "origins", CONF_FILE, AT(conf_edge, origins),
	  .doc = "PEM file of the authority that signs origins' certificates (origins.pem of weir ca "
		 "init)." },
	{ "gateway", CONF_LISTEN, AT(conf_edge, gateway),
	  .doc = "The local gateway's listener (best a Unix socket) for gateway_hostnames." },
	{ "gateway_hostnames", CONF_DOMAIN, MANY(conf_edge, gateway_hostnames),
	  .doc = "Hostnames that the gateway serves." },
	{ "agent", CONF_PATH, AT(conf_edge, agent),
	  .doc = "Socket by which weir-agent takes the listener of tunnel addresses. Default: "
		 "RUN/agent-listener.sock." },
	{ "proxy_from", CONF_PREFIX, MANY(conf_edge, proxy_from),
	  .doc = "Balancers that begin each connection with the PROXY protocol." },
	{ "mss", CONF_NUMBER, AT(conf_edge, mss), .min = 536, .max = 8960, .fallback = "1336",
	  .doc = "Largest TCP segment that clients of tunnel addresses are asked to send, so that "
		 "encapsulation fits." },
	{ "access_log", CONF_PATH, AT(conf_edge, access_log), .doc = "File of one line a request." },
	{ "access_log_format", CONF_SWITCH, AT(conf_edge, access_log_common),
	  .words = words_access_log, .fallback = "json", .doc = "JSON lines, or the common log format." },
	{ "drain", CONF_TIME, AT(conf_edge, drain_us), .max = 3600 * SECOND, .fallback = "30s",
	  .doc = "How long a stop waits for what runs." },
	{ "limits", CONF_SECTION, .offset = 0, .section = &edge_limits,
	  .doc = "What strangers may use." },
};
SUB(edge, conf_edge, offsetof(struct conf_edge, enabled));

static const struct conf_key target_keys[] = {
	{ "hostname", CONF_TEXT, AT(conf_target, hostname), .fallback = "*",
	  .doc = "Which of the tunnel's hostnames; *: all." },
	{ "port", CONF_PORT, AT(conf_target, port), .fallback = "0",
	  .doc = "Bytes of this port (tcp, tls); 0: HTTP requests." },
	{ "to", CONF_TEXT, AT(conf_target, to), .required = true,
	  .doc = "http://, https://, h2c:// or h2:// with HOST:PORT, unix:PATH, tcp://HOST:PORT, "
		 "tcp+unix:PATH." },
	{ "ca", CONF_FILE, AT(conf_target, ca),
	  .doc = "PEM file by which an https or h2 target is verified. Default: the system's." },
	{ "host", CONF_TEXT, AT(conf_target, host),
	  .doc = "Sent to the target as Host. Default: the hostname that the client asked for." },
	{ "proxy", CONF_WORD, AT(conf_target, proxy), .words = words_proxy, .fallback = "off",
	  .doc = "Begin connections to the target with the PROXY protocol." },
};
SUB(target, conf_target, CONF_NO_FLAG);

static const struct conf_key origin_keys[] = {
	{ "edges", CONF_TEXT, MANY(conf_origin, edges), .required = true,
	  .doc = "NAME:PORT or ADDRESS:PORT of edges; a name stands for all of its addresses." },
	{ "credentials", CONF_PATH, AT(conf_origin, credentials), .required = true,
	  .doc = "Folder that `weir tunnel enroll` filled." },
	{ "connections", CONF_NUMBER, AT(conf_origin, connections), .min = 1, .max = 256,
	  .fallback = "4", .doc = "Connections in all, spread over at least two edges where there are such." },
	{ "inside", CONF_LISTEN, AT(conf_origin, inside),
	  .doc = "Listener for health, metrics and status." },
	{ "targets", CONF_SECTION, MANY(conf_origin, targets), .section = &target, .required = true,
	  .doc = "Where requests go." },
	{ "access_log", CONF_PATH, AT(conf_origin, access_log), .doc = "File of one JSON line a request." },
	{ "drain", CONF_TIME, AT(conf_origin, drain_us), .max = 3600 * SECOND, .fallback = "30s",
	  .doc = "How long a stop waits for what runs." },
};
SUB(origin, conf_origin, offsetof(struct conf_origin, enabled));

static const struct conf_key authority_keys[] = {
	{ "folder", CONF_PATH, AT(conf_authority, folder), .required = true,
	  .doc = "Folder of weir ca init, with origins.pem and origins.key." },
	{ "lifetime", CONF_TIME, AT(conf_authority, lifetime_us), .min = 60 * SECOND,
	  .max = 3650 * 86400 * SECOND, .fallback = "365d",
	  .doc = "How long an origin's certificate is valid." },
};
SUB(authority, conf_authority, offsetof(struct conf_authority, enabled));

static const struct conf_key root_keys[] = {
	{ "node", CONF_NAME, AT(conf, node),
	  .doc = "Name of this node, unique in the installation. Default: the host name." },
	{ "site", CONF_NAME, AT(conf, site), .fallback = "default",
	  .doc = "Where this node stands." },
	{ "domain", CONF_NAME, AT(conf, domain),
	  .doc = "Failure domain inside the site (a rack, a host). Default: the node." },
	{ "user", CONF_NAME_TEXT, AT(conf, user),
	  .doc = "Name or number of the user that daemons become. Needed when started as root." },
	{ "state", CONF_PATH, AT(conf, state), .fallback = "/var/lib/weir",
	  .doc = "Folder for what must last." },
	{ "run", CONF_PATH, AT(conf, run), .fallback = "/run/weir", .doc = "Folder for sockets." },
	{ "log", CONF_WORD, AT(conf, log_level), .words = words_log, .fallback = "info",
	  .doc = "How much is told." },
	{ "registry", CONF_SECTION, AT(conf, registry), .section = &registry,
	  .doc = "How this node reaches the registry." },
	{ "tls", CONF_SECTION, AT(conf, tls), .section = &tls,
	  .doc = "Certificates among daemons, needed off loopback." },
	{ "registry_server", CONF_SECTION, AT(conf, registry_server), .section = &registry_server,
	  .doc = "Run weir-registry here." },
	{ "agent", CONF_SECTION, AT(conf, agent), .section = &agent,
	  .doc = "Run weir-agent here." },
	{ "ns", CONF_SECTION, AT(conf, ns), .section = &ns, .doc = "Run weir-ns here." },
	{ "gateway", CONF_SECTION, AT(conf, gateway), .section = &gateway,
	  .doc = "Run weir-gateway here." },
	{ "identity", CONF_SECTION, AT(conf, identity), .section = &identity,
	  .doc = "Sign-on by an OpenID provider, for the gateway. Without it local users have passwords." },
	{ "endpoint", CONF_SECTION, AT(conf, endpoint), .section = &endpoint,
	  .doc = "Run weir-endpoint here." },
	{ "s3", CONF_SECTION, AT(conf, s3), .section = &s3,
	  .doc = "How S3 is served; the same on gateways and endpoints." },
	{ "tunnels", CONF_SECTION, AT(conf, tunnels), .section = &tunnels,
	  .doc = "Tunnels of the installation; the same on every edge." },
	{ "edge", CONF_SECTION, AT(conf, edge), .section = &edge,
	  .doc = "Run weir-tunnel edge here: the public front, and where origins attach." },
	{ "origin", CONF_SECTION, AT(conf, origin), .section = &origin,
	  .doc = "Run weir-tunnel origin here: publish local servers through edges." },
	{ "authority", CONF_SECTION, AT(conf, authority), .section = &authority,
	  .doc = "Run weir-tunnel authority here: sign origins' certificates." },
};

const struct conf_section conf_root = { sizeof(struct conf), CONF_NO_FLAG, root_keys,
					sizeof(root_keys) / sizeof(*root_keys) };

static void describe_range(FILE *out, const struct conf_key *key)
{
	for (const char *const *w = key->words; w && *w; w++)
		fprintf(out, "%s%s", w == key->words ? " " : " | ", *w);
	if (key->type == CONF_NUMBER && key->max)
		fprintf(out, "%s from %llu to %llu", key->words ? " |" : "", (unsigned long long)key->min,
			(unsigned long long)key->max);
}

static void describe_section(FILE *out, const struct conf_section *section, const char *path)
{
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct conf_key *key = &section->keys[i];
		char full[128];

		snprintf(full, sizeof(full), "%s%s%s", path, key->name,
			 key->list && key->type == CONF_SECTION ? "[]" : "");
		fprintf(out, "%s\n    %s%s", full, key->list ? "list of: " : "",
			conf_type_words(key));
		describe_range(out, key);
		if (key->fallback)
			fprintf(out, "; default %s", key->fallback);
		if (key->required)
			fprintf(out, "; required");
		fprintf(out, "\n    %s\n", key->doc);
		if (key->type == CONF_SECTION) {
			snprintf(full + strlen(full), sizeof(full) - strlen(full), ".");
			describe_section(out, key->section, full);
		}
	}
}

void conf_describe(FILE *out)
{
	describe_section(out, &conf_root, "");
}
