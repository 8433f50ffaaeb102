/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h -- one line a message, to standard error.
 *
 * On a terminal a line carries the program's name; under systemd (JOURNAL_STREAM is set) it carries
 * the priority prefix of sd-daemon(3) instead. Messages are said by the caller who knows the
 * purpose, once, in the user's words. Secrets never go in here. Thread-safe.
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* name is kept, not copied. May be called again to change the level (reload). */
void log_open(const char *name, enum log_level level);
void log_level_set(enum log_level level);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Room for how many messages a source may cause: at most `per_minute` of one call site pass, the
 * next that passes says how many were left out. Use for anything a stranger can trigger. */
#define log_limited(level, per_minute, ...)                                        \
	do {                                                                       \
		static struct log_limit limit_;                                    \
		if (log_limit_pass(&limit_, (per_minute)))                         \
			log_at((level), __VA_ARGS__);                              \
	} while (0)

struct log_limit {
	long long window_start_s;
	unsigned int passed, dropped;
};
int log_limit_pass(struct log_limit *limit, unsigned int per_minute);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
