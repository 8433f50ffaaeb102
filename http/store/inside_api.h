/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside_api.h -- what this endpoint answers to other endpoints (the routes of transfer.h, and
 * the names').
 */
#ifndef WEIR_STORE_INSIDE_API_H
#define WEIR_STORE_INSIDE_API_H

#include "http/store/endpoint.h"

/* Ended by a NULL path; the handlers' arg is the struct endpoint. */
extern const struct http_route inside_api_routes[];

#endif
