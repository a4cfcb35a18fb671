#include "daemon/module_files.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "protocol/base/heap.h"

struct library {
    uv_lib_t uv;
    int copy;      /* a file in memory */
    char path[32]; /* under which it can be opened */
};

static int failed(struct error *error, const char *path, const char *what)
{
    return error_set(error, CODE_INVALID_REQUEST, "%s: %s: %s", path, what, strerror(errno));
}

static int copy_bytes(int from, int to)
{
    char bytes[65536];
    ssize_t size = 0;
    while ((size = read(from, bytes, sizeof bytes)) > 0) {
        for (ssize_t done = 0, wrote = 0; done < size; done += wrote) {
            wrote = write(to, bytes + done, (size_t)(size - done));
            if (wrote < 0) {
                return -1;
            }
        }
    }
    return size < 0 ? -1 : 0;
}

/* The file's copy, as a descriptor, or a negative code. */
static int copy_file(const char *path, struct error *error)
{
    struct stat status;
    const char *slash = strrchr(path, '/');
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (from < 0) {
        return failed(error, path, "the module cannot be read");
    }
    int copy = -1;
    if (fstat(from, &status) != 0 || !S_ISREG(status.st_mode)) {
        error_set(error, CODE_INVALID_REQUEST, "%s: expected a shared object, this is no file",
                  path);
    } else {
        copy = memfd_create(slash != NULL ? slash + 1 : path, MFD_CLOEXEC);
        if (copy < 0 || copy_bytes(from, copy) != 0) {
            failed(error, path, "the module cannot be copied");
        }
    }
    close(from);
    if (error->code != CODE_OK && copy >= 0) {
        close(copy);
    }
    return error->code != CODE_OK ? -(int)error->code : copy;
}

/* The loader's words, without the copy's path in front. */
static int cannot_open(struct error *error, const char *path, const struct library *library)
{
    const char *why = dlerror();
    size_t size = strlen(library->path);
    if (why != NULL && strncmp(why, library->path, size) == 0 && why[size] == ':') {
        why += size + 1 + (why[size + 1] == ' ');
    }
    return error_set(error, CODE_INVALID_REQUEST, "%s: the module cannot be opened: %s", path,
                     why != NULL ? why : "for no reason that is told");
}

static int files_open(void *context, const char *path, void **out, struct error *error)
{
    (void)context;
    struct library *library = heap_zero(1, sizeof *library);
    if (library == NULL) {
        return error_set(error, CODE_OVERLOADED, "%s: no memory for the module", path);
    }
    error_clear(error);
    library->copy = copy_file(path, error);
    if (library->copy < 0) {
        heap_free(library);
        return -(int)error->code;
    }
    snprintf(library->path, sizeof library->path, "/proc/self/fd/%d", library->copy);
    /* uv_dlopen looks for functions when they are first called; one that is
     * missing is to be found at the start. */
    void *whole = dlopen(library->path, RTLD_NOW | RTLD_LOCAL);
    if (whole == NULL || uv_dlopen(library->path, &library->uv) != 0) {
        int status = cannot_open(error, path, library);
        if (whole != NULL) {
            dlclose(whole);
        }
        close(library->copy);
        heap_free(library);
        return status;
    }
    dlclose(whole);
    *out = library;
    return 0;
}

static void *files_symbol(void *context, void *opened, const char *name)
{
    (void)context;
    struct library *library = opened;
    void *symbol = NULL;
    return uv_dlsym(&library->uv, name, &symbol) == 0 ? symbol : NULL;
}

/* A library that the system keeps although nobody has it any more goes on by
 * its copy's name: no other file may then have that name. */
static void files_close(void *context, void *opened)
{
    (void)context;
    struct library *library = opened;
    uv_dlclose(&library->uv);
    void *kept = dlopen(library->path, RTLD_LAZY | RTLD_NOLOAD);
    if (kept != NULL) {
        dlclose(kept);
    } else {
        close(library->copy);
    }
    heap_free(library);
}

const struct module_files module_files = {
    .open = files_open, .symbol = files_symbol, .close = files_close};
