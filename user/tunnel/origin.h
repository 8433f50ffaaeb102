/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h -- the parts of `weir-tunnel origin` among themselves.
 *
 *	origin_cred.c    the folder that `weir tunnel enroll` filled: certificate, key, authority
 *	origin_dial.c    which edges there are, and how many connections to which
 *	origin_link.c    one connection to one edge, and the control stream on it
 *	origin_request.c one request: its target, fields, error answers, access log
 *	origin_target.c  targets as people write them: parsing, matching (pure)
 *	origin_back.c    connections to targets: names, pools, HTTP/2, PROXY
 *	origin.c         the whole: prepare, start, reload, drain, status, metrics
 *
 * All on the main thread; names are resolved by reactor_work().
 */
#ifndef WEIR_TUNNEL_ORIGIN_H
#define WEIR_TUNNEL_ORIGIN_H

#include "lib/daemon.h"

extern const struct daemon_program origin_program;

#endif
