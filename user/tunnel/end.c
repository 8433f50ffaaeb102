// SPDX-License-Identifier: Apache-2.0
/* end.c -- the words for how an end came to its end. */
#include "user/tunnel/end.h"

const char *end_why_word(enum end_why why)
{
	static const char *const words[] = {
		[END_DONE] = "done",	     [END_CANCEL] = "cancel", [END_REFUSED] = "refused",
		[END_PROTOCOL] = "protocol", [END_LOST] = "lost",     [END_TIMEOUT] = "timeout",
		[END_LIMIT] = "limit",	     [END_ERROR] = "error",
	};

	return (unsigned int)why < sizeof(words) / sizeof(*words) ? words[why] : "error";
}
