// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_kill_registers.c - the half of test_kill.c about registers: a program of
 * its own, so that both run at once.
 */
#define KILL_REGISTERS
#include "test_kill.c"
