/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cert.h -- what edges, origins and the authority read out of certificates. Pure but for
 * cert_read().
 */
#ifndef WEIR_TUNNEL_CERT_H
#define WEIR_TUNNEL_CERT_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/tunnels.h"

#define CERT_SERIAL_MAX 41 /* hex, upper case, with terminator (RFC 5280, section 4.1.2.2) */

X509 *cert_read(const char *path);     /* the first of a PEM file; NULL, errno 0: it holds none */
int64_t cert_time(const ASN1_TIME *t); /* unix seconds; 0: not readable */
/* As under REG_REVOKED. False: too long. */
bool cert_serial(const X509 *cert, char out[CERT_SERIAL_MAX]);
/* Its DNS names as tunnels write them: lower case, at most max; what is no tunnel's hostname (a
 * star stands for all of a list) is left out. Returns how many. */
size_t cert_hostnames(const X509 *cert, char (*out)[TUNNEL_HOSTNAME_MAX], size_t max);
/* Is it a node's, a server's and a client's (`weir ca issue`)? One for a server alone (`weir ca
 * host`) may be in the hands of a tenant. */
bool cert_is_node(X509 *cert);

#endif
