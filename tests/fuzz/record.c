/*
 * Fuzzes record_feed: the first four bytes are the lengths of the pieces in
 * which the others are fed, again and again. Checks that pieces do not matter,
 * against another that is fed byte by byte, and that both know where they are,
 * against a walk over the whole.
 */
#include "core/record.h"

#include "fuzz.h"

#include <string.h>

/* From header to header; what is over lies in the last record. */
static bool
inside(const uint8_t *p, size_t n)
{
	size_t at = 0;

	while (n - at >= 5) {
		size_t length = 5 + (size_t)(p[at + 3] << 8 | p[at + 4]);

		if (length > n - at)
			return true;
		at += length;
	}
	return at < n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const uint8_t *stream = data + 4;
	struct record whole = {0}, pieces = {0}, bytes = {0};

	if (n < 4)
		return 0;
	n -= 4;
	for (size_t at = 0, turn = 0; at < n; turn++) {
		size_t length = data[turn % 4];

		/* Four pieces of nothing would be fed for ever. */
		if (turn % 4 == 0 && length == 0)
			length = 1;
		if (length > n - at)
			length = n - at;
		record_feed(&pieces, stream + at, length);
		for (size_t end = at + length; at < end; at++)
			record_feed(&bytes, stream + at, 1);
		CHECK(pieces.have == bytes.have && pieces.have < sizeof pieces.header && pieces.left == bytes.left);
		CHECK(memcmp(pieces.header, bytes.header, pieces.have) == 0);
		CHECK(record_inside(&pieces) == inside(stream, at));
	}
	record_feed(&whole, stream, n);
	CHECK(whole.have == bytes.have && whole.left == bytes.left);
	CHECK(memcmp(whole.header, bytes.header, whole.have) == 0);
	return 0;
}
