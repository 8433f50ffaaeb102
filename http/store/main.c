/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c -- weir-endpoint: stores and serves objects.
 */
#include "http/store/endpoint.h"

int main(int argc, char **argv)
{
	return daemon_main(&endpoint_program, argc, argv);
}
