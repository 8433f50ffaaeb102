/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addr.h -- addresses, sockets addresses and prefixes as people write them.
 *
 * Pure: text in, structs out. IPv4 is kept as IPv4 (never mapped). All parse functions return 0 or
 * -EINVAL and leave the output untouched on failure; nothing here logs or resolves names.
 */
#ifndef WEIR_ADDR_H
#define WEIR_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
	uint8_t family;         /* AF_INET, AF_INET6, or AF_UNSPEC when unset */
	uint8_t bytes[16];      /* network order; IPv4 in the first four */
};

struct addr_prefix {
	struct addr addr;       /* host bits are zero */
	uint8_t len;            /* bits */
};

/* A listener or peer: "198.18.1.10:53", "[2001:db8::1]:53", "unix:/run/x.sock"; a service address
 * may end in "/tcp" or "/udp". */
struct addr_port {
	struct addr addr;       /* AF_UNSPEC for a Unix socket */
	uint16_t port;          /* host order */
	uint8_t proto;          /* IPPROTO_TCP, IPPROTO_UDP, 0 when not said */
	uint8_t prefix;         /* bits of a network of services' addresses; 0: one address */
	char path[108];         /* Unix socket path, else "" */
};

#define ADDR_STRLEN      INET6_ADDRSTRLEN
#define ADDR_PORT_STRLEN 128

int addr_parse(struct addr *out, const char *text);
int addr_prefix_parse(struct addr_prefix *out, const char *text);
int addr_port_parse(struct addr_port *out, const char *text);
/* The same, or a network of them: "198.18.64.0/20:443/tcp", "[2001:db8:64::]/64:0/tcp" (at least 1
 * bit; all bits are one address). */
int addr_serve_parse(struct addr_port *out, const char *text);

/* All return buf, always terminated. */
char *addr_format(const struct addr *a, char *buf, size_t len);
char *addr_prefix_format(const struct addr_prefix *p, char *buf, size_t len);
char *addr_port_format(const struct addr_port *ap, char *buf, size_t len);

bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a);
/* True for loopback addresses and Unix sockets. */
bool addr_port_is_local(const struct addr_port *ap);
bool addr_prefix_contains(const struct addr_prefix *p, const struct addr *a);

/* For bind() and connect(); returns the length to pass. */
socklen_t addr_port_sockaddr(const struct addr_port *ap, struct sockaddr_storage *ss);
void addr_from_sockaddr(struct addr_port *out, const struct sockaddr *sa);

/* Makes a bound socket (type SOCK_STREAM also listens when backlog > 0; backlog 0 binds only).
 * Unix sockets: an old socket file is replaced, the new one gets `mode`. SO_REUSEADDR always,
 * SO_REUSEPORT when reuseport, IPV6_V6ONLY for IPv6, non-blocking, close-on-exec.
 * Returns the fd or -errno. */
int addr_bind(const struct addr_port *ap, int type, int backlog, bool reuseport, mode_t mode);

#endif
