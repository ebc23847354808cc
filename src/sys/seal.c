/*
 * One function a layer, each by bare system calls, for libc may be older than
 * the kernel. What the kernel lacks is found out once and left out; what it
 * has and does not give is a fault, never passed over. The filters are made at
 * build time, by tools/filters.c.
 */
#include "sys/seal.h"

#include "sys/filters.h"
#include "sys/log.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Of linux/landlock.h (landlock(7)), which may be older, or not there at all. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif
#define LANDLOCK_VERSION 1U /* the flag that asks for the ABI */
#define LANDLOCK_TCP 3U	    /* bind and connect */
#define LANDLOCK_ABSTRACT 1U
#define LANDLOCK_SIGNAL 2U

/* A kernel takes a longer one than it knows if the rest is 0. */
struct ruleset {
	uint64_t files, net, scoped;
};

/* The first ABIs that know these. */
enum { ABI_TCP = 4, ABI_SCOPED = 6 };

/* poll(2) takes no more entries than that, and no descriptor from it on is ever opened. */
enum { OPEN_FILES = 8 };

/* What there is to seal with. */
static struct {
	bool off;
	bool no_new_privs, seccomp;
	int landlock; /* its ABI; 0: none */
} kernel = {.off = true};

static int
failed(struct fault *f, const char *what)
{
	return fault_set(f, FAULT_SYSTEM, "sandbox: cannot %s: %s", what, strerror(errno));
}

/* -- what the kernel has --------------------------------------------------- */

/* Tells of a layer that is missing. Returns -1 with *f where that must not be. */
static int
missing(const char *layer, const char *why, enum sandbox mode, struct fault *f)
{
	if (mode == SANDBOX_REQUIRE)
		return fault_set(f, FAULT_SYSTEM, "--sandbox=require: %s is missing: %s", layer, why);
	log_line(LOG_LEVEL_INFO, "sandbox: %s is missing: %s", layer, why);
	return 0;
}

static int
look_for_no_new_privs(enum sandbox mode, struct fault *f)
{
	kernel.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0;
	return kernel.no_new_privs ? 0 : missing("no_new_privs", strerror(errno), mode, f);
}

/* Without no_new_privs, landlock and seccomp are for root alone. */
static const char *
why_missing(void)
{
	return kernel.no_new_privs ? strerror(errno) : "it needs no_new_privs";
}

static int
look_for_landlock(enum sandbox mode, struct fault *f)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);

	kernel.landlock = kernel.no_new_privs && abi > 0 ? (int)abi : 0;
	if (!kernel.landlock)
		return missing("landlock", why_missing(), mode, f);
	if (kernel.landlock < ABI_TCP)
		return missing("landlock for TCP", "the kernel is too old", mode, f);
	return 0;
}

static int
look_for_seccomp(enum sandbox mode, struct fault *f)
{
	const uint32_t kill = SECCOMP_RET_KILL_PROCESS;
	bool there = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill) == 0;

	kernel.seccomp = kernel.no_new_privs && there;
	return kernel.seccomp ? 0 : missing("seccomp", why_missing(), mode, f);
}

/* -- the layers ------------------------------------------------------------ */

/* Also keeps the memory of one process from others that run under its uid. */
static int
become_undumpable(struct fault *f)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? failed(f, "become undumpable") : 0;
}

static int
renounce_new_privileges(struct fault *f)
{
	if (!kernel.no_new_privs)
		return 0;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? failed(f, "set no_new_privs") : 0;
}

/* All rights to files that an ABI knows: thirteen at first, then refer, truncate and ioctl on devices. */
static uint64_t
file_rights(int abi)
{
	int n = abi >= 5 ? 16 : abi >= 3 ? 15 : abi == 2 ? 14 : 13;

	return (UINT64_C(1) << n) - 1;
}

/* A ruleset that handles everything and has no rule: nothing is allowed. */
static int
shut_paths_and_ports(uint64_t scoped, struct fault *f)
{
	struct ruleset none = {.files = file_rights(kernel.landlock),
	    .net = kernel.landlock >= ABI_TCP ? LANDLOCK_TCP : 0,
	    .scoped = kernel.landlock >= ABI_SCOPED ? scoped : 0};
	int fd;
	long result;

	if (!kernel.landlock)
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &none, sizeof none, 0);
	if (fd < 0)
		return failed(f, "create a landlock ruleset");
	result = syscall(SYS_landlock_restrict_self, fd, 0);
	if (result < 0)
		(void)failed(f, "enter landlock");
	(void)close(fd);
	return result < 0 ? -1 : 0;
}

static int
limit(int resource, uint64_t most, struct fault *f)
{
	struct {
		uint64_t soft, hard;
	} bounds;

	if (syscall(SYS_prlimit64, 0, resource, NULL, &bounds) < 0)
		return failed(f, "read a resource limit");
	if (bounds.hard > most)
		bounds.hard = most;
	bounds.soft = bounds.hard;
	return syscall(SYS_prlimit64, 0, resource, &bounds, NULL) < 0 ? failed(f, "set a resource limit") : 0;
}

static int
limit_resources(uint64_t files, struct fault *f)
{
	if (limit(RLIMIT_CORE, 0, f) < 0 || limit(RLIMIT_NPROC, 0, f) < 0)
		return -1;
	return limit(RLIMIT_NOFILE, files, f);
}

static int
load(struct sock_filter *filter, size_t n, struct fault *f)
{
	struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};

	if (!kernel.seccomp)
		return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? failed(f, "load the seccomp filter")
									      : 0;
}

/* -- the seal ---------------------------------------------------------------- */

int
seal_begin(enum sandbox mode, struct fault *f)
{
	if (mode == SANDBOX_OFF) {
		log_line(LOG_LEVEL_WARNING, "--sandbox=off: what reads the network is not sealed");
		return 0;
	}
#ifdef SANITIZED
	/* Its reports and its search for leaks need what the seal forbids. */
	return missing("the seal", "the program is built with a sanitizer", mode, f);
#endif
	kernel.off = false;
	tzset(); /* reads a file, which the first look at a clock in a sealed process could not */
	if (look_for_no_new_privs(mode, f) < 0 || look_for_landlock(mode, f) < 0 || look_for_seccomp(mode, f) < 0)
		return -1;
	return become_undumpable(f);
}

/* The filter, behind which none of this could be done, comes last; a change of ids may have made us dumpable again. */
static int
seal(uint64_t scoped, uint64_t files, struct sock_filter *filter, size_t n, struct fault *f)
{
	if (kernel.off)
		return 0;
	if (renounce_new_privileges(f) < 0 || shut_paths_and_ports(scoped, f) < 0 || limit_resources(files, f) < 0 ||
	    become_undumpable(f) < 0)
		return -1;
	return load(filter, n, f);
}

int
seal_engine(struct fault *f)
{
	return seal(LANDLOCK_ABSTRACT | LANDLOCK_SIGNAL, OPEN_FILES, engine_filter,
	    sizeof engine_filter / sizeof *engine_filter, f);
}

int
seal_signer(struct fault *f)
{
	return seal(LANDLOCK_ABSTRACT | LANDLOCK_SIGNAL, UINT64_MAX, signer_filter,
	    sizeof signer_filter / sizeof *signer_filter, f);
}

int
seal_monitor(struct fault *f)
{
	return seal(LANDLOCK_ABSTRACT, OPEN_FILES, monitor_filter, sizeof monitor_filter / sizeof *monitor_filter, f);
}
