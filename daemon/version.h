#ifndef RELATA_DAEMON_VERSION_H
#define RELATA_DAEMON_VERSION_H

/* The one version of everything in the tree. It is written in the build's
 * `project(relata VERSION ...)` and comes from there as RELATA_VERSION. */
#define DAEMON_VERSION RELATA_VERSION

#endif
