#define VERSION "two"
#include "tests/modules/version.h"
