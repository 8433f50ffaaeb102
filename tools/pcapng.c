// SPDX-License-Identifier: Apache-2.0
/*
 * pcapng.c -- see pcapng.h. Blocks are in this machine's byte order, as the format wants: type, length,
 * body padded to four bytes, length again.
 */
#include "tools/pcapng.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_STATISTICS = 5, BLOCK_PACKET = 6 };
enum { OPT_END = 0, OPT_COMMENT = 1, OPT_USERAPPL = 4, OPT_IF_NAME = 2, OPT_IF_TSRESOL = 9, OPT_ISB_OSDROP = 7 };
#define BYTE_ORDER_MAGIC  0x1a2b3c4du
#define LINKTYPE_ETHERNET 1
#define NANOSECONDS	  9 /* if_tsresol: 10 to the minus nine */

static uint32_t padded(uint32_t len)
{
	return (len + 3) & ~3u;
}

static int write_all(struct pcapng *p, const void *data, size_t len)
{
	return len && fwrite(data, len, 1, p->out) != 1 ? (errno ? -errno : -EIO) : 0;
}

static int write_padded(struct pcapng *p, const void *data, uint32_t len)
{
	static const uint8_t zero[4];
	int rc = write_all(p, data, len);

	return rc ? rc : write_all(p, zero, padded(len) - len);
}

static uint32_t option_size(size_t len)
{
	return 4 + padded((uint32_t)len);
}

static int write_option(struct pcapng *p, uint16_t code, const void *data, size_t len)
{
	const uint16_t head[2] = { code, (uint16_t)len };
	int rc = write_all(p, head, sizeof(head));

	return rc ? rc : write_padded(p, data, (uint32_t)len);
}

/* The two words that begin every block; the length ends it again. */
static int block_begin(struct pcapng *p, uint32_t type, uint32_t len)
{
	const uint32_t head[2] = { type, len };

	return write_all(p, head, sizeof(head));
}

static int block_end(struct pcapng *p, uint32_t len)
{
	return write_all(p, &len, sizeof(len));
}

static int write_interface(struct pcapng *p, const char *name)
{
	const struct {
		uint16_t link, zero;
		uint32_t snap;
	} body = { LINKTYPE_ETHERNET, 0, p->snap };
	uint32_t len = 12 + (uint32_t)sizeof(body) + option_size(strlen(name)) + option_size(1) + option_size(0);
	const uint8_t resolution = NANOSECONDS;
	int rc = block_begin(p, BLOCK_INTERFACE, len);

	if (!rc)
		rc = write_all(p, &body, sizeof(body));
	if (!rc)
		rc = write_option(p, OPT_IF_NAME, name, strlen(name));
	if (!rc)
		rc = write_option(p, OPT_IF_TSRESOL, &resolution, 1);
	if (!rc)
		rc = write_option(p, OPT_END, NULL, 0);
	return rc ? rc : block_end(p, len);
}

/* The number of an interface, which is described when it appears. */
static int interface_number(struct pcapng *p, const char *name, uint32_t *number)
{
	int rc;

	for (*number = 0; *number < p->n; ++*number)
		if (!strncmp(p->name[*number], name, PCAPNG_NAME - 1))
			return 0;
	if (p->n == PCAPNG_INTERFACES) {
		*number = p->n - 1;
		return 0;
	}
	snprintf(p->name[p->n], PCAPNG_NAME, "%s", name);
	rc = write_interface(p, p->name[p->n]);
	p->n += !rc;
	return rc;
}

int pcapng_begin(struct pcapng *p, FILE *out, const char *program, uint32_t snap)
{
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint64_t length; /* not said */
	} body = { BYTE_ORDER_MAGIC, 1, 0, UINT64_MAX };
	uint32_t len = 12 + (uint32_t)sizeof(body) + option_size(strlen(program)) + option_size(0);
	int rc;

	memset(p, 0, sizeof(*p));
	p->out = out;
	p->snap = snap;
	rc = block_begin(p, BLOCK_SECTION, len);
	if (!rc)
		rc = write_all(p, &body, sizeof(body));
	if (!rc)
		rc = write_option(p, OPT_USERAPPL, program, strlen(program));
	if (!rc)
		rc = write_option(p, OPT_END, NULL, 0);
	return rc ? rc : block_end(p, len);
}

int pcapng_add(struct pcapng *p, const struct pcapng_packet *packet)
{
	uint32_t body[5] = { 0, (uint32_t)(packet->time_ns >> 32), (uint32_t)packet->time_ns, packet->captured,
			     packet->length };
	size_t comment = packet->comment ? strlen(packet->comment) : 0;
	uint32_t len;
	int rc = interface_number(p, packet->interface, &body[0]);

	if (comment > UINT16_MAX)
		comment = UINT16_MAX;
	len = 12 + (uint32_t)sizeof(body) + padded(packet->captured) +
	      (comment ? option_size(comment) + option_size(0) : 0);
	if (!rc)
		rc = block_begin(p, BLOCK_PACKET, len);
	if (!rc)
		rc = write_all(p, body, sizeof(body));
	if (!rc)
		rc = write_padded(p, packet->data, packet->captured);
	if (!rc && comment)
		rc = write_option(p, OPT_COMMENT, packet->comment, comment);
	if (!rc && comment)
		rc = write_option(p, OPT_END, NULL, 0);
	return rc ? rc : block_end(p, len);
}

int pcapng_lost(struct pcapng *p, uint64_t time_ns, uint64_t lost)
{
	uint32_t len = 12 + 12 + option_size(sizeof(lost)) + option_size(0);
	int rc = 0;

	for (uint32_t i = 0; !rc && i < p->n; i++) {
		const uint32_t body[3] = { i, (uint32_t)(time_ns >> 32), (uint32_t)time_ns };

		rc = block_begin(p, BLOCK_STATISTICS, len);
		if (!rc)
			rc = write_all(p, body, sizeof(body));
		if (!rc)
			rc = write_option(p, OPT_ISB_OSDROP, &lost, sizeof(lost));
		if (!rc)
			rc = write_option(p, OPT_END, NULL, 0);
		if (!rc)
			rc = block_end(p, len);
	}
	return rc;
}
