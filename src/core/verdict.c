/*
 * A signal wins over a fault, and a fault over what prog says.
 */
#include "core/verdict.h"

#include <sys/wait.h>

int
verdict(const struct outcome *o)
{
	if (o->signal)
		return -o->signal;
	if (o->fault != FAULT_NONE)
		return (int)o->fault;
	if (!o->ran)
		return FAULT_TLS;
	if (WIFSIGNALED(o->status))
		return 128 + WTERMSIG(o->status);
	return WEXITSTATUS(o->status) < 128 ? WEXITSTATUS(o->status) : 128;
}
