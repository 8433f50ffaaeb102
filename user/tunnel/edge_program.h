/* SPDX-License-Identifier: Apache-2.0 */
/* edge_program.h -- `weir-tunnel edge` for main.c. */
#ifndef WEIR_TUNNEL_EDGE_PROGRAM_H
#define WEIR_TUNNEL_EDGE_PROGRAM_H

#include "lib/daemon.h"

extern const struct daemon_program edge_program;

#endif
