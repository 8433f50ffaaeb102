// SPDX-License-Identifier: Apache-2.0
/*
 * log.c -- one line a message, to standard error.
 *
 * A message is formatted into one buffer and written with one write(2), so that lines of several
 * threads never mix. Control characters are replaced: what a stranger sent cannot forge a line.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"

#define LINE_MAX_BYTES 4096

static const char *log_name = "weir";
static bool log_journal; /* a service manager reads the lines: sd-daemon(3) prefixes */
static _Atomic int log_level = LOG_LEVEL_INFO;

void log_open(const char *name, enum log_level level)
{
	log_name = name;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
	atomic_store(&log_level, level);
}

void log_level_set(enum log_level level)
{
	atomic_store(&log_level, level);
}

static size_t put_prefix(char *line, size_t size, enum log_level level)
{
	/* sd-daemon(3): <3> error, <4> warning, <6> information, <7> debug */
	static const char priority[] = { '3', '4', '6', '7' };
	static const char *const word[] = { "error: ", "warning: ", "", "debug: " };
	int n;

	if (log_journal)
		n = snprintf(line, size, "<%c>", priority[level]);
	else
		n = snprintf(line, size, "%s: %s", log_name, word[level]);
	return n < 0 ? 0 : (size_t)n;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	size_t start, len;
	va_list args;
	int n;

	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	start = put_prefix(line, sizeof(line) / 2, level);
	va_start(args, fmt);
	n = vsnprintf(line + start, sizeof(line) - start - 1, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	len = start + strlen(line + start);
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	for (size_t done = 0; done < len;) {
		ssize_t put = write(STDERR_FILENO, line + done, len - done);

		if (put <= 0)
			return; /* nowhere left to say it */
		done += (size_t)put;
	}
}

int log_limit_pass(struct log_limit *limit, unsigned int per_minute)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	unsigned int left_out = 0;
	struct timespec now;
	int pass;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&lock);
	/* The clock may stand below 60 s after boot: an unused window starts now. */
	if (limit->window_start_s == 0 || now.tv_sec - limit->window_start_s >= 60) {
		limit->window_start_s = now.tv_sec ? now.tv_sec : 1;
		left_out = limit->dropped;
		limit->passed = 0;
		limit->dropped = 0;
	}
	pass = limit->passed < per_minute;
	if (pass)
		limit->passed++;
	else
		limit->dropped++;
	pthread_mutex_unlock(&lock);
	if (left_out)
		log_warn("%u messages like the next one were left out in the last minute",
			 left_out);
	return pass;
}
