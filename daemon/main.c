#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/arguments.h"
#include "daemon/version.h"
#include "protocol/base/buffer.h"

static const char *environment(const char *name)
{
    return getenv(name);
}

int main(int argc, char *argv[])
{
    struct arguments arguments;
    struct buffer faults = BUFFER_INIT;
    int status = arguments_read(&arguments, argc, argv, environment, &faults);
    if (status != 0) {
        fwrite(faults.bytes, 1, faults.size, stderr);
    }
    buffer_release(&faults);
    if (status != 0) {
        return 1;
    }
    if (arguments.help) {
        fputs(arguments_help, stdout);
        return 0;
    }
    if (arguments.version) {
        puts("relatad " DAEMON_VERSION);
        return 0;
    }
    return arguments.check ? daemon_check(&arguments) : daemon_run(&arguments);
}
