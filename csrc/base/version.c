/*
 * version.c: which contract this library keeps.
 */
#include "wrinklefree.h"

uint32_t wf_abi_version(void) { return WF_ABI_VERSION; }
