#ifndef RELATA_CLIENTS_C_FAULT_H
#define RELATA_CLIENTS_C_FAULT_H

/* From the errors of the inside to those that relata.h shows. */

#include "clients/c/relata.h"
#include "protocol/base/error.h"

/* Copies `in` to `out`, which may be NULL. Answers -code. */
int fault_give(struct relata_error *out, const struct error *in);

/* Sets an error of the library's own. Answers -code. */
int fault_set(struct relata_error *out, enum code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As fault_set, for what may have been done all the same. */
int fault_unknown(struct relata_error *out, enum code code, const char *text);

#endif
