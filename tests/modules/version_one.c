#define VERSION "one"
#include "tests/modules/version.h"
