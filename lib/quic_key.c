// SPDX-License-Identifier: Apache-2.0
/* quic_key.c -- reads a key's file, and leaves nothing of it in memory but the key (see quic_key.h). */
#include "lib/quic_key.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS (2 * QUIC_KEY_BYTES)

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int parse(const char *text, size_t len, uint8_t *key)
{
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (len != DIGITS)
		return -EINVAL;
	for (size_t i = 0; i < QUIC_KEY_BYTES; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int quic_key_read(const char *path, uint8_t key[QUIC_KEY_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
	char text[DIGITS + 32];
	struct stat st;
	ssize_t got;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (!rc) {
		got = read(fd, text, sizeof(text));
		rc = got < 0 ? -errno : got == sizeof(text) ? -EINVAL : parse(text, (size_t)got, key);
	}
	close(fd);
	explicit_bzero(text, sizeof(text));
	return rc;
}
