#ifndef RELATA_LAYERS_MEMORY_POISON_H
#define RELATA_LAYERS_MEMORY_POISON_H

/* Tells the address sanitizer which bytes of our own pages are nobody's, so
 * that it finds use after free in them as it does with malloc. */
#if defined(__SANITIZE_ADDRESS__)
#define RELATA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RELATA_POISONS 1
#endif
#endif

#ifdef RELATA_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(address, size)   ASAN_POISON_MEMORY_REGION((address), (size))
#define UNPOISON(address, size) ASAN_UNPOISON_MEMORY_REGION((address), (size))
#else
#define POISON(address, size)   ((void)(address), (void)(size))
#define UNPOISON(address, size) ((void)(address), (void)(size))
#endif

#endif
