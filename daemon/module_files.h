#ifndef RELATA_DAEMON_MODULE_FILES_H
#define RELATA_DAEMON_MODULE_FILES_H

#include "layers/module/module.h"

/* Loads shared objects from private copies in memory: a file that is replaced
 * under the same name is opened anew, and writing over a file that is in use
 * does no harm. */
extern const struct module_files module_files;

#endif
