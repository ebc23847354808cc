/*
 * OpenSSL's libcrypto, whichever library is used on top of it.
 */
#ifndef ENGINE_LIBCRYPTO_H
#define ENGINE_LIBCRYPTO_H

#include <stdbool.h>

/*
 * Has all memory wiped that the library frees. To be called before it has
 * allocated anything. Returns whether that is in force.
 */
bool libcrypto_wipes(void);

#endif
