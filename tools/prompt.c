/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prompt.c -- see prompt.h. The terminal is put back also when a signal ends the question.
 */
#include "tools/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* Up to a newline, which is read and dropped; -E2BIG when it does not fit. */
static int read_line(int fd, char *out, size_t size)
{
	size_t n = 0;
	char c;

	for (;;) {
		ssize_t got = read(fd, &c, 1);

		if (got < 0)
			return -errno;
		if (!got || c == '\n')
			break;
		if (n + 1 >= size)
			return -E2BIG;
		out[n++] = c;
	}
	if (n && out[n - 1] == '\r')
		n--;
	out[n] = '\0';
	return n ? 0 : -ENODATA;
}

static int ask_terminal(const char *ask, bool echo, char *out, size_t size)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), rc;
	struct termios before, quiet;
	sigset_t wait, old;

	if (fd < 0)
		return -errno;
	/* a signal comes when the terminal is as it was */
	sigemptyset(&wait);
	sigaddset(&wait, SIGTSTP);
	sigaddset(&wait, SIGTERM);
	sigaddset(&wait, SIGHUP);
	sigprocmask(SIG_BLOCK, &wait, &old);
	if (write(fd, ask, strlen(ask)) < 0 || tcgetattr(fd, &before)) {
		rc = -errno;
		sigprocmask(SIG_SETMASK, &old, NULL);
		close(fd);
		return rc;
	}
	quiet = before;
	if (!echo)
		quiet.c_lflag &= ~(
			tcflag_t)(ECHO | ISIG); /* ^C is a character then, and ends the question */
	tcsetattr(fd, TCSAFLUSH, &quiet);
	rc = read_line(fd, out, size);
	tcsetattr(fd, TCSAFLUSH, &before);
	if (!echo && write(fd, "\n", 1) < 0 && !rc)
		rc = -errno;
	if (!rc && !echo && memchr(out, 3, strlen(out)))
		rc = -EINTR;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fd);
	return rc;
}

int prompt_line(const char *ask, char *out, size_t size)
{
	return ask_terminal(ask, true, out, size);
}

int prompt_secret(const char *ask, bool from_stdin, char *out, size_t size)
{
	return from_stdin ? read_line(STDIN_FILENO, out, size)
			  : ask_terminal(ask, false, out, size);
}
