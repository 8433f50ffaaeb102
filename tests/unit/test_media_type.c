/* SPDX-License-Identifier: Apache-2.0 */
/* Which Content-Types may come without a sandbox from a host with pages of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/media_type.h"

static void inert_types(void **state)
{
	static const char *const good[] = { "application/octet-stream", "binary/octet-stream", "text/plain",  "text/plain; charset=utf-8",
					    "TEXT/CSV;header=present",	"image/png",	       "image/JPEG",  "application/json",
					    "application/pdf",		"audio/mpeg",	       "video/mp4",   "font/woff2" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(media_type_is_inert(good[i]));
}

static void all_others(void **state)
{
	static const char *const bad[] = {
		"", "text/html", "text/xsl", "text/xml", "application/xml", "application/xhtml+xml", "image/svg+xml", "IMAGE/SVG+XML",
		"application/rss+xml", "multipart/x-mixed-replace;boundary=b", "multipart/related", "message/rfc822",
		"application/x-mimearchive", "text/css", "text/javascript", "application/javascript", "text/cache-manifest", "x/y",
		/* XML in an inert family, by its ending or anywhere */
		"audio/x+xml", "video/foo+XML;a=b", "font/xml", "image/x",
		/* several */
		"text/plain, text/html", "text/plain;a=\"b\",text/html", "video/mp4,text/html",
		/* no such type */
		"image/png+xml", "image/pngx", "text/plainly", "text", "*/*", " text/html", ";text/plain", "text/plain\v",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (media_type_is_inert(bad[i]))
			fail_msg("\"%s\" is taken for inert", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inert_types),
		cmocka_unit_test(all_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
