/*
 * One straight line in the one right order: groups while there still is the
 * right to, then gid, then uid, then capabilities; and a look at each.
 */
#include "sys/privileges.h"

#include "core/ids.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
failed(struct fault *f, const char *what)
{
	return fault_set(f, FAULT_SYSTEM, "cannot %s: %s", what, strerror(errno));
}

/* An id is a decimal number from 1 to 2^32 - 2: 0 is root, 2^32 - 1 means "no change" to the kernel. */
static int
read_id(const char *variable, const char *text, unsigned *id, struct fault *f)
{
	long long number = ids_number(text);

	if (number <= 0)
		return fault_set(f, FAULT_USAGE, "%s is \"%s\", not a numeric id other than 0", variable, text);
	*id = (unsigned)number;
	return 0;
}

int
privileges_plan(struct privileges *p, struct fault *f)
{
	const char *uid = getenv("TLS_UID"), *gid = getenv("TLS_GID");

	*p = (struct privileges){.root = geteuid() == 0};
	if (!p->root || (!uid && !gid))
		return 0;
	if (!uid || !gid)
		return fault_set(f, FAULT_USAGE, "%s is set, but %s is not", uid ? "TLS_UID" : "TLS_GID",
		    uid ? "TLS_GID" : "TLS_UID");
	p->drop = true;
	return read_id("TLS_UID", uid, &p->uid, f) < 0 ? -1 : read_id("TLS_GID", gid, &p->gid, f);
}

/* Where there is no group, there need not be the right to drop it: some containers do not give that. */
static int
drop_groups(struct fault *f)
{
	if (getgroups(0, NULL) != 0 && setgroups(0, NULL) < 0)
		return failed(f, "drop supplementary groups");
	return 0;
}

int
privileges_drop(const struct privileges *p, struct fault *f)
{
	uid_t uid[3];
	gid_t gid[3];

	if (!p->drop)
		return 0;
	if (drop_groups(f) < 0)
		return -1;
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return failed(f, "change to TLS_GID");
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return failed(f, "change to TLS_UID");
	if (getgroups(0, NULL) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0 ||
	    getresuid(&uid[0], &uid[1], &uid[2]) < 0)
		return fault_set(f, FAULT_SYSTEM, "root privileges were not dropped");
	for (int i = 0; i < 3; i++)
		if (uid[i] != p->uid || gid[i] != p->gid)
			return fault_set(f, FAULT_SYSTEM, "root privileges were not dropped");
	if (setuid(0) == 0 || setgid(0) == 0)
		return fault_set(f, FAULT_SYSTEM, "root privileges can be taken back");
	return 0;
}

/* The bounding set: what not even an exec can give back. Needs root, and so comes before the ids change. */
static int
drop_bounding_set(struct fault *f)
{
	int held;

	for (unsigned long i = 0; (held = prctl(PR_CAPBSET_READ, i, 0, 0, 0)) >= 0; i++)
		if (held == 1 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return failed(f, "drop capabilities for good");
	return 0;
}

/* Leaves those of the set `keep`, bits of the first word, that there are. */
static int
drop_capabilities(uint32_t keep, struct fault *f)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* empty anyway once the others are */
	if (keep && syscall(SYS_capget, &header, data) < 0)
		return failed(f, "read capabilities");
	keep &= data[0].permitted;
	memset(data, 0, sizeof data);
	data[0].effective = data[0].permitted = keep;
	if (syscall(SYS_capset, &header, data) < 0)
		return failed(f, "drop capabilities");
	memset(data, 0xff, sizeof data);
	if (syscall(SYS_capget, &header, data) < 0)
		return failed(f, "read capabilities");
	data[0].effective &= ~keep;
	data[0].permitted &= ~keep;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (data[i].effective || data[i].permitted || data[i].inheritable)
			return fault_set(f, FAULT_SYSTEM, "capabilities were not dropped");
	return 0;
}

int
privileges_shed(const struct privileges *p, bool binds, struct fault *f)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (p->root && (drop_bounding_set(f) < 0 || drop_groups(f) < 0))
		return -1;
	/* A set-id start must not leave a second id to go back to. */
	if (!p->drop && (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
		return failed(f, "settle on one uid and gid");
	/* Else the change of ids takes all capabilities. What is kept here is lost to an exec, and to finish. */
	if (binds && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return failed(f, "keep a capability");
	if (privileges_drop(p, f) < 0)
		return -1;
	return drop_capabilities(binds ? UINT32_C(1) << CAP_NET_BIND_SERVICE : 0, f);
}

int
privileges_finish(struct fault *f)
{
	return drop_capabilities(0, f);
}

int
privileges_narrow(const struct privileges *p, struct fault *f)
{
	static const int needed[] = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL, CAP_DAC_READ_SEARCH};
	uint32_t keep = 0;

	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		keep |= UINT32_C(1) << needed[i];
	/* Containers have the one that also writes, and not always the one that reads. */
	if (prctl(PR_CAPBSET_READ, CAP_DAC_READ_SEARCH, 0, 0, 0) != 1)
		keep |= UINT32_C(1) << CAP_DAC_OVERRIDE;
	return p->root ? drop_capabilities(keep, f) : 0;
}

/* A number from the environment, which must be there. */
static int
read_variable(const char *variable, unsigned *id, struct fault *f)
{
	const char *text = getenv(variable);
	long long number = text ? ids_number(text) : -1;

	if (!text)
		return fault_set(f, FAULT_USAGE, "%s is not set", variable);
	if (number < 0)
		return fault_set(f, FAULT_USAGE, "%s is \"%s\", not a numeric id", variable, text);
	*id = (unsigned)number;
	return 0;
}

static int
read_identity(struct identity *i, struct fault *f)
{
	const char *list = getenv("GIDLIST");

	if (read_variable("UID", &i->uid, f) < 0 || read_variable("GID", &i->gid, f) < 0)
		return -1;
	i->groups_n = ids_groups(list ? list : "", i->groups, IDS_MAX);
	return i->groups_n < 0 ? fault_set(f, FAULT_USAGE, "GIDLIST is \"%s\", not numeric ids", list) : 0;
}

int
privileges_identity(const struct privileges *p, const struct config *c, struct identity *i, struct fault *f)
{
	*i = (struct identity){.uid = (uid_t)c->uid, .gid = (gid_t)c->gid, .groups_n = -1};
	if (c->ids_from_env) {
		if (read_identity(i, f) < 0)
			return -1;
	} else if (c->groups)
		i->groups_n = ids_groups(c->groups, i->groups, IDS_MAX);
	else if (c->uid >= 0 || c->gid >= 0)
		i->groups_n = 0;
	if (i->uid == (uid_t)-1 && i->gid == (gid_t)-1 && i->groups_n < 0)
		return 0;
	return p->root ? 1 : fault_set(f, FAULT_SYSTEM, "-u, -g, -G and -U are for root");
}
