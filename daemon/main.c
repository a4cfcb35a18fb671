#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/options.h"
#include "daemon/version.h"
#include "protocol/base/buffer.h"

static const char *environment(const char *name)
{
    return getenv(name);
}

int main(int argc, char *argv[])
{
    struct options options;
    struct buffer faults = BUFFER_INIT;
    int status = options_read(&options, argc, argv, environment, &faults);
    if (status != 0) {
        fwrite(faults.bytes, 1, faults.size, stderr);
    }
    buffer_release(&faults);
    if (status != 0) {
        return 1;
    }
    if (options.help) {
        fputs(options_help, stdout);
        return 0;
    }
    if (options.version) {
        puts("relatad " DAEMON_VERSION);
        return 0;
    }
    return options.check ? daemon_check(&options) : daemon_run(&options);
}
