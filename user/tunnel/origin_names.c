// SPDX-License-Identifier: Apache-2.0
/*
 * origin_names.c -- names into addresses by getaddrinfo(3), on a thread of the reactor: edges and
 * targets are asked for again and again, and a slow name server must not hold up a byte.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "user/tunnel/origin.h"

static void say_error(struct names_job *job, int err)
{
	int saved = errno;

	switch (err) {
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
		snprintf(job->error, sizeof(job->error),
			 "the name %.80s is not known; check its spelling, or write an address",
			 job->host);
		break;
	case EAI_AGAIN:
		snprintf(job->error, sizeof(job->error),
			 "no name server answers for %.80s; see /etc/resolv.conf", job->host);
		break;
	default:
		snprintf(job->error, sizeof(job->error), "the name %.80s: %s", job->host,
			 err == EAI_SYSTEM ? strerror(saved) : gai_strerror(err));
	}
}

static bool is_known(const struct names_job *job, const struct addr_port *ap)
{
	for (size_t i = 0; i < job->n; i++)
		if (addr_equal(&job->found[i].addr, &ap->addr))
			return true;
	return false;
}

static void ask(void *arg)
{
	struct names_job *job = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *list = NULL;
	int err;

	job->n = 0;
	job->error[0] = '\0';
	err = getaddrinfo(job->host, NULL, &hints, &list);
	/* AI_ADDRCONFIG leaves out loopback: a machine with lo alone would find nothing. */
	if (err && err != EAI_AGAIN) {
		hints.ai_flags = 0;
		err = getaddrinfo(job->host, NULL, &hints, &list);
	}
	if (err)
		say_error(job, err);
	for (struct addrinfo *ai = err ? NULL : list; ai && job->n < NAMES_MAX; ai = ai->ai_next) {
		struct addr_port ap = { 0 };

		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		addr_from_sockaddr(&ap, ai->ai_addr);
		ap.port = job->port;
		ap.proto = 0;
		if (!is_known(job, &ap))
			job->found[job->n++] = ap;
	}
	if (!err)
		freeaddrinfo(list);
	if (!job->n && !job->error[0])
		snprintf(job->error, sizeof(job->error), "the name %.80s has no address",
			 job->host);
}

static void answered(void *arg)
{
	struct names_job *job = arg;

	job->running = false;
	job->done(job);
}

int names_ask(struct names_job *job, struct reactor *r)
{
	int err;

	if (job->running)
		return 0;
	job->running = true;
	err = reactor_work(r, ask, answered, job);
	if (err)
		job->running = false;
	return err;
}

int names_split(const char *text, char host[TARGET_HOST_MAX], uint16_t *port)
{
	char why[TARGET_WHY_MAX], url[TARGET_HOST_MAX + 16];
	struct target_spec s;

	if ((size_t)snprintf(url, sizeof(url), "tcp://%s", text) >= sizeof(url) ||
	    strchr(text, '/'))
		return -EINVAL;
	if (target_parse(&s, url, why))
		return -EINVAL;
	snprintf(host, TARGET_HOST_MAX, "%s", s.host);
	*port = s.port;
	return 0;
}
