/*
 * Replays a fuzzer's corpus without libFuzzer: every file under the folders
 * and files that are named on the command line goes once through
 * LLVMFuzzerTestOneInput. So each input that ever mattered is an ordinary test
 * in every build and under every sanitizer.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replayed;

static int replay_file(const char *path, size_t size)
{
    /* Exactly as large as the input, so that a sanitizer sees a byte too far. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    FILE *file = fopen(path, "rb");
    int status = -1;

    if (data == NULL || file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        goto out;
    }
    if (fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: short read\n", path);
        goto out;
    }
    (void)LLVMFuzzerTestOneInput(data, size);
    replayed++;
    status = 0;
out:
    if (file != NULL) {
        fclose(file);
    }
    free(data);
    return status;
}

static int replay_folder(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    int status = count < 0 ? -1 : 0;

    if (count < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        char name[4096];
        struct stat about;
        int length = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);

        free(entries[i]);
        if (length < 0 || (size_t)length >= sizeof(name) || stat(name, &about) != 0) {
            status = -1;
        } else if (S_ISREG(about.st_mode) && replay_file(name, (size_t)about.st_size) != 0) {
            status = -1;
        }
    }
    free(entries);
    return status;
}

int main(int argc, char **argv)
{
    int status = EXIT_SUCCESS;

    for (int i = 1; i < argc; i++) {
        struct stat about;
        int error = stat(argv[i], &about);

        if (error == 0 && S_ISDIR(about.st_mode)) {
            error = replay_folder(argv[i]);
        } else if (error == 0) {
            error = replay_file(argv[i], (size_t)about.st_size);
        } else {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
        }
        if (error != 0) {
            status = EXIT_FAILURE;
        }
    }
    printf("%zu inputs replayed\n", replayed);
    return replayed > 0 ? status : EXIT_FAILURE;
}
