/*
 * What is known of a TCP connection, as UCSPI's variables (TCPLOCALIP and its
 * like) tell it to prog, and the form in which the engine that made it tells
 * the monitor. The engine is the less trusted one: unpacking takes nothing on
 * faith.
 */
#ifndef CORE_UCSPI_H
#define CORE_UCSPI_H

#include "core/dnsname.h"
#include "core/span.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest address, "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", and a NUL. */
#define UCSPI_IP 46
#define UCSPI_PORT 6

struct ucspi {
	char local_ip[UCSPI_IP], remote_ip[UCSPI_IP];	      /* as core/address.h reads them: no zone */
	char local_port[UCSPI_PORT], remote_port[UCSPI_PORT]; /* decimal, no leading zero */
	char connections[12]; /* of the client's address, where they are counted; "": they are not, nor told of */
	bool has_local_host, has_remote_host;
	char local_host[DNSNAME_SIZE],
	    remote_host[DNSNAME_SIZE]; /* dnsname_valid, lower case; "" where there is none */
};

/* The most that ucspi_pack writes: a sign is added to each text. */
#define UCSPI_MAX (sizeof(struct ucspi) + 6)

/* Writes *u into out[0..size). Returns the length, or -1 when it does not fit. */
long ucspi_pack(const struct ucspi *u, unsigned char *out, size_t size);

/* Reads what ucspi_pack wrote. Returns 0, or -1 when any field is not exactly of its form. */
int ucspi_unpack(struct span in, struct ucspi *u);

#endif
