/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acme.h -- what an authority that hands out certificates asks for by plain HTTP to see who holds a
 * name (ACME's HTTP-01, RFC 8555 section 8.3). The ACME client, such as certbot with --webroot,
 * puts a small file there; the edge shows it, for any name.
 */
#ifndef WEIR_TUNNEL_ACME_H
#define WEIR_TUNNEL_ACME_H

#define ACME_FILE_MAX 4096

/* The text of FOLDER/.well-known/acme-challenge/TOKEN when path is
 * /.well-known/acme-challenge/TOKEN, TOKEN is of base64url's characters and there is such a file;
 * malloc'ed. Else NULL. */
char *acme_text(const char *folder, const char *path);

#endif
