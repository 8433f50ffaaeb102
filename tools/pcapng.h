/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcapng.h -- writes packet captures that Wireshark and tshark open (draft-ietf-opsawg-pcapng): a section,
 * its interfaces as they appear, Ethernet packets with nanoseconds and a comment each.
 *
 * Every function returns 0 or -errno of the stream. The caller owns the stream and flushes it.
 */
#ifndef WEIR_TOOLS_PCAPNG_H
#define WEIR_TOOLS_PCAPNG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PCAPNG_INTERFACES 256
#define PCAPNG_NAME       16

struct pcapng {
	FILE *out;
	uint32_t snap;                                  /* of each interface */
	char name[PCAPNG_INTERFACES][PCAPNG_NAME];      /* interfaces so far, in order */
	uint32_t n;
};

struct pcapng_packet {
	const char *interface;  /* beyond PCAPNG_INTERFACES names the last one is taken */
	uint64_t time_ns;       /* since 1970 */
	const void *data;
	uint32_t captured, length;
	const char *comment;    /* UTF-8, at most 65,535 bytes of it; NULL: none */
};

/* Begins a section; program is who writes it ("weir 0.1.0"). */
int pcapng_begin(struct pcapng *p, FILE *out, const char *program, uint32_t snap);
int pcapng_add(struct pcapng *p, const struct pcapng_packet *packet);
/* At the end, for each interface: how many packets were lost before they got here. */
int pcapng_lost(struct pcapng *p, uint64_t time_ns, uint64_t lost);

#endif
