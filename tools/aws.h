/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aws.h -- access key and gateway as other S3 clients on this machine are told them: environment, ~/.aws/credentials,
 * ~/.aws/config (the AWS SDKs' shared files and variables).
 *
 * Keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the profile (a name that is given, AWS_PROFILE, AWS_DEFAULT_PROFILE,
 * "default") in AWS_SHARED_CREDENTIALS_FILE, then in AWS_CONFIG_FILE. Gateway: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else the
 * profile's `services` (s3: endpoint_url) or `endpoint_url`; none with AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true. Keys that are
 * not of weir (they begin with WEIR) are left alone: their secret belongs to somebody else. Nothing here prints.
 */
#ifndef WEIR_TOOLS_AWS_H
#define WEIR_TOOLS_AWS_H

#include <stdbool.h>

struct aws_keys {
	char *id, *secret; /* NULL: none of weir's */
	char *url;	   /* NULL: not said */
	char *foreign;	   /* the id of a key that is not weir's, or NULL */
	char *profile;	   /* the name that was looked for; NULL: the environment has the keys */
	bool chosen;	   /* by --profile or a variable, not only because it was there */
};

/* profile: of --profile, may be NULL. 0, or -ENOMEM. Free with aws_free(). */
int aws_find(struct aws_keys *out, const char *profile);
void aws_free(struct aws_keys *keys); /* wipes the secret */

/* May a key's secret be sent to this URL? To whom nobody can listen: https, or this machine (localhost, 127.0.0.0/8, [::1]). */
bool aws_secret_may_go(const char *url);

/* One value of a file's text: of `key` in the section, of `sub` within `key` when that is not NULL ("s3" has "endpoint_url");
 * malloc'ed, NULL: not there. Pure. */
char *aws_value(const char *text, const char *section, const char *key, const char *sub);

#endif
