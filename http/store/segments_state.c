/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_state.c -- which boot has the segments open: whether their index can be believed
 * (segments_int.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/store/segments_int.h"

void state_boot(char *out, size_t room)
{
	ssize_t n = -1;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		n = read(fd, out, room - 1);
		close(fd);
	}
	out[n > 0 ? n : 0] = 0;
	out[strcspn(out, "\n")] = 0;
}

int state_write(struct segments *s, const char *text)
{
	int fd = openat(s->folder, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		rc = -EIO;
	else if (fsync(fd))
		rc = -errno;
	close(fd);
	if (!rc && (renameat(s->folder, "state.new", s->folder, "state") || fsync(s->folder)))
		rc = -errno;
	return rc;
}

enum segments_state segments_state(int root, const char *boot)
{
	char text[128] = "", here[64], open_by[96];
	int fd = openat(root, "s/state", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return SEGMENTS_UNSURE;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	if (!strcmp(text, STATE_CLEAN))
		return SEGMENTS_CLEAN;
	if (!boot)
		state_boot(here, sizeof(here));
	else
		snprintf(here, sizeof(here), "%s", boot);
	snprintf(open_by, sizeof(open_by), "open %s\n", here);
	return here[0] && !strcmp(text, open_by) ? SEGMENTS_OPEN : SEGMENTS_UNSURE;
}
