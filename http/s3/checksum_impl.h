/* SPDX-License-Identifier: Apache-2.0 */
/* checksum_impl.h -- what checksum.c and checksum_crc.c share; nobody else includes it. */
#ifndef WEIR_S3_CHECKSUM_IMPL_H
#define WEIR_S3_CHECKSUM_IMPL_H

#include <stdint.h>

#include "http/s3/checksum.h"

#define CRC32_POLY     0xedb88320u /* all mirrored */
#define CRC32C_POLY    0x82f63b78u
#define CRC64NVME_POLY 0x9a6c9329ac4bc9b5u /* 0xad93d23594c93659 */

/* The CRC of a and b one after another, from theirs; bits: 32 or 64. */
uint64_t crc_combine(uint64_t a, uint64_t b, uint64_t b_len, uint64_t poly, unsigned int bits);

#endif
