/* SPDX-License-Identifier: Apache-2.0 */
/* cipher.h -- the packet path's ciphers for encrypted connection IDs (bpf/abi/quic.h, bpf/crypt.bpf.c). */
#ifndef WEIR_CIPHER_H
#define WEIR_CIPHER_H

#include <stdint.h>

#include "lib/quic_key.h"

struct ciphers;

/* map: quic_ciphers of the packet path; -1: one of its own, to see what this kernel can. Needs CAP_BPF. 0 or -errno. */
int ciphers_open(struct ciphers **out, int map);
void ciphers_close(struct ciphers *c); /* accepts NULL; the ciphers stay in the map */
/* The service of that number has this key from now on. -EOPNOTSUPP: the kernel has no such functions; -ENOENT: it has
 * no ecb(aes). */
int ciphers_set(struct ciphers *c, uint32_t number, const uint8_t key[QUIC_KEY_BYTES]);
/* Can this kernel? Leaves nothing. The same results. */
int ciphers_try(void);
/* What such a result means, and what to do. */
const char *ciphers_why(int rc);

#endif
