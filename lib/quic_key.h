/* SPDX-License-Identifier: Apache-2.0 */
/* quic_key.h -- the file of a key for QUIC-LB's connection IDs (agent.services[].quic.key): 32 hexadecimal digits. */
#ifndef WEIR_QUIC_KEY_FILE_H
#define WEIR_QUIC_KEY_FILE_H

#include <stdint.h>

#define QUIC_KEY_BYTES 16

/* 0; -EINVAL: it is no regular file, or holds something else; or -errno. Space at its end does not count. */
int quic_key_read(const char *path, uint8_t key[QUIC_KEY_BYTES]);

#endif
