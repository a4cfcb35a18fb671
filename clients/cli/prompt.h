#ifndef RELATA_CLIENTS_CLI_PROMPT_H
#define RELATA_CLIENTS_CLI_PROMPT_H

/* Commands one after the other: typed at a prompt with history where standard
 * input is a terminal, read line by line where it is none. */

#include "clients/cli/cli.h"

/* CLI_DONE where every command was. From a terminal, always. */
int prompt_run(struct cli *cli);

#endif
