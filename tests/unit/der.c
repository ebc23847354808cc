/*
 * DER elements: what is taken off, and every way in which an element can be
 * none. A failure leaves the input as it was.
 */
#include "core/der.h"

#include "derasm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A copy that ends where its memory ends, so that a checker sees a read behind it. */
static struct span
exact(const unsigned char *p, size_t n)
{
	unsigned char *copy = malloc(n);

	if (n > 0 && copy == NULL)
		abort();
	if (n > 0)
		memcpy(copy, p, n);
	return (struct span){.p = copy, .n = n};
}

static void
span_free(struct span s)
{
	free((void *)(uintptr_t)s.p);
}

static const struct good {
	const char *source;
	unsigned tag;
	size_t content, rest;
} goods[] = {
    {"0500", 0x05, 0, 0},
    {"0500 0500", 0x05, 0, 2},
    {"0c('alice')", DER_UTF8STRING, 5, 0},
    {"0c('alice') ff", DER_UTF8STRING, 5, 1},
    {"a0(02(02))", DER_CONTEXT_0, 3, 0},
    {"30(31(30()))", DER_SEQUENCE, 4, 0},
    {"1e 02 0041", DER_BMPSTRING, 2, 0},
};

static void
test_takes_the_first_element(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goods / sizeof goods[0]; i++) {
		const struct good *g = &goods[i];
		struct derasm d = derasm(g->source);
		struct span in = {.p = d.byte, .n = d.n}, content;
		unsigned tag;

		assert_int_equal(der_next(&in, &tag, &content), 0);
		assert_int_equal(tag, g->tag);
		assert_int_equal(content.n, g->content);
		assert_int_equal(in.n, g->rest);
		assert_ptr_equal(in.p, d.byte + d.n - g->rest);
		assert_ptr_equal(content.p, in.p - content.n);
	}
}

static const struct bad {
	const char *what, *source;
} bads[] = {
    {"nothing", ""},
    {"a tag only", "30"},
    {"contents cut", "3001"},
    {"contents cut by one", "3005 01020304"},
    {"a tag of two bytes", "3f2100"},
    {"a tag of two bytes, context", "bf0100"},
    {"indefinite length", "3080 0000"},
    {"length octets cut", "3082 01"},
    {"length octets missing", "3081"},
    {"padded: 0 in two octets", "308100"},
    {"padded: 1 in two octets", "308101 00"},
    {"padded: 2 in three octets", "30820002 0000"},
    {"all memory", "3088 ffffffffffffffff 00"},
    {"more than all memory", "3089 010000000000000000 00"},
    {"the reserved first octet", "30ff 00"},
};

static void
test_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
		struct derasm d = derasm(bads[i].source);
		struct span in = exact(d.byte, d.n), was = in, content = {0};
		unsigned tag = 0xdead;

		if (der_next(&in, &tag, &content) != -1)
			fail_msg("taken: %s", bads[i].what);
		assert_ptr_equal(in.p, was.p);
		assert_int_equal(in.n, was.n);
		span_free(was);
	}
}

/* Every contents length around the steps of the length octets, and every cut of each of them. */
static void
test_lengths_and_cuts(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x100, 0x101, 0x1000};

	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		struct derasm d = {.byte = {DER_SEQUENCE}, .n = 1};
		for (size_t k = 0; k < lengths[i]; k++)
			derasm_put(&d, 0xaa);
		derasm_length(&d, 1);

		for (size_t n = 0; n <= d.n; n++) {
			struct span in = exact(d.byte, n), was = in, content;
			unsigned tag;
			assert_int_equal(der_next(&in, &tag, &content), n == d.n ? 0 : -1);
			assert_int_equal(in.n, n == d.n ? 0 : n);
			if (n == d.n)
				assert_int_equal(content.n, lengths[i]);
			span_free(was);
		}
	}
}

/* Each length is taken in its one minimal form and in no other. */
static void
test_one_form_for_each_length(void **state)
{
	(void)state;
	static unsigned char memory[4 + 0x300];

	for (size_t n = 0; n < 0x300; n++) {
		for (unsigned octets = 0; octets <= 3; octets++) {
			unsigned char *p = memory;
			*p++ = DER_SEQUENCE;
			*p++ = (unsigned char)(octets == 0 ? n : 0x80 | octets);
			for (unsigned k = octets; k-- > 0;)
				*p++ = (unsigned char)(n >> 8 * k);
			bool fits = octets == 0 ? n <= 0x80 : n >> 8 * octets == 0;
			if (!fits)
				continue;

			struct span in = {.p = memory, .n = (size_t)(p - memory) + n}, content;
			unsigned tag, minimal = n < 0x80 ? 0 : n < 0x100 ? 1 : 2;
			assert_int_equal(der_next(&in, &tag, &content), octets == minimal ? 0 : -1);
		}
	}
}

/* More octets than a size_t has, whose low ones alone would be a good length. */
static void
test_length_does_not_wrap(void **state)
{
	(void)state;
	unsigned char memory[11 + 0x80] = {DER_SEQUENCE, 0x80 | 9, 1, 0, 0, 0, 0, 0, 0, 0, 0x80};
	struct span in = {.p = memory, .n = sizeof memory}, content;
	unsigned tag;

	assert_int_equal(der_next(&in, &tag, &content), -1);
}

static void
test_expect(void **state)
{
	(void)state;
	struct derasm d = derasm("02(07) 30()");
	struct span in = {.p = d.byte, .n = d.n}, content = {.p = d.byte, .n = 99};

	assert_int_equal(der_expect(&in, DER_SEQUENCE, &content), -1);
	assert_int_equal(in.n, d.n);
	assert_int_equal(content.n, 99);
	assert_int_equal(der_expect(&in, DER_INTEGER, &content), 0);
	assert_int_equal(content.n, 1);
	assert_int_equal(der_expect(&in, DER_SEQUENCE, &content), 0);
	assert_int_equal(content.n, 0);
	assert_int_equal(der_expect(&in, DER_SEQUENCE, &content), -1);
	assert_int_equal(in.n, 0);
}

static const struct shape {
	const char *source;
	int sequence;
} shapes[] = {
    {"30()", 1},
    {"30(02(01))", 1},
    {"30() 00", 0},
    {"30() 30()", 0},
    {"31()", 0},
    {"3002 00", 0},
    {"", 0},
    {"'-----BEGIN CERTIFICATE-----'", 0},
};

static void
test_is_sequence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		struct derasm d = derasm(shapes[i].source);
		if (der_is_sequence((struct span){.p = d.byte, .n = d.n}) != shapes[i].sequence)
			fail_msg("wrong about %s", shapes[i].source);
	}
	assert_false(der_is_sequence((struct span){0}));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_takes_the_first_element),
	    cmocka_unit_test(test_refuses),
	    cmocka_unit_test(test_lengths_and_cuts),
	    cmocka_unit_test(test_one_form_for_each_length),
	    cmocka_unit_test(test_length_does_not_wrap),
	    cmocka_unit_test(test_expect),
	    cmocka_unit_test(test_is_sequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
