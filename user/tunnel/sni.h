/* SPDX-License-Identifier: Apache-2.0 */
/* sni.h -- the name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), read without answering it. Pure. */
#ifndef WEIR_TUNNEL_SNI_H
#define WEIR_TUNNEL_SNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNI_HELLO_MAX 16384 /* a longer ClientHello is refused */

/* The beginning of a connection, perhaps cut, perhaps over several records: 1 and the lower-case
 * host name ("" when the hello names none), 0 when more is needed, -EINVAL when it is no
 * ClientHello. */
int sni_parse(char host[256], const uint8_t *data, size_t len);

#endif
