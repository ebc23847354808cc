/*
 * Access rules: a directory in the format of s6-accessrules-cdb-from-fs that
 * says whom to let in, and with which variables. It is read anew for each peer,
 * so that a change takes effect at once.
 */
#ifndef SYS_ACCESS_H
#define SYS_ACCESS_H

#include "core/changes.h"
#include "core/fault.h"

enum access {
	ACCESS_NONE,  /* no rule decides about this peer */
	ACCESS_ALLOW, /* the first that does has a file "allow" */
	ACCESS_DENY,  /* the first that does has "deny", and no "allow" */
	ACCESS_ERROR, /* it cannot be read, or not be obeyed: the peer must not be let in */
};

/*
 * Opens the directory, close-on-exec, for the calls below only. Returns its
 * descriptor, for the caller to close; or -1 with *f (FAULT_SYSTEM), which
 * calls it "-i DIR".
 */
int access_open(const char *dir, struct fault *f);

/*
 * Looks for the rule of a peer by its address, as core/address.h reads it, or
 * by its name, which is dnsname_valid; anything else is ACCESS_ERROR. The rules
 * are those that core/rules.h names, in that order, and the first one with a
 * file "allow" or "deny" decides.
 *
 * With ACCESS_ALLOW, *env holds what the files in the rule's env/ change, for
 * the caller to free (changes_free); otherwise it is {0}. Which variables a
 * rule may not touch is for who applies it to know (core/environment.h).
 *
 * ACCESS_ERROR fills *f, which names the rule. FAULT_SYSTEM: something of it
 * cannot be looked at, for lack of permission, of descriptors, or because a link
 * leads nowhere; or in env/ is what is no regular file, which is never waited
 * for. FAULT_USAGE: there is too much in env/; or next to "allow" is a file
 * "exec", which would have another program run, and is not supported.
 */
enum access access_by_address(int dir, const char *ip, struct changes *env, struct fault *f);
enum access access_by_name(int dir, const char *name, struct changes *env, struct fault *f);

#endif
